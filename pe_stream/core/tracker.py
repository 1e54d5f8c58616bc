"""Scores of one label, frame by frame, to events: hysteresis, bridging, minimum, maximum.

A *run* begins with the first frame at or above `off_threshold`. It becomes a candidate with the
first frame at or above `threshold`, and an event once it is `min_on` frames long:

    state       score                what happens
    ----------  -------------------  -------------------------------------------------------
    no run      >= off               a run begins here: this frame is the onset
    run         < off                dropped
    run         >= on                becomes a candidate
    candidate   < off for min_off    dropped; a shorter gap is bridged
    candidate   min_on frames long   START
    event       >= off               UPDATE every `update_every` frames
    event       < off for min_off    END; the offset is the end of the last frame above
    any         max_length reached   an event ENDs with reason max_length, others are dropped;
                                     what still sounds begins a new run with the next frame

Where scores are smoothed, all of this goes by their means, but for *when*: a run begins with the
first, and lasts to the last, of the scores themselves at or above `off_threshold` that its means
are over (see `smoothing`). A mean of scores that belong to the event before begins no run.
"""

from __future__ import annotations

from dataclasses import dataclass

from pe_stream.core.smoothing import Raw
from pe_stream.core.types import LabelRule, Phase, Reason


@dataclass(frozen=True, slots=True)
class Detection:
    """A phase of an event in frames; `offset` is one past the last frame that sounded so far.

    `mean` is over the frames from onset to offset, bridged gaps included; of smoothed scores over
    those from the first to the last whose mean was at or above `off_threshold`. decided: of a
    START, one past the frame that decided it.
    """

    phase: Phase
    onset: int
    offset: int
    peak: float
    peak_frame: int
    mean: float
    threshold: float
    reason: Reason | None = None
    decided: int = 0


@dataclass(slots=True)
class _OpenRun:
    """Frames since the score rose to `off_threshold`; `offset` is one past the last above it.

    begun: the frame with which it did; the onset, where scores are not smoothed. frames: from it
    to the last above.
    """

    begun: int
    onset: int
    offset: int
    threshold: float
    frames: int = 0
    peak: float = -1.0
    peak_frame: int = 0
    total: float = 0.0
    gap_total: float = 0.0
    candidate: bool = False
    said: int | None = None
    """Frame of the last START or UPDATE; None before START."""

    def rise(self, frame: int, score: float, offset: int) -> None:
        self.offset = max(self.offset, offset)
        self.frames = frame + 1 - self.begun
        self.total += self.gap_total + score
        self.gap_total = 0.0
        if score > self.peak:
            self.peak, self.peak_frame = score, frame

    def detection(self, phase: Phase, reason: Reason | None = None) -> Detection:
        mean = self.total / self.frames
        return Detection(
            phase,
            self.onset,
            self.offset,
            self.peak,
            min(max(self.peak_frame, self.onset), self.offset - 1),
            mean,
            self.threshold,
            reason,
        )


class Tracker:
    """Follows one label. Frames must be given in order; scores are in 0..1."""

    def __init__(self, rule: LabelRule) -> None:
        """Start with nothing heard."""
        self._rule = rule
        self._run: _OpenRun | None = None
        self._ready = 0

    @property
    def rule(self) -> LabelRule:
        """The rule in force."""
        return self._rule

    @property
    def onset(self) -> int | None:
        """Onset of the run under way, be it an event yet or not; None where there is none."""
        return self._run.onset if self._run else None

    @property
    def sounding(self) -> bool:
        """Whether the run under way has reached `threshold`."""
        return self._run is not None and self._run.candidate

    def change(self, rule: LabelRule) -> list[Detection]:
        """Go on under another rule; an open event ends only where the label was disabled."""
        self._rule = rule
        return [] if rule.enabled else self.close(Reason.STOPPED)

    def step(self, frame: int, score: float, raw: Raw | None = None) -> list[Detection]:
        """Take the score of one frame; returns what it made of the event, in order.

        raw: where `score` is a mean, what it is one of.
        """
        rule, run = self._rule, self._run
        rises = score >= rule.off_threshold
        onset, offset = frame, frame + 1
        if raw is not None and rises:
            onset, offset = raw.span(frame, rule.off_threshold)
        if run is None:
            if not rises or not rule.enabled or min(frame, offset - 1) < self._ready:
                return []
            onset = max(onset, self._ready)
            run = self._run = _OpenRun(frame, onset, onset, rule.threshold)
        said = self._rise(run, frame, score, offset) if rises else self._fall(run, frame, score)
        if self._run is not None and frame + 1 - run.onset >= rule.max_length:
            run.offset = min(run.offset, run.onset + rule.max_length)
            said += self.close(Reason.MAX_LENGTH)
        return said

    def close(self, reason: Reason | None) -> list[Detection]:
        """End what is open, at the last frame above `off_threshold`."""
        run, self._run = self._run, None
        if run is None or run.said is None:
            return []
        self._ready = run.offset + self._rule.cooldown
        return [run.detection(Phase.END, reason)]

    def _rise(self, run: _OpenRun, frame: int, score: float, offset: int) -> list[Detection]:
        rule = self._rule
        run.rise(frame, score, offset)
        if run.said is not None:
            if rule.update_every and frame - run.said >= rule.update_every:
                run.said = frame
                return [run.detection(Phase.UPDATE)]
            return []
        run.candidate = run.candidate or score >= rule.threshold
        if run.candidate and run.offset - run.onset >= rule.min_on:
            run.said, run.threshold = frame, rule.threshold
            return [run.detection(Phase.START)]
        return []

    def _fall(self, run: _OpenRun, frame: int, score: float) -> list[Detection]:
        gap = frame + 1 - run.offset
        if run.candidate and gap < max(1, self._rule.min_off):
            run.gap_total += score
            return []
        return self.close(None)
