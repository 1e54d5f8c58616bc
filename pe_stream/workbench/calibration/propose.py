"""A label's scores to the threshold for a wanted rate of false alarms. Pure.

What counts is an event under the label's own rule, so every candidate threshold is tried on the
scores with the daemon's tracker, its off threshold in proportion. Where the wanted rate is that of
few events in all the sound there is, it is read off a fitted tail (see `tail`). False alarms come
in bursts, which makes every figure less sure than as many single ones would: see `rates.share`.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from math import ceil, exp, log

import numpy as np
from numpy.typing import NDArray

from pe_stream.core.replay import Replayed, replay
from pe_stream.core.smoothing import SmoothRun, smoothed
from pe_stream.core.types import FRAME_NS, FRAME_S, LabelRule, ScoreRun
from pe_stream.workbench.calibration.rates import clusters, interval, share
from pe_stream.workbench.calibration.tail import FEWEST, MOST, Tail

LOWEST, HIGHEST = 0.01, 0.999
"""Thresholds beyond are for scores that say nothing."""

ENOUGH = 10
"""False alarms wanted in the available audio from which counting alone is sure enough."""

FURTHEST = 0.1
"""Of a wanted false alarm, at least this much must fall into the sound there is: a tail is not
followed further beyond the data than ten times."""

LEAST_S = 300.0
"""Least audio, in any case: less is no ordinary stretch of time."""

FEWEST_BURSTS = 5
"""A fit needs so many independent peaks; of fewer it lies far above them all."""

BURST_S = 10.0
"""Events of one burst are no further apart."""

STILL_S = 30.0
"""Where a score stays the same to the bit for so long, hop by hop, there is no sound: even a quiet
room's moves."""

_STEP = 0.1
"""Between candidate thresholds, logits."""

_REFINED = 3
"""Halvings of the step where the threshold lies."""

_DAY_S = 86_400.0


@dataclass(frozen=True, slots=True)
class Spread:
    """How the scores, smoothed as for events, are distributed: half are below `middle`."""

    middle: float
    high: float
    """99 % are below."""
    highest: float


@dataclass(frozen=True, slots=True)
class Proposal:
    """A threshold, and how often (a day) it will raise a false alarm: between `low` and `high`.

    hours: of sound that this is from. extrapolated: whether by a tail. now: how often the present
    threshold did. reached: whether the wanted rate is met at all. share: what part of them is
    independent of the others, as they come in bursts.
    """

    threshold: float
    off_threshold: float
    rate: float
    low: float
    high: float
    hours: float
    extrapolated: bool
    reached: bool
    now: float
    share: float
    spread: Spread
    curve: tuple[tuple[float, float], ...]
    """Threshold and events a day, as counted, from the highest."""


class TooLittleError(Exception):
    """There are scores, and too few; the message says how many hours would do."""


