"""Live sources to events: one thread feeds every detector and scores what is due.

    feeds (a thread and a bounded queue each)  ->  this thread: detectors, engine  ->  events

An engine on another machine answers when it can: while some windows are waited for, all other
sources go on. The scoring thread alone touches the detectors, until `stop`; others ask it with
`change` and `set_rule`. The listener is told on it, too, but for what `start` and `stop` bring.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from concurrent.futures import CancelledError, Future
from functools import partial
from typing import Any

from uuid6 import uuid7

from pe_stream.audio.feed import Feed, Opener
from pe_stream.config.worker import Worker
from pe_stream.core.clipper import ClipRule, Piece
from pe_stream.core.detector import Detector
from pe_stream.core.event_builder import Origin
from pe_stream.core.listener import Listener
from pe_stream.core.rule_change import RuleChange, joined
from pe_stream.core.source_status import SourceStatus
from pe_stream.core.types import Event, LabelRule, Reason
from pe_stream.errors import UnavailableError
from pe_stream.labels.prepare import PreparedLabels
from pe_stream.model.live_engine import Answered, Asked, LiveEngine, LocalEngine
from pe_stream.pipeline.channel import Channel
from pe_stream.pipeline.mailbox import Mailbox
from pe_stream.pipeline.openers import open_together
from pe_stream.pipeline.scorer import Scorer

log = logging.getLogger(__name__)

IDLE_S = 0.5
"""The scoring thread looks around at least this often."""

STOP_S = 2.0
"""How long threads are waited for at a stop before they are left behind."""


class Live:
    """Listens to every source until all have ended or `stop` is called.

    openers: per source, what opens it; see Feed.
    listener: told of labels, rules, events and scores; see Listener for when, and on which thread.
    hears: says whether a source listens for a label.
    ended: told that every source has ended, and why the first of those that failed did; once, on
        the scoring thread.
    failed: told of each error of ours that ended a thread, on that thread.
    scored: told how long each scoring took (s), on the scoring thread.
    clips: which audio is cut out; None is none. cut: told of it, after the events it belongs to.
    embed: whether the listener gets the frames' embeddings, too; levels: whether sources' levels.
    engine: what scores; default: the scorer's own, in this process.
    rules: as they were set, by source; in_force: the same with thresholds that follow the room as
        they are at present. Both may be read from any thread.
    """

    def __init__(
        self,
        openers: Mapping[str, Opener],
        scorer: Scorer,
        listener: Listener,
        *,
        node: str,
        hears: Callable[[str, str], bool],
        ended: Callable[[UnavailableError | None], None],
        failed: Callable[[BaseException], None],
        scored: Callable[[float], None] = lambda _: None,
        clips: ClipRule | None = None,
        cut: Callable[[Sequence[Piece]], None] = lambda _: None,
        embed: bool = False,
        levels: bool = False,
        engine: LiveEngine[Any] | None = None,
    ) -> None:
        self._embed = embed
        self._engine = LocalEngine(scorer.engine, scorer.threads) if engine is None else engine
        self._waited_for = 0  # windows that were asked for
        self._scored, self._cut, self._ended = scored, cut, ended
        self._listener = listener
        self._wake = threading.Event()
        self._engine.arrived = self._wake.set
        self._stopping = threading.Event()
        # Guards the detectors. The scoring thread holds it except while it scores; `stop` takes it.
        self._detectors_lock = threading.Lock()
        # Never full: of each label of a source one change waits, and of all labels one.
        self._mailbox = Mailbox[str, Mapping[str, RuleChange]](
            self._change_rules, joined, self._wake.set
        )
        self._channels = {
            name: Channel(
                Feed(name, opener, arrived=self._wake.set, failed=failed),
                Detector(
                    Origin(node, name, scorer.checkpoint.name),
                    scorer.framing,
                    scorer.labels.rules_of(name, hears),
                    live=True,
                    new_id=lambda: str(uuid7()),
                    clips=clips,
                    context=self._engine.context,
                ),
                partial(self._engine.stream, name),
                levels=levels,
            )
            for name, opener in openers.items()
        }
        self._statuses = {name: channel.status for name, channel in self._channels.items()}
        self._hears, self._keys = hears, scorer.labels.keys
        self.rules: dict[str, Sequence[LabelRule]] = {}
        self.in_force: dict[str, Sequence[LabelRule]] = {}
        for name in self._channels:
            self._read_rules(name)
        self._worker = Worker("scoring", self._run, failed)

    @property
    def statuses(self) -> Mapping[str, SourceStatus]:
        """How each source does."""
        return {
            name: channel.up_to_date(self._statuses[name])
            for name, channel in self._channels.items()
        }

    def open(self) -> dict[str, str]:
        """Open every source, all at once, and say what each is; raises UnavailableError.

        One that takes long is left to itself: the others are heard meanwhile.
        """
        return open_together({name: channel.feed for name, channel in self._channels.items()})

    def start(self) -> None:
        """Begin to listen; the listener is told of labels and rules before."""
        self._tell_labels()
        for channel in self._channels.values():
            channel.feed.start()
        self._worker.start()

    def stop(self) -> None:
        """Close open events with reason "stopped" and end the threads."""
        self._stopping.set()
        self._mailbox.close()
        self._wake.set()
        for channel in self._channels.values():
            channel.feed.stop()
        deadline_s = time.monotonic() + STOP_S
        self._worker.join(STOP_S)  # one still scoring touches nothing afterwards
        self._close(max(0.0, deadline_s - time.monotonic()))
        for channel in self._channels.values():
            channel.feed.join(max(0.0, deadline_s - time.monotonic()))
        self._engine.close()

    def _close(self, patience_s: float) -> None:
        """Close open events, unless whoever is told of others does not come back."""
        if not self._detectors_lock.acquire(timeout=patience_s):
            log.error("scoring does not end: open events are closed at the next start")
            return
        try:
            for channel in self._channels.values():
                self._tell(channel.detector.stop(Reason.STOPPED))
                self._cut(channel.detector.clips())
        finally:
            self._detectors_lock.release()

    def tell(self, events: Sequence[Event]) -> None:
        """Tell the listener of events from elsewhere, as `between_scorings`."""
        self.between_scorings(lambda: self._tell(events))

    def between_scorings(self, act: Callable[[], None]) -> None:
        """Have something done on the scoring thread; not once `stop` was called. Never waits."""
        self._mailbox.ask(act)

    def ready(self, patience_s: float | None) -> None:
        """Return once the scoring thread takes changes: between two scorings.

        Raises UnavailableError where that is not within patience_s, or never.
        """
        taken = self._mailbox.ask(lambda: None)
        try:
            taken.result(patience_s)
        except (TimeoutError, CancelledError):
            taken.cancel()
            raise UnavailableError("scoring stands still; the change was not made") from None

    def change(
        self,
        labels: PreparedLabels,
        hears: Callable[[str, str], bool],
        *,
        keep: Collection[str] = (),
    ) -> Future[None]:
        """Go on with other labels, without losing a sample. From any thread; never waits.

        The listener is told of the events that this ends, then of the labels, then of their rules.
        keep: labels whose rules stay as they are in force. Returns what is done then, and is
        cancelled by `stop`. One change is to be in force, or cancelled, before the next.
        """

        def apply() -> None:
            self._engine.labels = labels.embeddings
            for name, channel in self._channels.items():
                kept = {rule.name: rule for rule in channel.detector.rules if rule.name in keep}
                rules = [kept.get(rule.name, rule) for rule in labels.rules_of(name, hears)]
                self._tell(channel.detector.change(rules))
                self._read_rules(name)
            self._hears, self._keys = hears, labels.keys
            self._tell_labels()

        return self._mailbox.ask(apply)

    def set_rule(
        self,
        source: str,
        label: str,
        threshold: float | None,
        *,
        enabled: bool | None,
        off_threshold: float | None = None,
    ) -> None:
        """Change one label of one source; what is None stays.

        An off threshold comes with a threshold; without one, it is in the proportion in which both
        were set last (see RuleChange). From any thread; never waits. Of several changes between
        two scorings the last counts. A label that has just gone is nothing to change. Raises
        UnavailableError once stopped.
        """
        self._mailbox.want(source, {label: RuleChange(threshold, off_threshold, enabled)})

    def put_under(self, rule: LabelRule, sources: Iterable[str]) -> None:
        """Put a label under another rule wherever it is listened for, as `set_rule` does."""
        for source in sources:
            self.set_rule(
                source,
                rule.name,
                rule.threshold,
                off_threshold=rule.off_threshold,
                enabled=rule.enabled,
            )

    def _change_rules(self, source: str, changes: Mapping[str, RuleChange]) -> None:
        self._tell(self._channels[source].change(changes))
        self._tell_rules(source)

    def _tell(self, events: Sequence[Event]) -> None:
        for event in events:
            self._listener.event(event)

    def _tell_labels(self) -> None:
        """Tell the labels in force, then the rules of each source."""
        names = self._engine.labels.names
        of = {
            source: [name for name in names if self._hears(source, name)]
            for source in self._channels
        }
        self._listener.labels(of, self._keys)
        for source, rules in self.in_force.items():
            self._listener.rules(source, rules)

    def _tell_rules(self, source: str) -> None:
        self._read_rules(source)
        self._listener.rules(source, self.in_force[source])

    def _read_rules(self, source: str) -> None:
        detector = self._channels[source].detector
        self.rules[source] = tuple(detector.rules)
        self.in_force[source] = tuple(detector.in_force)

    def _run(self) -> None:
        try:
            while not self._stopping.is_set():
                self._wake.wait(IDLE_S)
                self._wake.clear()
                self._turn()
                ended = all(channel.ended for channel in self._channels.values())
                if ended and not self._waited_for:
                    errors = (channel.feed.error for channel in self._channels.values())
                    self._ended(next((error for error in errors if error), None))
                    return
        finally:
            self._mailbox.close()

    def _turn(self) -> None:
        """Take what has arrived and score until nothing is due.

        One batch at a time, and of what is due the most urgent first: when there is more than can
        be scored, every source falls behind alike.
        """
        while True:
            with self._detectors_lock:
                due = [] if self._stopping.is_set() else self._due()
            if due:
                self._waited_for += len(due)
                self._engine.ask(due, embed=self._embed)
            answers = self._engine.answers()
            if not answers:
                return
            for answered in answers:
                self._take(answered)

    def _due(self) -> list[Asked[Any]]:
        self._mailbox.serve()
        for name, channel in self._channels.items():
            levels = channel.drain()
            self._statuses[name] = channel.status
            for level in levels:
                self._listener.level(name, level)
        urgent = sorted(
            self._channels.items(), key=lambda item: item[1].detector.urgency, reverse=True
        )
        due: list[Asked[Any]] = []
        for name, channel in urgent:
            if not self._engine.takes(channel.stream):
                continue
            window = channel.detector.next_window()
            self._tell(channel.detector.owed())  # before scores, which an engine away has not
            if window is not None:
                channel.asks()
                due.append(Asked(name, channel.stream, window))
            if len(due) == self._engine.most_together:
                break
        return due

    def _take(self, answered: Answered[Any]) -> None:
        now_s = time.monotonic()
        self._waited_for -= len(answered.asked)
        found = answered.found
        if found is not None:
            self._scored(answered.took_s)
        with self._detectors_lock:
            if self._stopping.is_set():
                return
            if found is None or answered.labels is not self._engine.labels:
                for asked in answered.asked:
                    self._channels[asked.source].unanswered(answered.reason)
                return
            names = answered.labels.names
            for asked, (scores, embeddings) in zip(answered.asked, found, strict=True):
                channel = self._channels[asked.source]
                heard = channel.detector.accept(asked.window, scores, now_s, embeddings)
                channel.spend(answered.took_s / len(answered.asked), heard)
                self._tell(heard.events)
                self._cut(channel.detector.clips())
                self._listener.scores(asked.source, names, heard)
                if channel.detector.moved():
                    self._tell_rules(asked.source)
