"""The labels of one source together: each followed by its rule, in the order of the columns.

Here meet what a single label cannot know: the sound itself, for rhythms; the events of other
labels, for sequences; and what the room sounded like, for thresholds that follow it. Scores of
labels that are smoothed are followed as means, later by half of what these are over.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Collection, Iterable, Sequence
from dataclasses import replace

import numpy as np

from pe_stream.core.adaptive_threshold import LEAST, AdaptiveThreshold
from pe_stream.core.patterns.rhythm import levels
from pe_stream.core.patterns.rhythm_tracker import RhythmTracker
from pe_stream.core.patterns.sequence import SequenceTracker
from pe_stream.core.patterns.watcher import Watcher, watch
from pe_stream.core.smoothing import Smoother
from pe_stream.core.tracker import Detection
from pe_stream.core.types import FRAME, LabelRule, Phase, Reason, Rhythm, Samples

Said = list[tuple[str, Detection]]
"""Detections with their labels' names, in the order of the columns."""


_Other = tuple[int, Sequence[Detection], int | None]
"""Another label's state at a frame, for a sequence; see `SequenceTracker.follows`."""


class _Column:
    """One label: the rule that was set, and what follows it under the rule in force."""

    def __init__(self, rule: LabelRule) -> None:
        self.rule = rule
        self.follower = AdaptiveThreshold(rule.follow) if rule.follow else None
        self.watcher: Watcher = watch(rule)
        self.moved = False
        self._smoother = Smoother(_width(rule))
        self._waiting: deque[_Other] = deque()
        """Of the label that a sequence waits for, what its own means have not come to yet."""

    @property
    def in_force(self) -> LabelRule:
        return replace(self.watcher.rule, follow=None)

    @property
    def onset(self) -> int | None:
        """No event yet to come has an onset before; None: none before now."""
        onsets = (self.watcher.onset, self._smoother.earliest)
        return min((onset for onset in onsets if onset is not None), default=None)

    @property
    def behind(self) -> int:
        """Frames by which a decision comes later than its scores."""
        return self._smoother.half

    def step(self, frame: int, score: float, other: _Other | None) -> list[Detection]:
        """Take the score of a frame; other: for a sequence, the label that it waits for."""
        if other is not None:
            self._waiting.append(other)
        if self._smoother.half == 0 and self._smoother.earliest is None:
            return self._followed(((frame, score),))
        return self._followed(self._smoother.step(frame, score))

    def close(self, reason: Reason | None, other: _Other | None) -> list[Detection]:
        """End what is open, once the frames whose means were not known yet have been followed."""
        said = self._followed(self._smoother.close())
        return said + self.tell(other) + self.watcher.close(reason)

    def tell(self, other: _Other | None) -> list[Detection]:
        """Tell a sequence of the label that it waits for between two frames, in its turn."""
        if other is None or not isinstance(self.watcher, SequenceTracker):
            return []
        if not self._waiting:
            return self.watcher.follows(*other)
        self._waiting.append((self._waiting[-1][0], *other[1:]))
        return []

    def change(self, rule: LabelRule) -> list[Detection]:
        follower = self.follower
        if rule.follow is None or follower is None or follower.follow != rule.follow:
            self.follower = AdaptiveThreshold(rule.follow) if rule.follow else None
        self.rule = rule
        self._smoother.change(_width(rule))
        if rule.pattern == self.watcher.rule.pattern:
            return self.watcher.change(self._raised())
        said = self.watcher.close(Reason.STOPPED)
        self.watcher = watch(self._raised())
        self._waiting.clear()
        return said

    def _followed(self, frames: Iterable[tuple[int, float]]) -> list[Detection]:
        said: list[Detection] = []
        for frame, score in frames:
            made = self.watcher.step(frame, score, self._smoother if self._smoother.half else None)
            if isinstance(self.watcher, SequenceTracker):
                while self._waiting and self._waiting[0][0] <= frame:
                    made += self.watcher.follows(*self._waiting.popleft())
            if made:
                said += [_decided(each, frame) for each in made]
            self._follow(score)
        return said

    def _follow(self, score: float) -> None:
        """Take a score of the room, after the watcher has."""
        if self.follower is None or not self.rule.enabled:
            return
        if not self.follower.step(score, counts=not self.watcher.sounding):
            return
        raised = self._raised()
        if abs(raised.threshold - self.watcher.rule.threshold) < LEAST:
            return
        self.watcher.change(raised)
        self.moved = True

    def _raised(self) -> LabelRule:
        rule = self.rule
        if self.follower is None:
            return rule
        on = self.follower.threshold(rule.threshold)
        return replace(rule, threshold=on, off_threshold=rule.off_threshold * on / rule.threshold)