def propose(streams: Sequence[Sequence[ScoreRun]], rule: LabelRule, a_day: float) -> Proposal:
    """The threshold at which `rule` makes so many events a day in what holds no true one.

    streams: the scores of each source that is listened to at the same time: the rate is that of
        all together.

    Raises TooLittleError.
    """
    rule = replace(rule, enabled=True)
    if rule.smooth > 1:  # once, and not for every threshold
        streams = [[SmoothRun.of(run, rule.smooth) for run in runs] for runs in streams]
    frames = sum(len(run.scores) for runs in streams for run in runs)
    days = frames * FRAME_S / _DAY_S / max(1, len(streams))
    wanted = a_day * days
    if wanted < FURTHEST or days * _DAY_S < LEAST_S:
        raise TooLittleError(_too_little(days, a_day))
    curve = _EventCurve(streams, rule)
    curve.descend(max(wanted, MOST))
    # In as much sound again, the nth highest peak is reached n times on average: the threshold is
    # just above it, and counts one less.
    at = curve.counted(max(round(wanted, 6) - 1, 0))
    tail = None
    if wanted < ENOUGH and len(curve.peaks) >= FEWEST:
        level = np.sort(curve.peaks)[-MOST:][0]
        tail = Tail.fit(curve.peaks, days, curve.share(_score(level)))
        if tail.independent >= FEWEST_BURSTS and tail.rate(tail.level) > a_day:
            at = tail.reached(a_day)
            if wanted >= 2:  # at what the highest peak was, one is to be expected already
                at = min(at, max(curve.counted(0), tail.level))
        else:
            tail = None
    threshold = rounded_up(min(max(_score(at), LOWEST), HIGHEST))
    if threshold == HIGHEST:
        tail = None  # peaks beyond were not told apart
    if tail is not None:
        logit = max(_logit(threshold), tail.level)
        rate = tail.rate(logit)
        low, high = tail.interval(logit)
        part = tail.independent / tail.count
    else:
        count = curve.count(threshold)
        rate = count / days
        part = curve.share(threshold if count else _score(curve.levels[-1]))
        independent = ceil(count * part)
        each = count / independent if count else 1 / part
        low, high = (end * each for end in interval(independent, days))
    return Proposal(
        threshold=threshold,
        off_threshold=rounded_up(threshold * rule.off_threshold / rule.threshold),
        rate=rate,
        low=low,
        high=high,
        hours=days * 24,
        extrapolated=tail is not None,
        reached=rate <= a_day * 1.1 or threshold < HIGHEST,
        now=curve.count(rule.threshold) / days,
        share=part,
        spread=_spread(streams, rule.smooth),
        curve=tuple(
            (_score(level), count / days)
            for level, count in zip(curve.levels, curve.counts, strict=True)
        ),
    )


def rounded_up(score: float) -> float:
    """To three digits after the point, four near 1, so that no more is let through than meant."""
    digits = 10_000 if score > 0.9 else 1000
    return min(ceil(score * digits - 1e-9) / digits, HIGHEST)


def moving(runs: Iterable[ScoreRun], hop: int = 1) -> list[ScoreRun]:
    """Without the stretches in which nothing was heard: a muted microphone, digital silence.

    hop: frames between scorings; of silence a score depends on where in its window it is, and is
    the same again a hop later. A score of exactly 0 is that of a label which another sound
    suppressed, and may stay.
    """
    least = round(STILL_S / FRAME_S)
    left: list[ScoreRun] = []
    for run in runs:
        same = run.scores[hop:] == run.scores[:-hop]
        edges = np.flatnonzero(np.diff(same.astype(np.int8), prepend=0, append=0))
        still = [
            (begin, end + hop)
            for begin, end in edges.reshape(-1, 2).tolist()
            if end + hop - begin >= least and run.scores[begin : begin + hop].max() > 0
        ]
        left += _cut(run, still)
    return left


