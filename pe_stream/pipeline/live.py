"""Live sources to events: one thread feeds every detector and scores what is due.

    feeds (a thread and a bounded queue each)  ->  this thread: detectors, engine  ->  events

The scoring thread alone touches the detectors, until `stop`; others ask it with `change` and
`set_rule`.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from concurrent.futures import CancelledError, Future
from contextlib import suppress
from dataclasses import replace
from typing import Protocol

from uuid6 import uuid7

from pe_stream.audio.devices import list_devices
from pe_stream.audio.feed import Feed, Mark, Opener
from pe_stream.audio.source import open_source
from pe_stream.config import Settings, SourceSettings
from pe_stream.core.clipper import ClipRule, Piece
from pe_stream.core.detector import Detector, Heard, Origin
from pe_stream.core.ledger import SourceState
from pe_stream.core.rule_change import RuleChange
from pe_stream.core.source_status import SourceStatus
from pe_stream.core.types import FRAME_S, Event, LabelRule, Reason, Window
from pe_stream.errors import UnavailableError
from pe_stream.labels.prepare import PreparedLabels
from pe_stream.model.codec import Stream
from pe_stream.pipeline.mailbox import Requests
from pe_stream.pipeline.scorer import Scorer

log = logging.getLogger(__name__)

IDLE_S = 0.5
"""The scoring thread looks around at least this often."""

STOP_S = 2.0
"""How long threads are waited for at a stop before they are left behind."""

_RTF_MEMORY = 0.95
"""Weight of what was before in the real-time factor, per window."""


class _Channel:
    """One source as the scoring thread sees it."""

    def __init__(self, feed: Feed, detector: Detector) -> None:
        self.feed = feed
        self.detector = detector
        self.stream = Stream()
        self.ended = False
        self._busy_s = self._audio_s = 0.0

    @property
    def status(self) -> SourceStatus:
        detector = self.detector
        return SourceStatus(
            detector.account,
            self.feed.delivered,
            detector.scored_frames,
            max(0, detector.urgency[1]),
            detector.stretched,
            round(self._busy_s / self._audio_s, 3) if self._audio_s else None,
        )

    def up_to_date(self, status: SourceStatus) -> SourceStatus:
        """With what goes on although nothing is scored; from any thread."""
        account = status.account
        if (
            account.state is SourceState.LOST
        ):  # else it would be counted only once something is heard
            account = replace(account, lost=account.lost + self.feed.missed)
        return replace(
            status,
            account=account,
            delivered=self.feed.delivered,
            waiting=status.waiting + self.feed.waiting,
        )

    def drain(self) -> None:
        for item in self.feed.take():
            if item is Mark.LOST:
                self.detector.silence()
                self.stream = Stream()
            elif item is Mark.ENDED:
                self.detector.end(None)
                self.ended = True
            else:
                self.detector.feed(item)

    def spend(self, busy_s: float, heard: Heard) -> None:
        self._busy_s = _RTF_MEMORY * self._busy_s + busy_s
        self._audio_s = _RTF_MEMORY * self._audio_s + len(heard.scores) * FRAME_S


class Handler(Protocol):
    """What a Live tells; on its scoring thread, but for what `stop` still brings."""

    def events(self, events: Sequence[Event]) -> None:
        """Take events of one source, in their order."""

    def scores(self, source: str, heard: Heard) -> None:
        """Take the frames that became final, columns in the order of the labels in force."""

    def ended(self, error: BaseException | None) -> None:
        """Learn that every source has ended, or what ended a thread; called at most once."""


class Live:
    """Listens to every source until all have ended or `stop` is called.

    openers: per source, what opens it; see Feed.
    hears: says whether a source listens for a label.
    scored: told how long each scoring took (s), on the scoring thread.
    clips: which audio is cut out; None is none. cut: told of it, after the events it belongs to.
    ruled: told the rules of a source, at the start and whenever they change; thresholds that follow
        the room as they are at present, and at most once a minute.
    embed: whether the handler gets the frames' embeddings, too.
    """

    def __init__(
        self,
        openers: Mapping[str, Opener],
        scorer: Scorer,
        handler: Handler,
        *,
        node: str,
        hears: Callable[[str, str], bool],
        scored: Callable[[float], None] = lambda _: None,
        clips: ClipRule | None = None,
        cut: Callable[[Sequence[Piece]], None] = lambda _: None,
        ruled: Callable[[str, Sequence[LabelRule]], None] = lambda _source, _rules: None,
        embed: bool = False,
    ) -> None:
        self._embed = embed
        self._engine = scorer.engine
        self._scored, self._cut, self._ruled = scored, cut, ruled
        self.rules: dict[str, Sequence[LabelRule]] = {}
        self._handler = handler
        self._wake = threading.Event()
        self._stopping = threading.Event()
        self._over = threading.Lock()
        # Held by whoever touches the detectors: this thread but while it scores, and `stop`.
        self._touching = threading.Lock()
        # Never full: of each label of a source one change waits, and of all labels one.
        self._requests = Requests[str, Mapping[str, RuleChange]](
            self._change_rules, _joined, self._wake.set
        )
        self._channels = {
            name: _Channel(
                Feed(name, opener, arrived=self._wake.set, failed=self._end),
                Detector(
                    Origin(node, name, scorer.checkpoint.name),
                    scorer.framing,
                    _rules(scorer.labels, name, hears),
                    live=True,
                    new_id=lambda: str(uuid7()),
                    clips=clips,
                ),
            )
            for name, opener in openers.items()
        }
        self._vitals = {name: channel.status for name, channel in self._channels.items()}
        self._thread = threading.Thread(target=self._run, name="scoring", daemon=True)

    @property
    def statuses(self) -> Mapping[str, SourceStatus]:
        """How each source does."""
        return {
            name: channel.up_to_date(self._vitals[name]) for name, channel in self._channels.items()
        }

    def open(self) -> dict[str, str]:
        """Open every source and say what each is; raises UnavailableError."""
        return {name: channel.feed.open() for name, channel in self._channels.items()}

    def start(self) -> None:
        """Begin to listen."""
        for name, channel in self._channels.items():
            self._tell_rules(name)
            channel.feed.start()
        self._thread.start()

    def stop(self) -> None:
        """Close open events with reason "stopped" and end the threads."""
        self._stopping.set()
        self._requests.close()
        self._wake.set()
        for channel in self._channels.values():
            channel.feed.stop()
        deadline_s = time.monotonic() + STOP_S
        if self._thread.is_alive():
            self._thread.join(STOP_S)  # one still scoring touches nothing afterwards
        self._close(max(0.0, deadline_s - time.monotonic()))
        for channel in self._channels.values():
            channel.feed.join(max(0.0, deadline_s - time.monotonic()))

    def _close(self, patience_s: float) -> None:
        """Close open events, unless whoever is told of others does not come back."""
        if not self._touching.acquire(timeout=patience_s):
            log.error("scoring does not end: open events are closed at the next start")
            return
        try:
            for channel in self._channels.values():
                self._handler.events(channel.detector.stop(Reason.STOPPED))
                self._cut(channel.detector.clips())
        finally:
            self._touching.release()

    @property
    def labels(self) -> tuple[str, ...]:
        """The labels in force, in the order of the columns; for `Handler.scores`."""
        return self._engine.labels.names

    def ready(self, patience_s: float | None) -> None:
        """Return once the scoring thread takes changes: between two scorings.

        Raises UnavailableError where that is not within patience_s, or never.
        """
        taken = self._requests.ask(lambda: None)
        try:
            taken.result(patience_s)
        except (TimeoutError, CancelledError):
            taken.cancel()
            raise UnavailableError("scoring stands still; the change was not made") from None

    def change(
        self,
        labels: PreparedLabels,
        hears: Callable[[str, str], bool],
        done: Callable[[], None],
        *,
        keep: Collection[str] = (),
        applied: Callable[[], None] = lambda: None,
    ) -> Future[None]:
        """Go on with other labels, without losing a sample.

        done: called on the scoring thread, after the events that this ends.
        keep: labels whose rules stay as they are in force.
        applied: called last. Returns what is done then, and is cancelled by `stop`. One change is
        to be in force, or cancelled, before the next.
        """

        def apply() -> None:
            self._engine.labels = labels.embeddings
            for name, channel in self._channels.items():
                kept = {rule.name: rule for rule in channel.detector.rules if rule.name in keep}
                rules = [kept.get(rule.name, rule) for rule in _rules(labels, name, hears)]
                self._handler.events(channel.detector.change(rules))
            done()
            for name in self._channels:
                self._tell_rules(name)
            applied()

        return self._requests.ask(apply)

    def set_rule(
        self,
        source: str,
        label: str,
        threshold: float | None,
        *,
        enabled: bool | None,
        off_threshold: float | None = None,
    ) -> None:
        """Change one label of one source; what is None stays. The off threshold keeps its ratio.

        Never waits. Of several changes between two scorings the last counts. A label that has just
        gone is nothing to change. Raises UnavailableError once stopped.
        """
        self._requests.want(source, {label: RuleChange(threshold, off_threshold, enabled)})

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
        detector = self._channels[source].detector
        rules = [
            changes[rule.name].of(rule) if rule.name in changes else rule for rule in detector.rules
        ]
        self._handler.events(detector.change(rules))
        self._tell_rules(source)

    def _tell_rules(self, source: str) -> None:
        detector = self._channels[source].detector
        self.rules[source] = tuple(detector.rules)
        self._ruled(source, detector.in_force)

    def _end(self, error: BaseException | None) -> None:
        if self._over.acquire(blocking=False):
            self._handler.ended(error)

    def _run(self) -> None:
        try:
            while not self._stopping.is_set():
                self._wake.wait(IDLE_S)
                self._wake.clear()
                self._turn()
                if all(channel.ended for channel in self._channels.values()):
                    errors = (channel.feed.error for channel in self._channels.values())
                    return self._end(next((error for error in errors if error), None))
        except BaseException as error:  # noqa: BLE001 - whatever ends this thread ends the daemon
            self._end(error)
        finally:
            self._requests.close()
        return None

    def _turn(self) -> None:
        """Take what has arrived and score until nothing is due.

        One batch at a time, and of what is due the most urgent first: when there is more than can
        be scored, every source falls behind alike.
        """
        while True:
            with self._touching:
                due = [] if self._stopping.is_set() else self._due()
            if not due:
                return
            self._score(due)

    def _due(self) -> list[tuple[str, Window]]:
        self._requests.serve()
        for name, channel in self._channels.items():
            channel.drain()
            self._vitals[name] = channel.status
        urgent = sorted(
            self._channels.items(), key=lambda item: item[1].detector.urgency, reverse=True
        )
        due: list[tuple[str, Window]] = []
        for name, channel in urgent:
            window = channel.detector.next_window()
            if window is not None:
                due.append((name, window))
            if len(due) == self._engine.most_together:
                break
        return due

    def _score(self, due: Sequence[tuple[str, Window]]) -> None:
        begun_s = time.monotonic()
        streams = [self._channels[name].stream for name, _ in due]
        windows = [window for _, window in due]
        found = self._engine.hear_and_embed(streams, windows, embed=self._embed)
        now_s = time.monotonic()
        self._scored(now_s - begun_s)
        with self._touching:
            if self._stopping.is_set():
                return
            for (name, window), (scores, embeddings) in zip(due, found, strict=True):
                channel = self._channels[name]
                heard = channel.detector.accept(window, scores, now_s, embeddings)
                channel.spend((now_s - begun_s) / len(due), heard)
                self._handler.events(heard.events)
                self._cut(channel.detector.clips())
                self._handler.scores(name, heard)
                if channel.detector.moved():
                    self._tell_rules(name)


def openers(settings: Settings) -> dict[str, Opener]:
    """What opens each source of the settings.

    An index of a microphone is what it is now: once one is open, PortAudio counts anew.
    """
    ids: dict[int, str] = {}
    if any(isinstance(spec.microphone, int) for spec in settings.sources.values()):
        with suppress(UnavailableError):
            ids = {device.index: device.id for device in list_devices()}

    def opener(spec: SourceSettings) -> Opener:
        if isinstance(spec.microphone, int):
            known = ids.get(spec.microphone, spec.microphone)
            spec = spec.model_copy(update={"microphone": known})
        return lambda sample, at_s: open_source(spec, first_sample=sample, at_s=at_s)

    return {name: opener(spec) for name, spec in settings.sources.items()}


def _rules(
    labels: PreparedLabels, source: str, hears: Callable[[str, str], bool]
) -> list[LabelRule]:
    """One rule a column; labels that the source does not listen for are switched off."""
    return [
        rule if hears(source, rule.name) else replace(rule, enabled=False) for rule in labels.rules
    ]


def _joined(
    earlier: Mapping[str, RuleChange], later: Mapping[str, RuleChange]
) -> Mapping[str, RuleChange]:
    """Changes of a source's labels, one after the other."""
    both = {
        label: change.after(earlier[label]) if label in earlier else change
        for label, change in later.items()
    }
    return {**earlier, **both}