class LabelTrackers:
    """Single-threaded; frames must be given in order. Raises ValueError where sequences go round.

    rules: in the order of the score columns.
    """

    def __init__(self, rules: Sequence[LabelRule]) -> None:
        """Start with nothing heard."""
        self._columns = [_Column(rule) for rule in rules]
        self._order = _order(rules)

    @property
    def rules(self) -> list[LabelRule]:
        """The rules as they were set."""
        return [column.rule for column in self._columns]

    @property
    def in_force(self) -> list[LabelRule]:
        """The rules with their thresholds at present; they no longer say that they follow."""
        return [column.in_force for column in self._columns]

    @property
    def onset(self) -> int | None:
        """No event yet to come has an onset before; None: none before now."""
        onsets = [column.onset for column in self._columns]
        return min((onset for onset in onsets if onset is not None), default=None)

    def onset_of(self, labels: Collection[str]) -> int | None:
        """The same of these labels alone."""
        onsets = [column.onset for column in self._columns if column.rule.name in labels]
        return min((onset for onset in onsets if onset is not None), default=None)

    @property
    def behind(self) -> int:
        """Frames by which a decision comes later than its scores, at most."""
        return max((column.behind for column in self._columns), default=0)

    def moved(self) -> bool:
        """Whether `in_force` has changed by itself since the last time."""
        moved = any(column.moved for column in self._columns)
        for column in self._columns:
            column.moved = False
        return moved

    def listen(self, frame: int, samples: Samples) -> None:
        """Take the sound of frames from `frame` on, before their scores."""
        rhythms = [c.watcher for c in self._columns if isinstance(c.watcher, RhythmTracker)]
        rhythms = [rhythm for rhythm in rhythms if rhythm.rule.enabled]
        if rhythms:
            rows = levels(np.pad(samples, (0, -len(samples) % FRAME)))
            for rhythm in rhythms:
                rhythm.listen(frame, rows)

    def step(self, frame: int, row: Sequence[float]) -> Said:
        """Take the scores of one frame."""
        said: dict[int, list[Detection]] = {}
        for number in self._order:
            column = self._columns[number]
            made = column.step(frame, row[number], self._then(frame, column, said))
            if made:
                said[number] = made
        return self._told(said)

    def close(self, reason: Reason | None) -> Said:
        """End what is open."""
        said: dict[int, list[Detection]] = {}
        for number in self._order:
            column = self._columns[number]
            said[number] = column.close(reason, self._then(0, column, said))
        return self._told(said)

    def change(self, rules: Sequence[LabelRule]) -> Said:
        """Go on under other rules, in the order of the columns from now on.

        Labels are known by name; an event of a label that is gone, disabled or of another pattern
        ends.
        """
        order = _order(rules)
        kept = {rule.name: rule for rule in rules}
        said: dict[int, list[Detection]] = {}
        for number in self._order:
            column = self._columns[number]
            rule = kept.get(column.rule.name)
            was, other = column.watcher, self._then(0, column, said)
            made = was.close(Reason.STOPPED) if rule is None else column.change(rule)
            said[number] = (column.tell(other) if column.watcher is was else []) + made
        told = self._told(said)
        there = {column.rule.name: column for column in self._columns}
        self._columns = [there.get(rule.name) or _Column(rule) for rule in rules]
        self._order = order
        return told

    def _then(self, frame: int, column: _Column, said: dict[int, list[Detection]]) -> _Other | None:
        """The state of the label that a sequence waits for, if there is one."""
        watcher = column.watcher
        if not isinstance(watcher, SequenceTracker):
            return None
        for number, each in enumerate(self._columns):
            if each.rule.name == watcher.then:
                return frame, said.get(number, ()), each.onset
        return frame, (), None

    def _told(self, said: dict[int, list[Detection]]) -> Said:
        return [
            (self._columns[number].rule.name, detection)
            for number in sorted(said)
            for detection in said[number]
        ]


def _width(rule: LabelRule) -> int:
    """Width of the means, in frames; 1 for a rhythm, which is looked for in the sound."""
    return 1 if isinstance(rule.pattern, Rhythm) else rule.smooth


def _decided(detection: Detection, frame: int) -> Detection:
    if detection.phase is not Phase.START:
        return detection
    return replace(detection, decided=frame + 1)


def _order(rules: Sequence[LabelRule]) -> list[int]:
    """The columns, such that what a sequence waits for comes before it."""
    numbers = {rule.name: number for number, rule in enumerate(rules)}
    waits = [numbers.get(getattr(rule.pattern, "then", None) or "") for rule in rules]
    order: list[int] = []
    for number in range(len(rules)):
        chain: list[int] = []
        at: int | None = number
        while at is not None and at not in order:
            if at in chain:
                raise ValueError(f"the sequence of {rules[at].name!r} waits for itself")
            chain.append(at)
            at = waits[at]
        order += reversed(chain)
    return order
