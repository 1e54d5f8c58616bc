"""Cycles of a rhythm to events: so many of them, a period apart, in the same band.

A faint cycle counts half: noise may look like one, but hardly again and again, a period apart.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass
from math import ceil

from pe_stream.core.patterns.composite_event import Together
from pe_stream.core.patterns.rhythm import ROWS, Cycle, Levels, RhythmFinder
from pe_stream.core.smoothing import Raw
from pe_stream.core.tracker import Detection
from pe_stream.core.types import FRAME_S, LabelRule, Phase, Reason, Rhythm

MISSED = 2
"""An event goes on over this many periods: one cycle may be drowned by another sound."""


@dataclass(frozen=True, slots=True)
class _Link:
    """A cycle in frames, and those that follow one another up to it.

    halves: how many they are, times 2; first: the onset of their first. bands: of the cycle.
    """

    onset: int
    offset: int
    halves: int
    first: int
    bands: int


class RhythmTracker:
    """Cycles of a rhythm, a period apart; `listen` must be given the sound of the frames first."""

    def __init__(self, rule: LabelRule) -> None:
        """Start with nothing heard."""
        self._rule = rule
        self._finder: RhythmFinder | None = None
        self._cycles: deque[tuple[int, Cycle]] = deque()
        self._links: deque[_Link] = deque()
        self._open: Together | None = None
        self._last = _Link(0, 0, 0, 0, 0)
        self._ready = self._begin = self._now = 0
        rhythm = self._rhythm
        self._longest = rhythm.period_s * (1 + rhythm.tolerance) / FRAME_S
        self._shortest = rhythm.period_s * (1 - rhythm.tolerance) / FRAME_S
        span = (2 * rhythm.cycles + MISSED) * self._longest  # all may be faint
        self._length = ceil(span)
        self._scores: deque[float] = deque(maxlen=self._length)

    @property
    def rule(self) -> LabelRule:
        """The rule in force."""
        return self._rule

    @property
    def onset(self) -> int | None:
        """Onset of the open event, else of the earliest cycle that may become part of one."""
        if self._finder is None:
            return None
        reach = -(-self._finder.reach // ROWS)
        onsets = [max(self._begin, self._now - reach), *(link.first for link in self._links)]
        if self._open is not None:
            onsets.append(self._open.onset)
        return min(onsets)

    @property
    def sounding(self) -> bool:
        """Whether the rhythm goes on."""
        return self._open is not None

    def change(self, rule: LabelRule) -> list[Detection]:
        """Go on under another rule; an open event ends only where the label was disabled."""
        self._rule = rule
        return [] if rule.enabled else self.close(Reason.STOPPED)

    def listen(self, frame: int, rows: Levels) -> None:
        """Take the levels of frames from `frame` on, ROWS a frame, before their scores."""
        if not self._rule.enabled:
            return
        if self._finder is None:
            self._finder = RhythmFinder(self._rhythm, frame * ROWS)
            self._begin = self._now = frame
        self._cycles += self._finder.hear(rows)

    def step(self, frame: int, score: float, raw: Raw | None = None) -> list[Detection]:  # noqa: ARG002 - see `Watcher`
        """Take the score of one frame; returns what it made of the event, in order."""
        if self._finder is None or not self._rule.enabled:
            return []
        self._now = frame + 1
        self._scores.append(score)
        said: list[Detection] = []
        while self._cycles and self._cycles[0][0] // ROWS <= frame:
            said += self._add(self._cycles.popleft()[1])
        reach = self._finder.reach / ROWS
        while self._links and frame - self._links[0].onset > MISSED * self._longest + reach:
            self._links.popleft()
        if self._open is not None:
            if frame + 1 - self._open.onset >= self._rule.max_length:
                said += self._end(Reason.MAX_LENGTH)
            elif frame - self._last.onset > MISSED * self._longest + reach:
                said += self._end(None)
        return said

    def close(self, reason: Reason | None) -> list[Detection]:
        """End what is open, and forget what was heard: time does not go on over a gap."""
        said = self._end(reason)
        self._finder = None
        self._cycles.clear()
        self._scores.clear()
        return said

    def _add(self, cycle: Cycle) -> list[Detection]:
        onset, offset = max(self._begin, cycle.onset // ROWS), -(-cycle.offset // ROWS)
        if onset < self._ready:
            return []
        before = [link for link in self._links if self._follows(link, onset, cycle.bands, 1)]
        longest = max(before, key=lambda link: link.halves, default=None)
        halves = 2 if cycle.clear else 1
        if longest is None:
            link = _Link(onset, offset, halves, onset, cycle.bands)
        else:
            first = longest.first
            if offset - first > self._length:  # its scores are no longer kept
                first += onset - longest.onset
            link = _Link(onset, offset, longest.halves + halves, first, cycle.bands)
        self._links.append(link)
        if self._open is not None:
            last, bands = self._last, cycle.bands
            if not any(self._follows(last, onset, bands, n) for n in (1, MISSED)):
                return []
            self._open.add(self._heard(self._open.offset, offset))
            self._last = link
            return [self._open.detection(Phase.UPDATE)] if self._rule.update_every else []
        if link.halves < 2 * self._rhythm.cycles:
            return []
        heard = self._heard(link.first, offset)
        if heard.peak < self._rule.threshold:
            return []
        self._open, self._last = Together.of([heard]), link
        return [self._open.detection(Phase.START)]

    def _follows(self, link: _Link, onset: int, bands: int, periods: int) -> bool:
        """Whether a cycle of that onset comes so many periods after another, in one of its bands.

        Periods are right to a frame; a tone at the edge of a band may be in the one beside it.
        """
        near = link.bands | link.bands << 1 | link.bands >> 1
        distance = onset - link.onset
        on_time = periods * self._shortest - 1 <= distance <= periods * self._longest + 1
        return on_time and near & bands != 0

    def _heard(self, onset: int, offset: int) -> Detection:
        """The label's scores of these frames, as far back as they are kept."""
        begin = max(onset, self._now - len(self._scores))
        scores = [self._scores[i - self._now] for i in range(begin, max(offset, begin + 1))]
        peak = max(scores)
        frame = begin + scores.index(peak)
        mean = sum(scores) / len(scores)
        return Detection(Phase.START, onset, offset, peak, frame, mean, self._rule.threshold)

    def _end(self, reason: Reason | None) -> list[Detection]:
        together, self._open = self._open, None
        self._links.clear()
        if together is None:
            return []
        self._ready = together.offset + self._rule.cooldown
        return [together.detection(Phase.END, reason)]

    @property
    def _rhythm(self) -> Rhythm:
        assert isinstance(self._rule.pattern, Rhythm)  # noqa: S101 - see `watch`
        return self._rule.pattern
