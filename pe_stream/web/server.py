"""The server: one thread with a loop of its own."""

from __future__ import annotations

import asyncio
import logging
import socket
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from pe_stream.config import WebSettings
from pe_stream.config.addresses import authority, is_loopback
from pe_stream.core.detector import Heard
from pe_stream.core.level_meter import SoundLevel
from pe_stream.core.listener import LabelsOf, Listener
from pe_stream.core.types import Event, LabelRule
from pe_stream.errors import UnavailableError
from pe_stream.outputs.http_server import TOO_MANY, HttpServer
from pe_stream.outputs.listening import ListeningSocket, places
from pe_stream.web.app import build
from pe_stream.web.daemon_api import rules_shown
from pe_stream.web.daemon_view import DaemonView
from pe_stream.web.gate import Gate
from pe_stream.web.live_audio import LiveAudio
from pe_stream.web.viewers import Viewers

log = logging.getLogger(__name__)

STOP_S = 3.0

CONNECTIONS = 64
"""Most at a time, besides those of viewers."""

_OF_A_VIEWER = 8

_RATE = 100
"""Connections accepted in a second."""


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
        self._most = places(CONNECTIONS + _OF_A_VIEWER * settings.viewers, part=4)
        self.gate = Gate()
        self._viewers = Viewers(min(settings.viewers, self._most // 2), self.gate)
        self._live_audio = LiveAudio()
        self._app = build(settings, daemon, self._viewers, self._live_audio, self.gate)
        self._on_failure = on_failure
        self._server: HttpServer | None = None
        self.url = ""

    @property
    def viewers(self) -> int:
        """Pages that are open."""
        return self._viewers.count

    def start(self) -> None:
        """Listen. Raises UnavailableError where the port or a certificate cannot be had."""
        settings, tls = self._settings, self._settings.tls
        listening = listening_for(settings, self._most)
        try:
            self._server = HttpServer(
                self._app,
                listening,
                self._on_failure,
                began=self._began,
                certificate=None if tls is None else tls.certificate,
                key=None if tls is None else tls.key,
            )
        except OSError as error:  # ssl.SSLError is one
            listening.close()
            raise UnavailableError(f"web.tls cannot be used: {error}") from error
        host, port = listening.getsockname()[:2]
        self._server.start()
        scheme = "http" if tls is None else "https"
        self.url = f"{scheme}://{authority(host, port)}{settings.prefix}/"
        if tls is None and not is_loopback(settings.host):
            log.warning("web: without tls, everybody on the way can read along and get in")

    def stop(self) -> None:
        """Send everybody away."""
        if self._server is not None:
            self._viewers.end()  # their answers have no other end
            self._live_audio.end()
            self._server.stop(STOP_S)
            self._server = None

    def _began(self, loop: asyncio.AbstractEventLoop) -> None:
        self._viewers.attend(loop)
        self._live_audio.attend(loop)

    def event(self, event: Event) -> None:
        """A phase of an event."""
        self._viewers.tell("event", event.to_dict)

    def opinion(self, event: Event) -> None:
        """The second opinion on an event: no phase of it."""
        self._viewers.tell("opinion", event.to_dict)

    def scores(self, source: str, names: Sequence[str], heard: Heard) -> None:
        """Frames that became final."""
        self._viewers.hop(source, names, heard)
        self._live_audio.heard(source, heard.audible)

    def level(self, source: str, level: SoundLevel) -> None:
        """The level of a second."""
        self._viewers.tell("level", lambda: {"source": source, **level.to_dict()})

    def health(self, source: str, health: Mapping[str, Any]) -> None:
        """How a source does."""
        self._viewers.tell("health", lambda: self._daemon.shown(source, health))

    def rules(self, source: str, rules: Sequence[LabelRule]) -> None:
        """The rules of a source as they are now."""
        self._viewers.tell("rules", lambda: rules_shown(source, rules))

    def labels(self, of: LabelsOf, keys: Mapping[str, str]) -> None:  # noqa: ARG002 - a part of the protocol
        """The labels are others than before, and in force."""
        self._viewers.tell("labels", lambda: {"version": self._daemon.version()})


def listening_for(settings: WebSettings, most: int) -> ListeningSocket:
    """A socket that listens as set, for at most so many. Raises UnavailableError."""
    made = ListeningSocket(
        socket.AF_INET6 if ":" in settings.host else socket.AF_INET,
        name="web",
        most=most,
        # Behind a proxy, all of them are its own.
        share=most if settings.trusted_proxies else max(1, most // 2),
        rate=_RATE,
        rate_share=_RATE if settings.trusted_proxies else _RATE // 2,
        words=TOO_MANY if settings.tls is None else b"",
    )
    made.begin(settings.host, settings.port, "set web.host and web.port")
    return made
