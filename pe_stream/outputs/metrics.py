"""Figures for Prometheus: http://HOST:PORT/metrics."""

from __future__ import annotations

import socket
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from prometheus_client import CollectorRegistry, Counter, Histogram, make_asgi_app

from pe_stream.config import MetricsSettings
from pe_stream.config.addresses import authority
from pe_stream.core.listener import LabelsOf, Listener
from pe_stream.core.types import Event, Phase
from pe_stream.outputs.current_figures import CurrentFigures, Readings
from pe_stream.outputs.listening import ListeningSocket, places

if TYPE_CHECKING:  # uvicorn is loaded once it is needed
    from pe_stream.outputs.http_server import HttpServer

STOP_S = 2.0
"""At a stop, the server gets this long to end."""

CONNECTIONS = 16
"""Most at a time."""

_RATE = 50
"""Connections accepted, and so requests answered, in a second."""

_INFERENCE_S = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0)
_LATENCY_S = (0.1, 0.25, 0.5, 0.75, 1.0, 1.5, 2.0, 3.0, 5.0, 10.0, 30.0)


class Metrics(Listener):
    """The figures of one daemon, and the server that shows them; safe to use from any thread."""

    def __init__(
        self, settings: MetricsSettings, on_failure: Callable[[BaseException], None]
    ) -> None:
        """Count, and serve nothing yet. on_failure: called with what ended the server's thread."""
        self._settings = settings
        self._on_failure = on_failure
        self._registry = CollectorRegistry()
        self._server: HttpServer | None = None
        self._events = Counter(
            "pe_stream_events",
            "Events that began.",
            ["source", "label"],
            registry=self._registry,
        )
        self._inference = Histogram(
            "pe_stream_inference_seconds",
            "Time to score what was due, of one or more sources together.",
            buckets=_INFERENCE_S,
            registry=self._registry,
        )
        self._latency = Histogram(
            "pe_stream_event_latency_seconds",
            "From the end of the audio that made an event's start decidable to its hand-over.",
            ["source"],
            buckets=_LATENCY_S,
            registry=self._registry,
        )

    def event(self, event: Event) -> None:
        """Count an event when it begins."""
        if event.phase is Phase.START:
            self._events.labels(event.source, event.label).inc()
            self._latency.labels(event.source).observe(event.latency_ms / 1000)

    def labels(self, of: LabelsOf, keys: Mapping[str, str]) -> None:  # noqa: ARG002 - a part of the protocol
        """Begin at 0 for every label of every source: Prometheus sees no increase to a first 1."""
        for source, names in of.items():
            self._latency.labels(source)
            for name in names:
                self._events.labels(source, name)

    def scored(self, taken_s: float) -> None:
        """Count a scoring."""
        self._inference.observe(taken_s)

    def serve(self, readings: Readings) -> str:
        """Begin to serve, on a thread; returns the URL. Raises UnavailableError."""
        from pe_stream.outputs.http_server import TOO_MANY, HttpServer

        self._registry.register(CurrentFigures(readings))
        host, port = self._settings.host, self._settings.port
        most = places(CONNECTIONS, part=16)
        listening = ListeningSocket(
            socket.AF_INET6 if ":" in host else socket.AF_INET,
            name="metrics",
            most=most,
            share=max(1, most // 2),
            rate=_RATE,
            rate_share=_RATE // 2,
            words=TOO_MANY,
        )
        listening.begin(host, port, "set metrics.host and metrics.port")
        self._server = HttpServer(_once(make_asgi_app(self._registry)), listening, self._on_failure)
        self._server.start()
        return f"http://{authority(host, port)}/metrics"

    def stop(self) -> None:
        """Stop serving; a thread that does not end by then keeps its socket."""
        if self._server is not None:
            self._server.stop(STOP_S)
            self._server = None


def _once(app: Any) -> Any:
    """Answer one request a connection, so that as many are answered as connections accepted.

    Rendering takes milliseconds of the core that scoring needs.
    """

    async def answer(scope: Any, receive: Any, send: Any) -> None:
        async def ended(message: Any) -> None:
            if message["type"] == "http.response.start":
                message["headers"] = [*message["headers"], (b"connection", b"close")]
            await send(message)

        # The app decodes all of them as UTF-8; of these it needs no other.
        wanted = {b"accept", b"accept-encoding"}
        headers = [(name, told) for name, told in scope["headers"] if name in wanted]
        plain = all(told.isascii() for _, told in headers) and scope["query_string"].isascii()
        headers = headers if plain else []
        query = scope["query_string"] if plain else b""
        await app({**scope, "headers": headers, "query_string": query}, receive, ended)

    return answer
