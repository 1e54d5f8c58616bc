"""The same sound several times: three knocks."""

from __future__ import annotations

from collections import deque
from dataclasses import replace

from pe_stream.core.patterns.composite_event import Together, element_rule
from pe_stream.core.smoothing import Raw
from pe_stream.core.tracker import Detection, Tracker
from pe_stream.core.types import LabelRule, Phase, Reason, Repetition


class RepetitionTracker:
    """At least so many elements within so long, as long and as far apart as they should be.

    An element of another length, or at another distance, breaks the series. An event goes on while
    elements go on; one of which a gap or a stop took the end is none.
    """

    def __init__(self, rule: LabelRule) -> None:
        """Start with nothing heard."""
        self._rule = rule
        self._tracker = Tracker(element_rule(rule))
        self._series: deque[Detection] = deque()
        self._open: Together | None = None
        self._ready = 0

    @property
    def rule(self) -> LabelRule:
        """The rule in force."""
        return self._rule

    @property
    def onset(self) -> int | None:
        """Onset of the open event, else of the first element that may become part of one."""
        if self._open is not None:
            return self._open.onset
        return self._series[0].onset if self._series else self._tracker.onset

    @property
    def sounding(self) -> bool:
        """Whether an element is under way."""
        return self._tracker.sounding

    def change(self, rule: LabelRule) -> list[Detection]:
        """Go on under another rule; an open event ends only where the label was disabled."""
        self._rule = rule
        self._tracker.change(element_rule(replace(rule, enabled=True)))
        return [] if rule.enabled else self.close(Reason.STOPPED)

    def step(self, frame: int, score: float, raw: Raw | None = None) -> list[Detection]:
        """Take the score of one frame; returns what it made of the event, in order."""
        if not self._rule.enabled:
            return []
        said: list[Detection] = []
        for element in self._tracker.step(frame, score, raw):
            if element.phase is Phase.END:
                said += self._add(element)
        if self._series and self._too_late(frame):
            said += self._end(None)
        if self._open is not None and frame + 1 - self._open.onset >= self._rule.max_length:
            said += self._end(Reason.MAX_LENGTH)
        return said

    def close(self, reason: Reason | None) -> list[Detection]:
        """End what is open; at the end of a recording the last element counts."""
        said: list[Detection] = []
        for element in self._tracker.close(reason):
            if reason is None:
                said += self._add(element)
        return said + self._end(reason)

    def _add(self, element: Detection) -> list[Detection]:
        pattern, series, said = self._pattern, self._series, list[Detection]()
        shortest, longest = pattern.length
        least, most = pattern.gap
        fits = shortest <= element.offset - element.onset <= longest
        if series and not (fits and least <= element.onset - series[-1].offset <= most):
            said += self._end(None)
        if not fits or element.onset < self._ready:
            return said
        series.append(element)
        if self._open is not None:
            series.popleft()
            self._open.add(element)
            return [self._open.detection(Phase.UPDATE)] if self._rule.update_every else []
        while element.offset - series[0].onset > pattern.within and len(series) > 1:
            series.popleft()
        within = element.offset - series[0].onset <= pattern.within
        if len(series) >= pattern.times and within:
            self._open = Together.of(list(series))
            self._open.threshold = element.threshold
            said.append(self._open.detection(Phase.START))
        return said

    def _too_late(self, frame: int) -> bool:
        """Whether no element that is under way, or still to come, belongs to the series."""
        onset = self._tracker.onset
        if onset is None:  # that of a smoothed element may lie before its frames
            onset = frame + 1 - self._rule.smooth // 2
        return onset - self._series[-1].offset > min(self._pattern.gap[1], self._pattern.within)

    def _end(self, reason: Reason | None) -> list[Detection]:
        together, self._open = self._open, None
        self._series.clear()
        if together is None:
            return []
        self._ready = together.offset + self._rule.cooldown
        return [together.detection(Phase.END, reason)]

    @property
    def _pattern(self) -> Repetition:
        assert isinstance(self._rule.pattern, Repetition)  # noqa: S101 - see `watch`
        return self._rule.pattern
