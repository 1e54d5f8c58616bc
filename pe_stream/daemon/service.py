"""The daemon: sources and engine on one side, MQTT on the other, and the signals between.

Read `Daemon.run` from top to bottom: start, main loop, stop. Threads: one a source, one that scores
(both in `pipeline.live`), one for MQTT, one for the embedded broker if there is one, one each for
events, clips, scores and what was heard, one a notification, one while a configuration is reloaded,
those of the page, and this one.
"""

from __future__ import annotations

import json
import logging
import math
import resource
import signal
import threading
import time
from collections.abc import Callable, Collection, Mapping, Sequence
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, Any

from pe_stream.config import Settings, local_time
from pe_stream.config.edit import ConfigFile
from pe_stream.config.local_time import LocalTime
from pe_stream.core.detector import Heard
from pe_stream.core.messages import Message, StateBoard, Topics, event_message, scores_message
from pe_stream.core.source_status import SourceStatus
from pe_stream.core.types import Event, LabelRule
from pe_stream.daemon.active_labels import ActiveLabels, BySource, labels_by_source
from pe_stream.daemon.health import Health
from pe_stream.daemon.watchdog import Watchdog, tell_systemd
from pe_stream.errors import PeStreamError, UnavailableError
from pe_stream.labels.enrolment_report import report
from pe_stream.labels.prepare import PreparedLabels
from pe_stream.outputs.home_assistant import HomeAssistant
from pe_stream.outputs.metrics import Kept, Metrics
from pe_stream.outputs.mqtt import Publisher
from pe_stream.outputs.mqtt.embedded_broker import EmbeddedBroker
from pe_stream.outputs.notifications import Notifications
from pe_stream.pipeline.live import Live, openers
from pe_stream.pipeline.scorer import Scorer, prepare
from pe_stream.storage import clips
from pe_stream.storage import events as events_module
from pe_stream.storage.clips import Clips
from pe_stream.storage.embeddings import EmbeddingStore
from pe_stream.storage.event_queries import EventQueries
from pe_stream.storage.events import EventStore
from pe_stream.storage.scores import ScoreStore
from pe_stream.web.recent_embeddings import RecentEmbeddings

if TYPE_CHECKING:  # an extra may be missing
    from pe_stream.web.server import Server

log = logging.getLogger(__name__)

TURN_S = 0.25
"""The main loop looks at its flags this often (s)."""

TICK_S = 1.0
"""Watchdog and health are seen to this often (s)."""

FLUSH_S = 1.5
"""At a stop, events that wait for the broker get this long (s)."""

SIGNALS = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)
"""Two that end it, and one that has the configuration taken anew."""

TOP_SCORES = 5
"""Labels in a message on the optional scores topic."""


