"""What the metrics read of a daemon at the moment somebody asks."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily
from prometheus_client.metrics_core import Metric
from prometheus_client.registry import Collector

from pe_stream.core.ledger import SourceState
from pe_stream.core.opinion import OpinionStatus
from pe_stream.core.picture_ring import PictureStatus
from pe_stream.core.source_status import SourceStatus
from pe_stream.core.store_status import StoreStatus
from pe_stream.core.types import SAMPLE_RATE
from pe_stream.outputs.mqtt import Publisher
from pe_stream.outputs.notifications import Notifications
from pe_stream.version import __version__


@dataclass(frozen=True, slots=True)
class Readings:
    """What is read only when somebody asks, on the server's thread.

    sources: how each does. clips: how many had which fate. events: None where none are kept.
    opinions: None where nobody gives any. kept: what else is written minute by minute, by name.
    viewers: pages that are open; None where there is no page. threads: of the CPU that score;
    None where their number does not change.
    """

    sources: Callable[[], Mapping[str, SourceStatus]]
    publisher: Publisher
    notifications: Notifications
    clips: Callable[[], Mapping[str, int]]
    events: Callable[[], StoreStatus] | None = None
    opinions: Callable[[], OpinionStatus | None] = lambda: None
    kept: Mapping[str, Callable[[], StoreStatus]] = field(default_factory=dict)
    viewers: Callable[[], int] | None = None
    threads: Callable[[], int | None] = lambda: None


class CurrentFigures(Collector):
    """What is read only when somebody asks, on the server's thread."""

    def __init__(self, readings: Readings) -> None:
        self._readings = readings
        self._highest: dict[tuple[str, str], int] = {}

    def collect(self) -> Iterator[Metric]:
        """All of them, as they are now."""
        readings = self._readings
        yield from self._of_sources(readings.sources())
        yield from self._of_the_way_out()
        clips = CounterMetricFamily("pe_stream_clips", "Clips by fate.", labels=["fate"])
        for fate, count in readings.clips().items():
            clips.add_metric([fate], count)
        yield clips
        told = CounterMetricFamily(
            "pe_stream_notifications",
            "Messages by notification: sent, failed, or dropped because too many waited.",
            labels=["notification", "outcome"],
        )
        for name, counts in readings.notifications.counts.items():
            for outcome, count in counts.items():
                told.add_metric([name, outcome], count)
        yield told
        yield from _of_opinions(readings.opinions())
        yield from self._of_the_disk()
        if readings.viewers is not None:
            yield GaugeMetricFamily(
                "pe_stream_viewers", "Pages that are open.", value=readings.viewers()
            )
        threads = readings.threads()
        if threads is not None:
            yield GaugeMetricFamily(
                "pe_stream_scoring_threads",
                "CPU threads that score: fewer while others take the cores.",
                value=threads,
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
        sound = GaugeMetricFamily(
            "pe_stream_sound_level_dbfs",
            "Level of the last second: mean and peak, plain (Z) and A-weighted; absent while there "
            "is none.",
            labels=["source", "weighting", "of"],
        )
        rtf = _gauge("real_time_factor", "Scoring time per second of audio; over 1 falls behind.")
        waiting = _gauge("queue_seconds", "Audio that has arrived and is not scored yet.")
        stretched = CounterMetricFamily(
            "pe_stream_hops_stretched", "Windows left out to keep up.", labels=["source"]
        )
        breaks = CounterMetricFamily(
            "pe_stream_breaks",
            "How often sound broke off and began again: a reconnection, or something lost.",
            labels=["source"],
        )
        away = _gauge("engine_away_seconds", "How long an engine elsewhere has not answered.")
        breaking = _gauge("breaks_per_minute", "The same of the last five minutes, a minute.")
        for source, status in statuses.items():
            account = status.account
            for fate in ("heard", "lost", "flat", "clipped"):
                samples = self._rising(source, fate, getattr(account, fate))
                audio.add_metric([source, fate], samples / SAMPLE_RATE)
            for each in SourceState:
                state.add_metric([source, each], account.state is each)
            if account.level_dbfs is not None:
                level.add_metric([source], account.level_dbfs)
            if (second := status.level) is not None:
                sound.add_metric([source, "Z", "mean"], second.mean_dbfs)
                sound.add_metric([source, "Z", "peak"], second.peak_dbfs)
                sound.add_metric([source, "A", "mean"], second.a_mean_dbfs)
                sound.add_metric([source, "A", "peak"], second.a_peak_dbfs)
            if status.rtf is not None:
                rtf.add_metric([source], status.rtf)
            waiting.add_metric([source], status.waiting / SAMPLE_RATE)
            stretched.add_metric([source], status.stretched)
            away.add_metric([source], status.engine_away_s)
            breaks.add_metric([source], account.breaks)
            breaking.add_metric([source], account.breaks_per_minute)
        yield from (audio, state, level, sound, rtf, waiting, stretched, away, breaks, breaking)
        yield from _of_pictures({k: v.picture for k, v in statuses.items() if v.picture})

    def _rising(self, source: str, fate: str, samples: int) -> int:
        """A counter must not fall, as what was heard does where it is dropped later."""
        highest = max(samples, self._highest.get((source, fate), 0))
        self._highest[source, fate] = highest
        return highest

    def _of_the_way_out(self) -> Iterator[Metric]:
        publisher = self._readings.publisher
        events = self._readings.events() if self._readings.events else None
        yield GaugeMetricFamily(
            "pe_stream_broker_connected",
            "1 while there is a connection to the MQTT broker.",
            value=publisher.connected,
        )
        yield GaugeMetricFamily(
            "pe_stream_outbox_messages",
            "Messages about events that the broker has not acknowledged.",
            value=publisher.queued,
        )
        yield GaugeMetricFamily(
            "pe_stream_outbox_age_seconds",
            "How long the oldest of them has waited.",
            value=publisher.waiting_s,
        )
        aside = CounterMetricFamily(
            "pe_stream_messages_set_aside",
            "Messages that the broker did not take, at each time they were tried, by cause.",
            labels=["cause"],
        )
        for cause, count in publisher.set_aside.items():
            aside.add_metric([cause], count)
        yield aside
        yield CounterMetricFamily(
            "pe_stream_events_dropped",
            "Messages about events that were too many or too old to be kept for the broker.",
            # Both hold the same ones, where both do.
            value=max(publisher.dropped, events.lost if events else 0),
        )
        if events is not None:
            yield GaugeMetricFamily(
                "pe_stream_store_ok",
                "1 while events can be written to disk.",
                value=events.unavailable_reason is None,
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
        for what, read in self._readings.kept.items():
            status = read()
            working.add_metric([what], status.unavailable_reason is None)
            lost.add_metric([what], status.lost)
        yield from (working, lost)


def _of_pictures(statuses: Mapping[str, PictureStatus]) -> Iterator[Metric]:
    working = _gauge("picture_ok", "1 while pictures of a camera come.")
    pictures = CounterMetricFamily(
        "pe_stream_pictures", "Pictures kept; damaged packets.", labels=["source", "fate"]
    )
    for source, status in statuses.items():
        working.add_metric([source], status.reason is None)
        pictures.add_metric([source, "kept"], status.kept)
        pictures.add_metric([source, "damaged"], status.damaged)
    if statuses:
        yield from (working, pictures)


def _of_opinions(status: OpinionStatus | None) -> Iterator[Metric]:
    if status is None:
        return
    yield GaugeMetricFamily(
        "pe_stream_second_opinions_ok",
        "1 while second opinions can be given.",
        value=status.reason is None,
    )
    asked = CounterMetricFamily(
        "pe_stream_second_opinions",
        "Second opinions that were asked for; of these, answered, or given up.",
        labels=["outcome"],
    )
    for outcome in ("asked", "answered", "given_up"):
        asked.add_metric([outcome], getattr(status, outcome))
    yield asked
    yield CounterMetricFamily(
        "pe_stream_second_opinion_restarts",
        "How often their process was begun again, as it had died or could not load.",
        value=status.restarts,
    )
    yield CounterMetricFamily(
        "pe_stream_second_opinion_seconds", "Time to give those answered.", value=status.seconds
    )


def _gauge(name: str, meaning: str) -> GaugeMetricFamily:
    return GaugeMetricFamily(f"pe_stream_{name}", meaning, labels=["source"])
