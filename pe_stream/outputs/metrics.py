"""Figures for Prometheus: http://HOST:PORT/metrics."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Protocol
from wsgiref.simple_server import WSGIServer

from prometheus_client import CollectorRegistry, Counter, Histogram, start_http_server
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily
from prometheus_client.metrics_core import Metric
from prometheus_client.registry import Collector

from pe_stream.config import MetricsSettings
from pe_stream.core.ledger import SourceState
from pe_stream.core.source_status import SourceStatus
from pe_stream.core.types import SAMPLE_RATE, Event, Phase
from pe_stream.errors import UnavailableError
from pe_stream.version import __version__

_INFERENCE_S = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0)
_LATENCY_S = (0.1, 0.25, 0.5, 0.75, 1.0, 1.5, 2.0, 3.0, 5.0, 10.0, 30.0)


class Delivery(Protocol):
    """The way to the broker, as a Publisher is."""

    connected: bool

    @property
    def queued(self) -> int:
        """Events the broker has not acknowledged."""

    @property
    def waiting_s(self) -> float:
        """How long the oldest of them has waited (s); 0 without any."""

    @property
    def dropped(self) -> int:
        """Events that were too many to keep."""


class History(Protocol):
    """Events on disk, as an EventStore keeps them."""

    @property
    def unavailable_reason(self) -> str | None:
        """Why nothing can be written at present."""

    @property
    def dropped(self) -> int:
        """Messages that were too many or too old to be kept for the broker."""


class Kept(Protocol):
    """Scores on disk as a History keeps them, or what was heard as a Memory does."""

    @property
    def lost(self) -> int:
        """Minutes that could not be kept."""

    @property
    def unavailable_reason(self) -> str | None:
        """Why nothing can be written at present."""


class Recordings(Protocol):
    """Clips, as Clips counts them."""

    kept: int
    withheld: int
    lost: int


class Messages(Protocol):
    """Notifications, as Notifications counts them."""

    @property
    def counts(self) -> Mapping[str, Mapping[str, int]]:
        """How many of each had which outcome."""


class Metrics:
    """The figures of one daemon, and the server that shows them; safe to use from any thread."""

    def __init__(self, settings: MetricsSettings) -> None:
        """Count, and serve nothing yet."""
        self._settings = settings
        self._registry = CollectorRegistry()
        self._server: tuple[WSGIServer, threading.Thread] | None = None
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

    def expect(self, labels: Mapping[str, Iterable[str]]) -> None:
        """Begin at 0 for every label of every source: Prometheus sees no increase to a first 1."""
        for source, names in labels.items():
            self._latency.labels(source)
            for name in names:
                self._events.labels(source, name)

    def scored(self, taken_s: float) -> None:
        """Count a scoring."""
        self._inference.observe(taken_s)

    def serve(
        self,
        statuses: Callable[[], Mapping[str, SourceStatus]],
        delivery: Delivery,
        history: History | None,
        recordings: Recordings,
        messages: Messages | None = None,
        *,
        kept: Mapping[str, Kept] | None = None,
        viewers: Callable[[], int] | None = None,
    ) -> str:
        """Begin to serve, on a thread; returns the URL. Raises UnavailableError.

        kept: what else is written minute by minute, by name. viewers: how many pages are open.
        """
        self._registry.register(
            _Now(
                statuses,
                delivery,
                history,
                recordings,
                messages=messages,
                kept=kept or {},
                viewers=viewers,
            )
        )
        host, port = self._settings.host, self._settings.port
        try:
            self._server = start_http_server(port, host, self._registry)
        except OSError as error:
            raise UnavailableError(
                f"metrics: cannot listen on {host}:{port}: {error.strerror or error}; "
                "set metrics.host and metrics.port"
            ) from error
        return f"http://{host}:{port}/metrics"

    def stop(self) -> None:
        """Stop serving."""
        if self._server is not None:
            server, thread = self._server
            server.shutdown()
            server.server_close()
            thread.join(2)
            self._server = None


class _Now(Collector):
    """What is read only when somebody asks."""

    def __init__(
        self,
        statuses: Callable[[], Mapping[str, SourceStatus]],
        delivery: Delivery,
        history: History | None,
        recordings: Recordings,
        *,
        messages: Messages | None,
        kept: Mapping[str, Kept],
        viewers: Callable[[], int] | None,
    ) -> None:
        self._kept = kept
        self._viewers = viewers
        self._recordings = recordings
        self._messages = messages
        self._vitals = statuses
        self._delivery = delivery
        self._history = history
        self._highest: dict[tuple[str, str], int] = {}

    def collect(self) -> Iterator[Metric]:
        yield from self._of_sources(self._vitals())
        yield from self._of_the_way_out()
        clips = CounterMetricFamily("pe_stream_clips", "Clips by fate.", labels=["fate"])
        for fate in ("kept", "withheld", "lost"):
            clips.add_metric([fate], getattr(self._recordings, fate))
        yield clips
        told = CounterMetricFamily(
            "pe_stream_notifications",
            "Messages by notification: sent, failed, or dropped because too many waited.",
            labels=["notification", "outcome"],
        )
        for name, counts in (self._messages.counts if self._messages else {}).items():
            for outcome, count in counts.items():
                told.add_metric([name, outcome], count)
        yield told
        yield from self._of_the_disk()
        if self._viewers is not None:
            yield GaugeMetricFamily(
                "pe_stream_viewers", "Pages that are open.", value=self._viewers()
            )
        about = GaugeMetricFamily("pe_stream_build", "1, for its labels.", labels=["version"])
        about.add_metric([__version__], 1)
        yield about

    def _of_sources(self, statuses: Mapping[str, SourceStatus]) -> Iterator[Metric]:
        audio = CounterMetricFamily(
            "pe_stream_audio_seconds",
            "Audio by fate: heard or lost; flat and clipped are parts of what was heard.",
            labels=["source", "fate"],
        )
        state = GaugeMetricFamily(
            "pe_stream_hearing", "1 for the state that a source is in.", labels=["source", "state"]
        )
        level = _gauge("level_dbfs", "Level of the last 0.1 s; absent while there is none.")
        rtf = _gauge("real_time_factor", "Scoring time per second of audio; over 1 falls behind.")
        waiting = _gauge("queue_seconds", "Audio that has arrived and is not scored yet.")
        stretched = CounterMetricFamily(
            "pe_stream_hops_stretched", "Windows left out to keep up.", labels=["source"]
        )
        for source, status in statuses.items():
            account = status.account
            for fate in ("heard", "lost", "flat", "clipped"):
                samples = self._rising(source, fate, getattr(account, fate))
                audio.add_metric([source, fate], samples / SAMPLE_RATE)
            for each in SourceState:
                state.add_metric([source, each], account.state is each)
            if account.level_dbfs is not None:
                level.add_metric([source], account.level_dbfs)
            if status.rtf is not None:
                rtf.add_metric([source], status.rtf)
            waiting.add_metric([source], status.waiting / SAMPLE_RATE)
            stretched.add_metric([source], status.stretched)
        yield from (audio, state, level, rtf, waiting, stretched)

    def _rising(self, source: str, fate: str, samples: int) -> int:
        """A counter must not fall, as what was heard does where it is dropped later."""
        highest = max(samples, self._highest.get((source, fate), 0))
        self._highest[source, fate] = highest
        return highest

    def _of_the_way_out(self) -> Iterator[Metric]:
        delivery, history = self._delivery, self._history
        yield GaugeMetricFamily(
            "pe_stream_broker_connected",
            "1 while there is a connection to the MQTT broker.",
            value=delivery.connected,
        )
        yield GaugeMetricFamily(
            "pe_stream_outbox_messages",
            "Messages about events that the broker has not acknowledged.",
            value=delivery.queued,
        )
        yield GaugeMetricFamily(
            "pe_stream_outbox_age_seconds",
            "How long the oldest of them has waited.",
            value=delivery.waiting_s,
        )
        yield CounterMetricFamily(
            "pe_stream_events_dropped",
            "Messages about events that were too many or too old to be kept for the broker.",
            # Both hold the same ones, where both do.
            value=max(delivery.dropped, history.dropped if history else 0),
        )
        if history is not None:
            yield GaugeMetricFamily(
                "pe_stream_store_ok",
                "1 while events can be written to disk.",
                value=history.unavailable_reason is None,
            )

    def _of_the_disk(self) -> Iterator[Metric]:
        working = GaugeMetricFamily(
            "pe_stream_kept_ok", "1 while this can be written to disk.", labels=["what"]
        )
        lost = CounterMetricFamily(
            "pe_stream_kept_lost",
            "Chunks, of up to a minute of a source, that could not be.",
            labels=["what"],
        )
        for what, each in self._kept.items():
            working.add_metric([what], each.unavailable_reason is None)
            lost.add_metric([what], each.lost)
        yield from (working, lost)


def _gauge(name: str, meaning: str) -> GaugeMetricFamily:
    return GaugeMetricFamily(f"pe_stream_{name}", meaning, labels=["source"])