def without(runs: Iterable[ScoreRun], spans: Iterable[tuple[int, int]]) -> list[ScoreRun]:
    """Without what lies in these spans (UTC, ns), in any order: true events are no false alarms."""
    left = list(runs)
    for begin_ns, end_ns in spans:
        pieces: list[ScoreRun] = []
        for run in left:
            first = max(0, (begin_ns - run.start_ns) // FRAME_NS)
            last = min(len(run.scores), -((run.start_ns - end_ns) // FRAME_NS))
            pieces += _cut(run, [(first, last)]) if first < last else [run]
        left = pieces
    return left


def _cut(run: ScoreRun, spans: Iterable[tuple[int, int]]) -> list[ScoreRun]:
    """The rest of a run without these frames, in order."""
    pieces, done = [], 0
    for begin, end in [*spans, (len(run.scores), len(run.scores))]:
        if begin > done:
            pieces.append(ScoreRun(run.start_ns + done * FRAME_NS, run.scores[done:begin]))
        done = end
    return pieces


class _EventCurve:
    """How many events there are at a threshold; never more at a higher one.

    levels: thresholds tried, logits, falling; counts: events at each.
    """

    def __init__(self, streams: Sequence[Sequence[ScoreRun]], rule: LabelRule) -> None:
        self._streams = streams
        self._rule = rule
        self.levels: list[float] = []
        self.counts: list[int] = []

    def descend(self, until: float) -> None:
        """Try thresholds from the highest on until there are more events than `until`."""
        tops = [float(run.scores.max()) for runs in self._streams for run in runs]
        at = min(_logit(max(tops)), _logit(HIGHEST)) + _STEP
        most = 0
        while at > _logit(LOWEST):
            most = max(most, self.count(_score(at)))
            self.levels.append(at)
            self.counts.append(most)
            if most > until:
                return
            at -= _STEP
        self.levels.append(_logit(LOWEST))
        self.counts.append(max(most, self.count(LOWEST)))

    def count(self, threshold: float) -> int:
        """Events at that threshold."""
        return sum(map(len, self._events(threshold)))

    def share(self, threshold: float) -> float:
        """Part of them that is independent of the others."""
        onsets_s = [event.onset_ns / 1e9 for events in self._events(threshold) for event in events]
        if len(self._streams) > 1:  # what several sources hear at once is one burst
            onsets_s.sort()
        return share(clusters(onsets_s, BURST_S))

    def _events(self, threshold: float) -> Iterator[list[Replayed]]:
        ratio = self._rule.off_threshold / self._rule.threshold
        rule = replace(self._rule, threshold=threshold, off_threshold=ratio * threshold)
        for runs in self._streams:
            yield replay(runs, rule)

    def counted(self, wanted: float) -> float:
        """The lowest level with at most so many events; the highest tried where there is none."""
        fine = [i for i, count in enumerate(self.counts) if count <= wanted]
        if not fine:
            return _logit(HIGHEST)
        high = self.levels[fine[-1]]
        if fine[-1] + 1 == len(self.levels):
            return high
        low = self.levels[fine[-1] + 1]
        for _ in range(_REFINED):
            middle = (low + high) / 2
            if self.count(_score(middle)) <= wanted:
                high = middle
            else:
                low = middle
        return high

    @property
    def peaks(self) -> NDArray[np.float64]:
        """The level up to which each is an event, (n,): evenly spread where between two tried."""
        found: list[NDArray[np.float64]] = []
        before, above = 0, self.levels[0] if self.levels else 0.0
        for level, count in zip(self.levels, self.counts, strict=True):
            new = count - before
            found.append(level + (above - level) * (np.arange(new) + 0.5) / max(new, 1))
            before, above = count, level
        return np.concatenate(found) if found else np.empty(0)


def _spread(streams: Sequence[Sequence[ScoreRun]], smooth: int) -> Spread:
    scores = np.concatenate([smoothed(run.scores, smooth) for runs in streams for run in runs])
    middle, high = np.quantile(scores, [0.5, 0.99])
    return Spread(float(middle), float(high), float(scores.max()))


def _too_little(days: float, a_day: float) -> str:
    least, sure = (max(days_, LEAST_S / _DAY_S) for days_ in (FURTHEST / a_day, ENOUGH / a_day))
    return (
        f"{_time(days)} of sound say too little about {a_day:g} false alarms a day: at least "
        f"{_time(least)} are needed, and {_time(sure)} make it sure"
    )


def _time(days: float) -> str:
    """As in "5.4 s", "5 min", "2.4 h"."""
    seconds = days * _DAY_S
    if seconds < 60:
        return f"{seconds:.2g} s"
    return f"{seconds / 60:.2g} min" if seconds < 3600 else f"{seconds / 3600:.3g} h"


def _score(logit: float) -> float:
    return 1 / (1 + exp(-logit))


def _logit(score: float) -> float:
    kept = min(max(score, 1e-7), 1 - 1e-7)
    return log(kept) - log(1 - kept)
