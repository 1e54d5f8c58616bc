"""Engines that listen on this machine, and those who ask them."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from ports import HOST, free_port
from timing import within

from pe_stream.config import ModelSettings
from pe_stream.core.types import FRAME, FrameEmbeddings, FrameScores, Samples, Window
from pe_stream.model.checkpoint import Checkpoint
from pe_stream.model.engine import Engine
from pe_stream.model.live_engine import Answered, Asked
from pe_stream.model.no_model import no_words
from pe_stream.model.prompts import LabelEmbeddings, LabelPrompts, embed_labels
from pe_stream.serving import scoring
from pe_stream.serving.client import RemoteEngine, remote_engine
from pe_stream.serving.lane import RemoteStream
from pe_stream.serving.server import EngineServer, Serving, who_may_ask

Found = list[tuple[FrameScores, FrameEmbeddings | None]]


def noise(frames: int, seed: int = 0) -> Samples:
    rng = np.random.default_rng(seed)
    level = np.repeat(rng.uniform(0.01, 0.3, frames), FRAME)
    return (level * rng.standard_normal(frames * FRAME)).astype(np.float32)


def labels_of(checkpoint: Checkpoint) -> LabelEmbeddings:
    return embed_labels(
        checkpoint,
        {
            "dog": LabelPrompts(("a dog barking", "dog"), ("a wolf",)),
            "bell": LabelPrompts(("a door bell",)),
        },
    )


@contextmanager
def serving(
    checkpoint: Checkpoint, *, port: int = 0, tokens: Path | None = None, **given: Any
) -> Iterator[EngineServer]:
    """An engine on a port of this machine; however busy that is, nobody is sent away as late."""
    failures: list[BaseException] = []
    settings = Serving(HOST, port or free_port(), tokens, None, None, 64)
    for name, value in given.items():
        object.__setattr__(settings, name, value)
    engine = Engine(checkpoint, no_words(checkpoint))
    server = EngineServer(settings, who_may_ask(settings), checkpoint, engine, failures.append)
    server.start()
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(scoring, "LATE_S", 3600.0)
        try:
            yield server
        finally:
            server.stop()
            assert failures == []


@contextmanager
def asking(
    checkpoint: Checkpoint, labels: LabelEmbeddings, **settings: Any
) -> Iterator[RemoteEngine]:
    """A daemon's way to the engine."""
    failures: list[BaseException] = []
    node = settings.pop("node", "node")
    given = {"engine_timeout_s": min(30.0, within(10)), "engine_wire": "f32"} | settings
    model = ModelSettings.model_validate(given)
    engine = remote_engine(model, checkpoint.identity, labels, node, failures.append)
    try:
        yield engine
    finally:
        engine.close()
        assert failures == []


def ask(
    engine: RemoteEngine,
    streams: Sequence[RemoteStream],
    windows: Sequence[Window],
    *,
    embed: bool = False,
) -> Answered[RemoteStream]:
    """Ask, again for what was not among the first, until all is answered; of one lane."""
    asked = [
        Asked(stream.key, stream, window) for stream, window in zip(streams, windows, strict=True)
    ]
    engine.ask(asked, embed=embed)
    found: dict[str, tuple[FrameScores, FrameEmbeddings | None]] = {}
    until_s = time.monotonic() + within(60)
    while time.monotonic() < until_s:
        for came in engine.answers():
            if came.reason is not None:
                return came
            if came.found is None:
                engine.ask(came.asked, embed=embed)
                continue
            found |= {each.source: got for each, got in zip(came.asked, came.found, strict=True)}
            if len(found) == len(asked):
                return replace(came, asked=asked, found=[found[each.source] for each in asked])
        time.sleep(0.005)
    raise AssertionError("no answer")


def found_by(answered: Answered[RemoteStream]) -> Found:
    assert answered.reason is None, answered.reason
    assert answered.found is not None
    return list(answered.found)


def windows(audio: Samples, context: int, hops: Sequence[int], length: int) -> Iterator[Window]:
    """As a detector makes them."""
    end = final = 0
    for hop in hops:
        end += hop
        begin = max(0, end - length)
        before = min(begin, context)
        samples = audio[(begin - before) * FRAME : end * FRAME]
        yield Window(begin * FRAME, samples, done=max(0, final - begin), before=before * FRAME)
        final = max(final, end - 12)
