"""Sounds that make an event only together: repeated, in a rhythm, one after the other.

What the Tracker of a label makes of its scores are then *elements*. An event has the onset of the
first element, the offset of the last, and the peak and mean of all; each further element is an
update. A label with a rhythm has no elements: the rhythm is looked for in the sound, and counts
where the label's score has reached its threshold meanwhile.
"""

from __future__ import annotations

from typing import Protocol

from pe_stream.core.patterns.repetition import RepetitionTracker
from pe_stream.core.patterns.rhythm_tracker import RhythmTracker
from pe_stream.core.patterns.sequence import SequenceTracker
from pe_stream.core.smoothing import Raw
from pe_stream.core.tracker import Detection, Tracker
from pe_stream.core.types import LabelRule, Reason, Repetition, Rhythm, Sequence


class Watcher(Protocol):
    """Follows one label, as a Tracker does."""

    @property
    def rule(self) -> LabelRule:
        """The rule in force."""

    @property
    def onset(self) -> int | None:
        """No event yet to come, and none open, has an onset before; None: none before now."""

    @property
    def sounding(self) -> bool:
        """Whether a sound under way has reached the threshold."""

    def change(self, rule: LabelRule) -> list[Detection]:
        """Go on under another rule of the same pattern."""

    def step(self, frame: int, score: float, raw: Raw | None = None) -> list[Detection]:
        """Take the score of one frame; returns what it made of the event, in order.

        raw: where `score` is a mean, what it is one of.
        """

    def close(self, reason: Reason | None) -> list[Detection]:
        """End what is open, and forget what had begun."""


def watch(rule: LabelRule) -> Watcher:
    """The tracker of a label under this rule."""
    if isinstance(rule.pattern, Repetition):
        return RepetitionTracker(rule)
    if isinstance(rule.pattern, Rhythm):
        return RhythmTracker(rule)
    if isinstance(rule.pattern, Sequence):
        return SequenceTracker(rule)
    return Tracker(rule)