class Daemon:
    """One run of the daemon under one configuration.

    reload: reads the configuration again; raises ConfigError where it is wrong.
    config: the file it is in, where the page may edit it.
    """

    def __init__(
        self, settings: Settings, reload: Callable[[], Settings], config: Path | None = None
    ) -> None:
        settings.require_sources()
        self._settings = settings
        self._reload = reload
        self._file = None if config is None else ConfigFile(config)
        self._version = self._file.version if self._file else ""
        self._topics = Topics(settings.mqtt.prefix, settings.node)
        self._board = StateBoard(self._topics, labels_by_source(settings))
        self._signals: list[int] = []
        self._over = threading.Event()
        self._error: BaseException | None = None
        self._health = {source: Health() for source in settings.sources}
        self._rules: dict[str, Sequence[LabelRule]] = {}
        self._recent = RecentEmbeddings()
        self._page: Server | None = None
        self._metrics = Metrics(settings.metrics)
        self._local = LocalTime(settings.location)
        self._notifications = Notifications(
            settings.notifications,
            self._local,
            after_s=settings.clips.after_s,
            on_failure=self.ended,
        )
        self._clips = Clips(
            settings.clips,
            on_failure=self.ended,
            on_done=self._clip_done,
            judged=self._judged,
        )
        self._history = ScoreStore(settings.history, on_failure=self.ended)
        self._memory = EmbeddingStore(settings.search, on_failure=self.ended)
        self._wanted: BySource = labels_by_source(settings)
        self._home = HomeAssistant(
            settings.home_assistant, self._topics, labels_by_source(settings)
        )
        self._watchdog = Watchdog()

    def run(self, seconds: float | None = None) -> int:
        """Run until a signal, the end of every source, or a fault; returns the exit code.

        seconds: listen no longer than that.
        """
        # A dump would hold passwords, and what was heard.
        resource.setrlimit(resource.RLIMIT_CORE, (0, resource.getrlimit(resource.RLIMIT_CORE)[1]))
        with ExitStack() as stack:
            settings = self._settings
            stack.callback(_obey_signals, {each: signal.getsignal(each) for each in SIGNALS})
            stack.callback(self._notifications.stop)
            at = local_time.now()
            scorer = prepare(
                settings.model,
                settings.labels,
                streams=len(settings.sources),
                holds=partial(self._local.holds, at=at),
            )
            # Not before, so that loading can be broken off; until all else has stopped, as a second
            # signal would end us in the middle of that.
            _obey_signals(dict.fromkeys(SIGNALS, self._note))
            self._live = Live(
                openers(self._settings),
                scorer,
                self,
                node=self._settings.node,
                hears=self._settings.hears,
                scored=self._metrics.scored,
                clips=clips.rule(settings.clips),
                cut=self._clips.take,
                ruled=self._ruled,
                embed=settings.web.enabled or settings.search.enabled,
            )
            self._labelling = ActiveLabels(
                settings,
                scorer,
                self._live,
                self._local,
                at,
                file=self._file,
                version=self._version,
                read=self._reload,
                changed=self._changed,
                applied=self._relabelled,
                on_failure=self.ended,
            )
            self._open_store(stack)
            self._start_mqtt(stack)
            self._serve_metrics(stack)
            self._notifications.start()
            self._clips.start()
            stack.callback(self._clips.stop)
            self._history.relabel(scorer.labels.keys)
            self._history.start()
            stack.callback(self._history.stop)
            self._memory.start(scorer.checkpoint.identity, scorer.checkpoint.name)
            stack.callback(self._memory.stop)
            self._serve_page(stack, scorer)
            stack.callback(self._live.stop)
            self._announce(scorer, self._live.open())
            self._go_on()
            self._publisher.publish(self._board.retained())
            self._publisher.publish(self._home.described())
            self._live.start()
            tell_systemd("READY=1")
            until_s = math.inf if seconds is None else time.monotonic() + seconds
            code = self._loop(until_s)
            self._tell_health(self._live.statuses, math.inf)  # where it ended
            tell_systemd("STOPPING=1")
        return code

    def events(self, events: Sequence[Event]) -> None:
        """Store and publish events, and publish the states they change."""
        for event in map(self._clips.named, events):
            self._tell(event, self._board.messages(event))
            self._metrics.event(event)
            self._publisher.publish(self._home.event(event))
            self._notifications.event(event)
            if self._page is not None:
                self._page.event(event)
            log.info("%s", _in_words(event))

    def scores(self, source: str, heard: Heard) -> None:
        """Keep the scores of a hop; publish the top labels, and those for Home Assistant."""
        names = self._live.labels
        self._history.add(source, names, self._wanted[source], heard.start_ns, heard.scores)
        self._publisher.publish(self._home.scores(source, names, heard.scores))
        if self._page is not None:
            self._page.heard(source, names, heard)
        if heard.embeddings is not None:
            self._recent.add(source, heard.start_ns, heard.embeddings)
            self._memory.add(source, heard.start_ns, heard.embeddings)
        if self._settings.mqtt.scores and len(heard.scores):
            peaks = dict(zip(names, heard.scores.max(axis=0).tolist(), strict=True))
            top = dict(sorted(peaks.items(), key=lambda item: -item[1])[:TOP_SCORES])
            self._publisher.publish([scores_message(self._topics, source, top)])

    def ended(self, error: BaseException | None) -> None:
        """Note that every source has ended, or what ended a thread."""
        self._error = self._error or error
        self._over.set()

    def _open_store(self, stack: ExitStack) -> None:
        settings = self._settings.store
        self._store: EventStore | None = None
        if settings.enabled:
            path = events_module.path_of(settings)
            limit = self._settings.mqtt.queue
            self._store = EventStore(
                path, keep_days=settings.keep_days, limit=limit, on_failure=self.ended
            )
            stack.callback(self._store.close)

    def _go_on(self) -> None:
        """Tell what the last run could not: its last messages, the ends of its open events.

        Once, as soon as the store can tell.
        """
        if self._store is None or (left := self._store.left()) is None:
            return
        waiting, unfinished = left
        self._publisher.publish(waiting)
        for event in unfinished:
            self._tell(event, [event_message(self._topics, event)])
        if waiting or unfinished:
            log.info(
                "from the last run: %d messages to deliver, %d open events closed",
                len(waiting),
                len(unfinished),
            )

    def _tell(self, event: Event, messages: list[Message]) -> None:
        if self._store is not None:
            messages = self._store.record(event, messages)
        self._publisher.publish(messages)

    def _start_mqtt(self, stack: ExitStack) -> None:
        settings = self._settings.mqtt
        if settings.embedded:
            broker = EmbeddedBroker(settings.port, on_failure=self.ended)
            broker.start()
            stack.callback(broker.stop)
            settings = settings.model_copy(update={"port": broker.port})
        self._publisher = Publisher(
            settings,
            self._topics,
            on_set=self._labelling.set,
            on_failure=self.ended,
            on_delivered=self._store.delivered if self._store else lambda _: None,
            listen={self._home.birth: self._greet} if self._home.enabled else None,
        )
        self._publisher.start()
        stack.callback(self._publisher.stop, FLUSH_S)
        self._where = f"{settings.host}:{settings.port}"

    def _serve_metrics(self, stack: ExitStack) -> None:
        if self._settings.metrics.enabled:
            self._metrics.expect(labels_by_source(self._settings))
            url = self._metrics.serve(
                lambda: self._live.statuses,
                self._publisher,
                self._store,
                self._clips,
                self._notifications,
                kept=self._kept(),
                viewers=self._viewers if self._settings.web.enabled else None,
            )
            stack.callback(self._metrics.stop)
            log.info("metrics: %s", url)

    def _kept(self) -> dict[str, Kept]:
        """What is written minute by minute."""
        settings = self._settings
        kept: dict[str, Kept] = {}
        if settings.history.enabled:
            kept["scores"] = self._history
        if settings.search.enabled:
            kept["heard"] = self._memory
        return kept

    def _viewers(self) -> int:
        return 0 if self._page is None else self._page.viewers

    def _serve_page(self, stack: ExitStack, scorer: Scorer) -> None:
        settings = self._settings
        if not settings.web.enabled:
            return
        try:
            from pe_stream.web.daemon_view import Broker, DaemonView
            from pe_stream.web.server import Server
        except ImportError as error:
            raise UnavailableError(
                f"web: {error.name} is not installed: pip install 'pe-stream[web]', or set "
                "web.enabled: false"
            ) from error
        publisher, path = self._publisher, events_module.path_of(settings.store)
        view = DaemonView(
            checkpoint=scorer.checkpoint.name,
            settings=lambda: self._labelling.settings,
            sources=self._sources,
            rules=lambda: dict(self._rules),
            rules_as_set=lambda: dict(self._live.rules),
            recommended=scorer.checkpoint.recommended,
            broker=lambda: Broker(publisher.connected, publisher.queued),
            config=self._file,
            version=lambda: self._labelling.version,
            change=self._labelling.edit,
            compare=scorer.compare,
            probe=scorer.probe,
            report=lambda name: list(
                report(scorer.checkpoint, self._labelling.settings.labels, name)
            ),
            recent=self._recent,
            clips=self._clips,
            store=self._store,
            timeline=EventQueries(path) if settings.store.enabled else None,
            history=self._history if settings.history.enabled else None,
            memory=self._memory if settings.search.enabled else None,
        )
        self._page = Server(settings.web, view, on_failure=self.ended)
        self._page.start()
        stack.callback(self._page.stop)
        log.info("page: %s", self._page.url)

    def _sources(self) -> list[dict[str, Any]]:
        unavailable_reason = self._store.unavailable_reason if self._store else None
        return [
            self._shown(source, self._health[source].shown(status, unavailable_reason))
            for source, status in self._live.statuses.items()
        ]

    def _shown(self, source: str, health: Mapping[str, Any]) -> dict[str, Any]:
        return {"name": source, **health, "labels": self._wanted[source]}

    def _announce(self, scorer: Scorer, sources: dict[str, str]) -> None:
        log.info("checkpoint: %s", scorer.checkpoint.describe())
        for name, what in sources.items():
            labels = ", ".join(self._settings.labels_of(name))
            log.info("%s: listening to %s for %s", name, what, labels)
        log.info("publishing on %s under %s", self._where, self._topics.status.rpartition("/")[0])

    def _note(self, number: int, _: FrameType | None) -> None:
        self._signals.append(number)

    def _loop(self, until_s: float) -> int:
        next_tick_s = time.monotonic()
        while not self._over.wait(TURN_S):
            while self._signals:
                number = self._signals.pop(0)
                if number != signal.SIGHUP:
                    log.info("stopping on %s", signal.Signals(number).name)
                    return 128 + number
                self._labelling.reload()
            if time.monotonic() >= until_s:
                return 0
            if time.monotonic() >= next_tick_s:
                next_tick_s = time.monotonic() + TICK_S
                self._tick()
        if self._error is None:
            log.info("every source has ended")
            return 0
        if isinstance(self._error, PeStreamError | BrokenPipeError):
            raise self._error
        log.critical("a thread has died", exc_info=self._error)
        return 1

    def _changed(self, wanted: BySource, labels: PreparedLabels) -> None:
        """Other labels are in force, but for their rules; on the scoring thread."""
        self._history.relabel(labels.keys)
        self._wanted = wanted
        self._metrics.expect(wanted)
        self._publisher.publish([*self._board.relabel(wanted), *self._home.relabel(wanted)])

    def _relabelled(self) -> None:
        if self._page is not None:
            self._page.relabelled()

    def _clip_done(self, event_id: str, path: Path | None) -> None:
        """A clip is complete, or there will be none; on the thread that writes them, mostly."""
        self._notifications.clip(event_id, path)
        if path is None and self._store is not None:
            self._store.no_clip(event_id)

    def _judged(self) -> Collection[str] | None:
        return self._store.judged() if self._store else ()

    def _ruled(self, source: str, rules: Sequence[LabelRule]) -> None:
        """Tell the thresholds and switches of a source."""
        self._rules[source] = tuple(rules)
        if self._page is not None:
            self._page.rules(source, rules)
        self._publisher.publish(self._home.rules(source, rules))

    def _greet(self, said: str) -> None:
        """Home Assistant has started: tell it what there is; on the MQTT thread."""
        if said == "online":
            self._publisher.publish(self._home.described())

    def _tick(self) -> None:
        statuses = self._live.statuses
        self._watchdog.check(statuses)
        if self._store is not None:
            self._store.retry()
            self._go_on()
        try:
            self._labelling.follow(local_time.now())
        except UnavailableError as error:  # it is ending
            log.error("by the clock: %s", error)  # noqa: TRY400
        self._tell_health(statuses, time.monotonic())

    def _tell_health(self, statuses: Mapping[str, SourceStatus], now_s: float) -> None:
        unavailable_reason = self._store.unavailable_reason if self._store else None
        for source, status in statuses.items():
            if (told := self._health[source].due(status, unavailable_reason, now_s)) is not None:
                topic = self._topics.health(source)
                payload = json.dumps(told)
                self._publisher.publish([Message(topic, payload, qos=1, retain=True)])
                if self._page is not None:
                    self._page.health(self._shown(source, told))


def _obey_signals(handlers: Mapping[signal.Signals, Any]) -> None:
    for number, handler in handlers.items():
        signal.signal(number, handler)


def _in_words(event: Event) -> str:
    return (
        f"{event.source}: {event.label} {event.phase} at {event.onset}, "
        f"{event.duration_s:.2f} s, peak {event.peak:.2f}"
    )
