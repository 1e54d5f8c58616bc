"""An engine for other machines, in this process: `pe-stream engine serve`."""

from __future__ import annotations

import logging
import socket
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from pe_stream.config.addresses import authority, is_loopback
from pe_stream.errors import ConfigError, UnavailableError
from pe_stream.model.checkpoint import Checkpoint
from pe_stream.model.engine import Engine
from pe_stream.outputs.http_server import TOO_MANY, HttpServer
from pe_stream.outputs.listening import ListeningSocket, places
from pe_stream.serving.application import EngineApplication
from pe_stream.serving.scoring import Scoring
from pe_stream.serving.tokens import Tokens, read_tokens

log = logging.getLogger(__name__)

CONNECTIONS = 256
"""Most at a time: a lane of a daemon has one."""

STOP_S = 3.0

_RATE = 100
"""Connections accepted in a second."""


@dataclass(frozen=True, slots=True)
class Serving:
    """How an engine is offered.

    tokens: file of those who may ask; certificate, key: PEM files, for TLS. streams: most at a
    time.
    """

    host: str
    port: int
    tokens: Path | None
    certificate: Path | None
    key: Path | None
    streams: int


def who_may_ask(serving: Serving) -> Tokens:
    """Raises ConfigError where that is anybody at all, or the tokens cannot be used."""
    if (serving.certificate is None) != (serving.key is None):
        raise ConfigError("--certificate and --key go together")
    if serving.tokens is not None:
        return read_tokens(serving.tokens)
    if not is_loopback(serving.host):
        raise ConfigError(
            f"on {serving.host} the whole network reaches the engine: give --tokens, a file "
            "with a line TENANT TOKEN for each who may ask"
        )
    return Tokens(None)


class EngineServer:
    """Serves an engine until it is stopped.

    url: where it is, once started.
    """

    def __init__(
        self,
        serving: Serving,
        tokens: Tokens,
        checkpoint: Checkpoint,
        engine: Engine,
        on_failure: Callable[[BaseException], None],
    ) -> None:
        """Prepare. on_failure: called on the thread that an error has ended."""
        self._serving, self._on_failure = serving, on_failure
        self._scoring = Scoring(engine, streams=serving.streams, on_failure=on_failure)
        self._application = EngineApplication(self._scoring, checkpoint, tokens)
        self._server: HttpServer | None = None
        self.url = ""

    def start(self) -> None:
        """Listen. Raises UnavailableError where the port or a certificate cannot be had."""
        serving = self._serving
        tls = serving.certificate is not None
        most = places(CONNECTIONS, part=2)
        listening = ListeningSocket(
            socket.AF_INET6 if ":" in serving.host else socket.AF_INET,
            name="engine-http",
            most=most,
            share=max(1, most // 2),
            rate=_RATE,
            rate_share=_RATE // 2,
            words=b"" if tls else TOO_MANY,
        )
        listening.begin(serving.host, serving.port, "give --host and --port")
        try:
            self._server = HttpServer(
                self._application,
                listening,
                self._on_failure,
                certificate=str(serving.certificate) if tls else None,
                key=str(serving.key) if tls else None,
            )
        except OSError as error:  # ssl.SSLError is one
            listening.close()
            raise UnavailableError(f"--certificate and --key cannot be used: {error}") from error
        host, port = listening.getsockname()[:2]
        self._scoring.start()
        self._server.start()
        self.url = f"{'https' if tls else 'http'}://{authority(host, port)}"
        if not tls and not is_loopback(serving.host):
            log.warning("engine: without --certificate, everybody on the way can listen in")

    def stop(self) -> None:
        """Send everybody away."""
        self._scoring.stop(STOP_S)
        if self._server is not None:
            self._server.stop(STOP_S)
            self._server = None
