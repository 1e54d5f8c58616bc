"""One sound, then another: a dog, then glass."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

from pe_stream.core.patterns.composite_event import Together, element_rule
from pe_stream.core.smoothing import Raw
from pe_stream.core.tracker import Detection, Tracker
from pe_stream.core.types import LabelRule, Phase, Reason, Sequence


class SequenceTracker:
    """An element, then an event of another label; `follows` must be told of those in each frame."""

    def __init__(self, rule: LabelRule) -> None:
        """Start with nothing heard."""
        self._rule = rule
        self._tracker = Tracker(element_rule(rule, update_every=1))
        self._firsts: list[Detection] = []
        self._then: Detection | None = None
        self._open: Detection | None = None
        """The first element of the open event."""
        self._ready = 0

    @property
    def rule(self) -> LabelRule:
        """The rule in force."""
        return self._rule

    @property
    def onset(self) -> int | None:
        """Onset of the open event, else of the earliest element that may become part of one."""
        onsets = [first.onset for first in (self._open, *self._firsts) if first is not None]
        if self._tracker.onset is not None:
            onsets.append(self._tracker.onset)
        return min(onsets, default=None)

    @property
    def sounding(self) -> bool:
        """Whether an element is under way."""
        return self._tracker.sounding

    def change(self, rule: LabelRule) -> list[Detection]:
        """Go on under another rule; an open event ends only where the label was disabled."""
        self._rule = rule
        self._tracker.change(element_rule(replace(rule, enabled=True), update_every=1))
        return [] if rule.enabled else self.close(Reason.STOPPED)

    def step(self, frame: int, score: float, raw: Raw | None = None) -> list[Detection]:
        """Take the score of one frame: what it makes of the elements. `follows` says the rest."""
        if self._rule.enabled:
            for element in self._tracker.step(frame, score, raw):
                if self._firsts and self._firsts[-1].onset == element.onset:
                    self._firsts[-1] = element
                elif element.phase is Phase.START and element.onset >= self._ready:
                    self._firsts.append(element)
        return []

    def follows(
        self, frame: int, events: Iterable[Detection], earliest: int | None
    ) -> list[Detection]:
        """Take the events of the label `then`; returns what they made of ours, in order.

        earliest: no event of it still to come has an onset before.
        """
        said: list[Detection] = []
        for event in events:
            if event.phase is Phase.START:
                self._then = event
                said += self._match()
            elif self._open is not None and event.phase is Phase.UPDATE:
                said.append(Together.of([self._open, event]).detection(Phase.UPDATE))
            elif event.phase is Phase.END:
                self._then = None
                said += self._end(event)
        if self._then is not None and self._open is None:
            said += self._match()
        bound = frame + 1 if earliest is None else earliest
        self._firsts = [
            first
            for first in self._firsts
            if bound - first.offset <= self._within or self._tracker.onset == first.onset
        ]
        return said

    def close(self, reason: Reason | None) -> list[Detection]:
        """End what is open, and forget what had begun."""
        self._tracker.close(reason)
        self._firsts.clear()
        then, self._then = self._then, None
        return [] if then is None else self._end(replace(then, reason=reason))

    def _match(self) -> list[Detection]:
        then = self._then
        if then is None or not self._rule.enabled:
            return []
        fit = [
            number
            for number, first in enumerate(self._firsts)
            if first.onset < then.onset and then.onset - first.offset <= self._within
        ]
        if not fit:
            return []
        self._open = self._firsts[fit[-1]]
        del self._firsts[: fit[-1] + 1]
        return [Together.of([self._open, then]).detection(Phase.START)]

    def _end(self, then: Detection) -> list[Detection]:
        first, self._open = self._open, None
        if first is None:
            return []
        self._ready = then.offset + self._rule.cooldown
        return [Together.of([first, then]).detection(Phase.END, then.reason)]

    @property
    def then(self) -> str:
        """The label whose events are waited for."""
        return self._pattern.then

    @property
    def _within(self) -> int:
        return self._pattern.within

    @property
    def _pattern(self) -> Sequence:
        assert isinstance(self._rule.pattern, Sequence)  # noqa: S101 - see `watch`
        return self._rule.pattern
