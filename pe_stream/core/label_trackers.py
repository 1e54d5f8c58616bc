"""The labels of one source together: each followed by its rule, in the order of the columns.

Here meet what a single label cannot know: the sound itself, for rhythms; the events of other
labels, for sequences; and what the room sounded like, for thresholds that follow it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from pe_stream.core.adaptive_threshold import LEAST, AdaptiveThreshold
from pe_stream.core.patterns.rhythm import levels
from pe_stream.core.patterns.rhythm_tracker import RhythmTracker
from pe_stream.core.patterns.sequence import SequenceTracker
from pe_stream.core.patterns.watcher import Watcher, watch
from pe_stream.core.tracker import Detection
from pe_stream.core.types import FRAME, LabelRule, Reason, Samples

Said = list[tuple[str, Detection]]
"""What was made of labels, by name, in the order of the columns."""


class _Column:
    """One label: the rule that was set, and what follows it under the rule in force."""

    def __init__(self, rule: LabelRule) -> None:
        self.rule = rule
        self.follower = AdaptiveThreshold(rule.follow) if rule.follow else None
        self.watcher: Watcher = watch(rule)

    @property
    def in_force(self) -> LabelRule:
        return replace(self.watcher.rule, follow=None)

    def change(self, rule: LabelRule) -> list[Detection]:
        follower = self.follower
        if rule.follow is None or follower is None or follower.follow != rule.follow:
            self.follower = AdaptiveThreshold(rule.follow) if rule.follow else None
        self.rule = rule
        if rule.pattern == self.watcher.rule.pattern:
            return self.watcher.change(self._raised())
        said = self.watcher.close(Reason.STOPPED)
        self.watcher = watch(self._raised())
        return said

    def followed(self, score: float) -> bool:
        """Take a score of the room, after the watcher has; says whether the threshold moved."""
        if self.follower is None or not self.rule.enabled:
            return False
        if not self.follower.step(score, counts=not self.watcher.sounding):
            return False
        raised = self._raised()
        if abs(raised.threshold - self.watcher.rule.threshold) < LEAST:
            return False
        self.watcher.change(raised)
        return True

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
        self._moved = False

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
        onsets = [column.watcher.onset for column in self._columns]
        return min((onset for onset in onsets if onset is not None), default=None)

    def moved(self) -> bool:
        """Whether `in_force` has changed by itself since the last time."""
        moved, self._moved = self._moved, False
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
            column, score = self._columns[number], row[number]
            made = column.watcher.step(frame, score)
            if isinstance(column.watcher, SequenceTracker):
                made += self._then(frame, column.watcher, said)
            if made:
                said[number] = made
            self._moved |= column.followed(score)
        return self._told(said)

    def close(self, reason: Reason | None) -> Said:
        """End what is open."""
        said: dict[int, list[Detection]] = {}
        for number in self._order:
            watcher = self._columns[number].watcher
            made = list[Detection]()
            if isinstance(watcher, SequenceTracker):
                made += self._then(0, watcher, said)
            said[number] = made + watcher.close(reason)
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
            was = column.watcher
            made = was.close(Reason.STOPPED) if rule is None else column.change(rule)
            if isinstance(was, SequenceTracker):
                made = self._then(0, was, said) + made
            said[number] = made
        told = self._told(said)
        there = {column.rule.name: column for column in self._columns}
        self._columns = [there.get(rule.name) or _Column(rule) for rule in rules]
        self._order = order
        return told

    def _then(
        self, frame: int, watcher: SequenceTracker, said: dict[int, list[Detection]]
    ) -> list[Detection]:
        """Tell a sequence of the label that it waits for, if there is one."""
        for number, column in enumerate(self._columns):
            if column.rule.name == watcher.then:
                return watcher.follows(frame, said.get(number, ()), column.watcher.onset)
        return watcher.follows(frame, (), None)

    def _told(self, said: dict[int, list[Detection]]) -> Said:
        return [
            (self._columns[number].rule.name, detection)
            for number in sorted(said)
            for detection in said[number]
        ]


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
