"""A daemon while it runs: its parts, in the order in which they start, and the list of listeners.

Whatever happens goes to every listener, in the order of `Running._listeners`: a new output is one
line there.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Collection, Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from datetime import datetime
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pe_stream.config import Settings, local_time
from pe_stream.config.edit import ConfigFile
from pe_stream.config.local_time import LocalTime
from pe_stream.core.messages import Topics
from pe_stream.core.opinion import OpinionStatus
from pe_stream.core.source_status import SourceStatus
from pe_stream.daemon.active_labels import ActiveLabels, labels_by_source
from pe_stream.daemon.breaks import Breaks
from pe_stream.daemon.calibrations import Calibrations
from pe_stream.daemon.event_store import open_store
from pe_stream.daemon.health import Health
from pe_stream.daemon.lateness import Lateness
from pe_stream.daemon.listeners import EventLog, Listeners
from pe_stream.daemon.mqtt_output import MqttOutput
from pe_stream.daemon.page import page
from pe_stream.daemon.resources import Resources
from pe_stream.daemon.second_opinions import second_opinions
from pe_stream.daemon.watchdog import Watchdog
from pe_stream.errors import UnavailableError
from pe_stream.labels.enrolment_report import report
from pe_stream.outputs.current_figures import Readings
from pe_stream.outputs.metrics import Metrics
from pe_stream.outputs.mqtt.embedded_broker import EmbeddedBroker
from pe_stream.outputs.notifications import Notifications
from pe_stream.pipeline.live import Live
from pe_stream.pipeline.live_pictures import LivePictures
from pe_stream.pipeline.openers import filters_of, openers, refilter
from pe_stream.pipeline.scorer import Scorer, live_engine
from pe_stream.storage import clips as clips_module
from pe_stream.storage import events as events_module
from pe_stream.storage.clips import Clips
from pe_stream.storage.embeddings import EmbeddingStore
from pe_stream.storage.event_queries import EventQueries
from pe_stream.storage.scores import ScoreStore
from pe_stream.web.daemon_view import Broker, DaemonView
from pe_stream.web.recent_embeddings import RecentEmbeddings

if TYPE_CHECKING:  # an extra may be missing
    from pe_stream.web.server import Server

log = logging.getLogger(__name__)

FLUSH_S = 1.5
"""At a stop, events that wait for the broker get this long (s)."""


@dataclass(frozen=True, slots=True)
class RunContext:
    """Inputs of a daemon's run; they do not change.

    at: the moment (aware) whose schedules the labels of `scorer` are under. file: where the page
    may edit labels; version: of it, as it was read. read: reads the configuration again; raises
    ConfigError. ended, died, failed: told that every source has ended, what ended a thread, and
    what a listener raised; by any thread.
    """

    settings: Settings
    scorer: Scorer
    local: LocalTime
    at: datetime
    notifications: Notifications
    file: ConfigFile | None
    version: str
    read: Callable[[], Settings]
    ended: Callable[[UnavailableError | None], None]
    died: Callable[[BaseException], None]
    failed: Callable[[BaseException], None]


class Running:
    """All parts of a daemon. Its methods are for the main thread."""

    def __init__(self, stack: ExitStack, given: RunContext) -> None:
        """Start every part but the listening, from top to bottom; `stack` stops them in reverse.

        Raises ConfigError, and UnavailableError where a port cannot be had.
        """
        settings, scorer, died = given.settings, given.scorer, given.died
        self._settings, self._scorer = settings, scorer
        self._watchdog = Watchdog()
        self._resources = Resources()
        self._lateness = Lateness(settings.model.hop_s + settings.model.lookahead_s)
        self._breaks = Breaks()
        self._health = {source: Health() for source in settings.sources}
        self._notifications = given.notifications
        self._recent = RecentEmbeddings()
        self._metrics = Metrics(settings.metrics, on_failure=died)
        self._store = open_store(stack, settings, died)
        self._clips = Clips(
            settings.clips, on_failure=died, on_done=self._clip_done, judged=self._judged
        )
        self._listeners = Listeners(given.failed, self._clips.named)
        filters = filters_of(settings)
        self._pictures = LivePictures(settings, died)
        self._live = Live(
            openers(settings, filters, self._pictures.of),
            scorer,
            self._listeners,
            node=settings.node,
            hears=settings.hears,
            ended=given.ended,
            failed=died,
            scored=self._metrics.scored,
            clips=clips_module.rule(settings.clips),
            cut=self._clips.take,
            embed=settings.web.enabled or settings.search.enabled,
            engine=live_engine(settings.model, scorer, settings.node, died),
            levels=settings.levels.enabled,
        )
        self.labels = ActiveLabels(
            settings,
            scorer,
            self._live,
            given.local,
            given.at,
            file=given.file,
            version=given.version,
            read=given.read,
            on_failure=died,
            refilter=partial(refilter, filters),
        )
        self._opinions = second_opinions(
            stack,
            settings.second_opinion,
            self.labels,
            self._live,
            self._listeners,
            notifications=self._notifications,
            pictures=self._pictures,
            on_failure=died,
            store=self._store,
        )
        self._mqtt = self._connect(stack, died)
        self._mqtt.start()
        stack.callback(self._mqtt.publisher.stop, FLUSH_S)
        self._notifications.start()
        self._clips.start()
        if self._store is not None and self._clips.used:
            self._store.forget_missing_clips(self._clips.has)
        stack.callback(self._clips.stop)
        self._scores = ScoreStore(settings.history, on_failure=died)
        self._scores.start()
        stack.callback(self._scores.stop)
        self._embeddings = EmbeddingStore(settings.search, on_failure=died)
        self._embeddings.start(scorer.checkpoint.identity, scorer.checkpoint.name)
        stack.callback(self._embeddings.stop)
        self._page = self._serve_page(stack, given)
        self._serve_metrics(stack)
        stack.callback(self._live.stop)
        self._listeners.set(
            self._mqtt.delivery,  # first: in the database before anybody is told
            *(() if self._opinions is None else (self._opinions,)),  # before those that wait
            self._metrics,
            self._mqtt.home,
            self._notifications,
            *(() if self._page is None else (self._page,)),
            self._scores,
            self._embeddings,
            self._recent,
            EventLog(),
        )

    def listen(self) -> None:
        """Open every source and begin; what the last run left is told before what is heard.

        Raises UnavailableError where a source cannot be opened.
        """
        self._announce(self._live.open())
        self._tell_left()
        self._mqtt.delivery.begin()
        self._live.start()

    def tick(self, now_s: float) -> None:
        """See to what is due, about once a second. now_s: monotonic."""
        statuses = self._statuses
        self._watchdog.check(statuses)
        self._lateness.check(statuses, now_s)
        self._breaks.check(statuses, now_s)
        if self._store is not None:
            self._store.retry()
            self._tell_left()
        self._resources.check()
        if self._resources.shortage is None:
            self.labels.retry()
        try:
            self.labels.follow(local_time.now())
        except UnavailableError as error:  # it is ending
            log.error("by the clock: %s", error)  # noqa: TRY400 - expected; its message is enough
        self.tell_health(now_s)
        self._scorer.rest(now_s)

    def tell_health(self, now_s: float) -> None:
        """Tell the health of sources where it is time. now_s: monotonic; `inf` is always."""
        store, resources = self._unavailable_reason, self._resources.shortage
        untaken = self._mqtt.publisher.untaken_reason
        for source, status in self._statuses.items():
            told = self._health[source].due(
                status, store, resources, now_s, untaken, opinions=self._opinion_status
            )
            if told is not None:
                self._listeners.health(source, told)

    def _tell_left(self) -> None:
        """Tell everybody how the last run's open events end, as soon as the store knows them."""
        if unfinished := self._mqtt.go_on():
            self._live.tell(unfinished)

    @property
    def _statuses(self) -> Mapping[str, SourceStatus]:
        """How each source does; on any thread."""
        return self._pictures.added_to(self._live.statuses)

    @property
    def _opinion_status(self) -> OpinionStatus | None:
        return None if self._opinions is None else self._opinions.status

    @property
    def _unavailable_reason(self) -> str | None:
        return None if self._store is None else self._store.told_reason

    def _connect(self, stack: ExitStack, on_failure: Callable[[BaseException], None]) -> MqttOutput:
        """Start the broker where it is ours; the way to it, not yet started."""
        settings = self._settings
        mqtt = settings.mqtt
        if mqtt.embedded:
            broker = EmbeddedBroker(mqtt.port, on_failure=on_failure)
            broker.start()
            stack.callback(broker.stop)
            mqtt = mqtt.of_embedded(broker.port, broker.password)
        of = labels_by_source(settings)
        return MqttOutput(
            settings, mqtt, of, self._store, on_set=self.labels.set, on_failure=on_failure
        )

    def _serve_page(self, stack: ExitStack, given: RunContext) -> Server | None:
        if not self._settings.web.enabled:
            return None
        settings, live, labels = self._settings, self._live, self.labels
        publisher = self._mqtt.publisher
        checkpoint = self._scorer.checkpoint
        stored = settings.store.enabled
        calibrations = Calibrations(
            given.file, lambda: labels.settings, lambda: labels.version, given.died
        )
        stack.callback(calibrations.stop)
        view = DaemonView(
            checkpoint=checkpoint.name,
            settings=lambda: labels.settings,
            health=self._shown_health,
            alive=lambda: self._watchdog.alive,
            rules=lambda: dict(live.in_force),
            rules_as_set=lambda: dict(live.rules),
            recommended=checkpoint.recommended,
            broker=lambda: Broker(publisher.connected, publisher.queued),
            shortage=lambda: self._resources.shortage,
            config=given.file,
            version=lambda: labels.version,
            change=labels.edit,
            compare=self._scorer.compare,
            probe=self._scorer.probe,
            event_probe=None if self._opinions is None else self._opinions.probe,
            hints=labels.hints,
            report=lambda name: list(report(self._scorer.loaded, labels.settings.labels, name)),
            calibrations=calibrations,
            recent=self._recent,
            clips=self._clips,
            events=self._store,
            event_queries=EventQueries(events_module.path_of(settings.store)) if stored else None,
            scores=self._scores if settings.history.enabled else None,
            embeddings=self._embeddings if settings.search.enabled else None,
        )
        server = page(settings.web, view, given.died)
        server.start()
        stack.callback(server.stop)
        log.info("page: %s", server.url)
        return server

    def _serve_metrics(self, stack: ExitStack) -> None:
        settings, viewed = self._settings, self._page
        if not settings.metrics.enabled:
            return
        kept = {"scores": self._scores.status} if settings.history.enabled else {}
        if settings.search.enabled:
            kept["heard"] = self._embeddings.status
        readings = Readings(
            sources=lambda: self._statuses,
            publisher=self._mqtt.publisher,
            notifications=self._notifications,
            clips=self._clips.counts,
            events=None if self._store is None else self._store.status,
            opinions=lambda: self._opinion_status,
            kept=kept,
            viewers=None if viewed is None else lambda: viewed.viewers,
            threads=self._scorer.scoring_threads,
        )
        log.info("metrics: %s", self._metrics.serve(readings))
        stack.callback(self._metrics.stop)

    def _announce(self, sources: Mapping[str, str]) -> None:
        log.info("checkpoint: %s", self._scorer.checkpoint.describe())
        for name, what in sources.items():
            labels = ", ".join(self._settings.labels_of(name))
            log.info("%s: listening to %s for %s", name, what, labels)
        topics = Topics(self._settings.mqtt.prefix, self._settings.node)
        log.info("publishing on %s under %s", self._mqtt.where, topics.status.rpartition("/")[0])

    def _shown_health(self) -> dict[str, dict[str, Any]]:
        """For the page; on its threads."""
        store, resources = self._unavailable_reason, self._resources.shortage
        untaken = self._mqtt.publisher.untaken_reason
        return {
            source: self._health[source].shown(
                status, store, resources, untaken, opinions=self._opinion_status
            )
            | {"sound_level": status.level and status.level.to_dict()}
            for source, status in self._statuses.items()
        }

    def _clip_done(self, event_id: str, path: Path | None) -> None:
        """A clip is complete, or there will be none; on the thread that writes them, mostly."""
        self._notifications.clip(event_id, path)
        if path is None and self._store is not None:
            self._store.no_clip(event_id)

    def _judged(self) -> Collection[str] | None:
        """Events whose clips are kept for good; on the thread that writes clips."""
        return () if self._store is None else self._store.judged()
