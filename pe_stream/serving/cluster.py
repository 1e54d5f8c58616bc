"""The engine as an application of Ray Serve: a replica for each GPU, which is an engine by itself.

Only machines of the cluster import this module: it needs the extra `cluster`. Placement, restarts,
scaling and which session goes to which replica are Ray's; see `pe-stream help cluster`.
"""

from __future__ import annotations

import asyncio
import os
from pathlib import Path
from typing import Any

import numpy as np
from ray import serve

from pe_stream.core.types import FRAME, Window
from pe_stream.model.checkpoint import load
from pe_stream.model.engine import Engine
from pe_stream.model.no_model import no_words
from pe_stream.serving.application import EngineApplication
from pe_stream.serving.scoring import FullError, Scoring
from pe_stream.serving.serve_config import DEPLOYMENT, ReplicaSettings
from pe_stream.serving.tokens import Tokens, read_tokens
from pe_stream.serving.wire import HearRequest, Item, LabelRows

HEALTH = "/health"
"""The tenant of health checks; no other's name can have a slash."""

_HEALTH_S = 8.0
_STOP_S = 3.0
_EPOCH = "0" * 32


class Replica:
    """An engine in a process of Ray's."""

    def __init__(self, settings: dict[str, Any]) -> None:
        """settings: of ReplicaSettings. Raises ConfigError, UnavailableError; Ray tells of them."""
        asked = ReplicaSettings.model_validate(settings)
        tokens = Tokens(None) if asked.tokens is None else read_tokens(Path(asked.tokens))
        self._checkpoint = load(asked.checkpoint, device=asked.device, dtype=asked.dtype)
        self._engine = Engine(self._checkpoint, no_words(self._checkpoint))
        self._engine.build()
        self._failed: BaseException | None = None
        self._scoring = Scoring(self._engine, streams=asked.streams, on_failure=self._fail)
        self._scoring.start()
        self._application = EngineApplication(self._scoring, self._checkpoint, tokens)
        width = self._engine.width
        self._rows = LabelRows(
            np.zeros((1, width), np.float32), np.zeros(0, np.int64), np.zeros(1, np.float32)
        )

    def __serve_build_asgi_app__(self) -> EngineApplication:
        """The application that answers; Ray asks for it once."""
        return self._application

    async def check_health(self) -> None:
        """Score a frame of silence; Ray begins another replica where this raises, or takes long."""
        if self._failed is not None:
            raise RuntimeError(f"the engine has ended: {self._failed}")
        silence = Window(0, np.zeros(FRAME, np.float32))
        request = HearRequest(
            self._checkpoint.identity,
            self._rows.digest(),
            embed=False,
            rows=self._rows,
            items=[Item(f"{os.getpid()}", _EPOCH, silence)],
        )
        try:
            asked = asyncio.wrap_future(self._scoring.ask(HEALTH, request))
            await asyncio.wait_for(asked, _HEALTH_S)
        except FullError:  # it has more to do than it can
            return

    def __del__(self) -> None:
        """End; Ray calls it where a replica is to go."""
        if hasattr(self, "_scoring"):
            self._scoring.stop(_STOP_S)

    def _fail(self, error: BaseException) -> None:
        self._failed = error


def application(settings: dict[str, Any]) -> serve.Application:
    """What a configuration of Serve names as `import_path`; `args` are the settings."""
    deployment = serve.deployment(name=DEPLOYMENT)(serve.ingress()(Replica))
    return deployment.bind(settings)
