"""The server: one thread with a loop of its own."""

from __future__ import annotations

import asyncio
import logging
import socket
import threading
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import uvicorn
from uvicorn.protocols.http.h11_impl import H11Protocol

from pe_stream.config import WebSettings
from pe_stream.config.addresses import authority
from pe_stream.config.web import is_loopback
from pe_stream.config.worker import Worker
from pe_stream.core.detector import Heard
from pe_stream.core.listener import LabelsOf, Listener
from pe_stream.core.types import Event, LabelRule
from pe_stream.errors import UnavailableError
from pe_stream.web.app import build
from pe_stream.web.daemon_api import rules_shown
from pe_stream.web.daemon_view import DaemonView
from pe_stream.web.gate import Gate
from pe_stream.web.viewers import Viewers

log = logging.getLogger(__name__)

START_S = 10.0
STOP_S = 3.0

FIRST_S = 10.0
"""A connection has to bring its first request by then."""

STALLED_MS = 20_000
"""A connection whose other end takes nothing for so long (ms) is cut."""

SEND_BYTES = 256 * 1024
"""The system holds so much for one that reads slowly; else it may be megabytes."""

_CONNECTIONS = 64
_OF_A_VIEWER = 8


class _DeadlineProtocol(H11Protocol):
    """A connection on which nothing is asked is closed, so that nobody takes them all."""

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self.loop.call_later(FIRST_S, self._look)

    def _look(self) -> None:
        if self.cycle is None and not self.transport.is_closing():
            self.transport.close()


class Server(Listener):
    """Serves the page. What happens is told to it by threads of the daemon, and costs them little.

    url: where it is, once started. gate: of what it does one at a time.
    """

    def __init__(
        self, settings: WebSettings, daemon: DaemonView, on_failure: Callable[[BaseException], None]
    ) -> None:
        """Prepare. on_failure: called with what ended the thread, if that was an error.

        Raises ConfigError where the password or token cannot be used.
        """
        self._settings = settings
        self._daemon = daemon
        self.gate = Gate()
        self._viewers = Viewers(settings.viewers, self.gate)
        self._app = build(settings, daemon, self._viewers, self.gate)
        self._ready = threading.Event()
        self._server: uvicorn.Server | None = None
        self._socket: socket.socket | None = None
        self._worker = Worker("web", self._run, on_failure)
        self.url = ""

    @property
    def viewers(self) -> int:
        """Pages that are open."""
        return self._viewers.count

    def start(self) -> None:
        """Listen. Raises UnavailableError where the port or a certificate cannot be had."""
        listener = self._socket = listening(self._settings)
        tls = self._settings.tls
        config = uvicorn.Config(
            self._app,
            lifespan="off",
            log_config=None,
            access_log=False,
            server_header=False,
            proxy_headers=False,
            ws="none",
            loop="asyncio",
            http=_DeadlineProtocol,
            timeout_keep_alive=15,
            timeout_graceful_shutdown=1,
            limit_concurrency=_CONNECTIONS + _OF_A_VIEWER * self._settings.viewers,
            ssl_certfile=None if tls is None else tls.certificate,
            ssl_keyfile=None if tls is None else tls.key,
        )
        try:
            config.load()
        except OSError as error:  # ssl.SSLError is one
            listener.close()
            raise UnavailableError(f"web.tls cannot be used: {error}") from error
        self._server = uvicorn.Server(config)
        self._worker.start()
        self._ready.wait(START_S)
        host, port = listener.getsockname()[:2]
        scheme = "http" if tls is None else "https"
        self.url = f"{scheme}://{authority(host, port)}{self._settings.prefix}/"
        if tls is None and not is_loopback(self._settings.host):
            log.warning("web: without tls, everybody on the way can read along and get in")

    def stop(self) -> None:
        """Send everybody away."""
        if self._server is not None:
            self._viewers.end()  # the server waits for them
            self._server.should_exit = True
            self._worker.join(STOP_S)
            self._server = None

    def event(self, event: Event) -> None:
        """A phase of an event."""
        self._viewers.tell("event", event.to_dict)

    def scores(self, source: str, names: Sequence[str], heard: Heard) -> None:
        """Frames that became final."""
        self._viewers.hop(source, names, heard)

    def health(self, source: str, health: Mapping[str, Any]) -> None:
        """How a source does."""
        self._viewers.tell("health", lambda: self._daemon.shown(source, health))

    def rules(self, source: str, rules: Sequence[LabelRule]) -> None:
        """The rules of a source as they are now."""
        self._viewers.tell("rules", lambda: rules_shown(source, rules))

    def labels(self, of: LabelsOf, keys: Mapping[str, str]) -> None:  # noqa: ARG002 - a part of the protocol
        """The labels are others than before, and in force."""
        self._viewers.tell("labels", lambda: {"version": self._daemon.version()})

    def _run(self) -> None:
        try:
            asyncio.run(self._serve())
        finally:
            self._ready.set()
            if self._socket is not None:
                self._socket.close()

    async def _serve(self) -> None:
        assert self._server is not None  # noqa: S101 - for the type checker
        assert self._socket is not None  # noqa: S101
        self._viewers.attend(asyncio.get_running_loop())
        self._ready.set()
        await self._server.serve([self._socket])


def listening(settings: WebSettings) -> socket.socket:
    """A socket that listens there. Raises UnavailableError."""
    family = socket.AF_INET6 if ":" in settings.host else socket.AF_INET
    made = socket.socket(family, socket.SOCK_STREAM)
    try:
        made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        # Connections inherit both.
        made.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, SEND_BYTES)
        if hasattr(socket, "TCP_USER_TIMEOUT"):  # Linux
            made.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, STALLED_MS)
        made.bind((settings.host, settings.port))
        made.listen(128)
    except OSError as error:
        made.close()
        raise UnavailableError(
            f"web: nothing can listen on {authority(settings.host, settings.port)}: "
            f"{error.strerror}; "
            "set web.host and web.port"
        ) from error
    return made
