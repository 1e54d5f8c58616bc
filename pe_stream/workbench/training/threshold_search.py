"""Thresholds to recommend: for each label the one that finds most events and is quiet.

Labels are independent of each other, and each is looked at many times: processes share them.
"""

from __future__ import annotations

import logging
import math
import multiprocessing
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, replace
from functools import partial
from typing import TypeVar

import numpy as np

from pe_stream.config import OFF_RATIO, LabelSettings
from pe_stream.workbench.evaluation.events import SWEEP, Tally, sweep, tally
from pe_stream.workbench.evaluation.scoring import Scored, Sounds, System
from pe_stream.workbench.training.group import end_with_parent

log = logging.getLogger(__name__)

_T = TypeVar("_T")

_NEAR_BEST = 0.97
"""The middle of all thresholds whose F1 is this part of the best is more stable than the best."""

FALSE_ALARMS_PER_HOUR = 0.5
"""False alarms of a label on background alone, at most, at its recommended threshold."""

_MARGINS = (4, 2, 1, 0)
"""Steps of the sweep, of 0.25 in the logit each, that a threshold is above false alarms: other
backgrounds will be somewhat louder."""

_WORTH = 0.7
"""The most of them that leaves this part of the F1 that is reached without."""

_LOWEST, _HIGHEST = 0.001, 0.999
"""Thresholds beyond are for scores that say nothing."""

SHARED_HOURS = 0.25
"""Of files: with more of them, the labels are worth processes of their own."""

SMOOTH_S = (0.0, 0.6, 1.0)
"""Means of scores that are tried (s)."""

OFF_RATIOS = (OFF_RATIO, 0.5, 0.35, 0.25)
"""Off thresholds that are tried, as parts of thresholds. A score rises over some frames: the lower
this is, the further back an event's onset is placed; but events that follow each other merge."""


@dataclass(frozen=True, slots=True)
class Choice:
    """A threshold, over means of so many seconds, and what it reaches.

    f1, recall: of events. false_alarms_per_hour: in the empty files.
    """

    threshold: float
    f1: float
    recall: float
    false_alarms_per_hour: float
    smooth_s: float = 0.0
    off_ratio: float = OFF_RATIO

    @property
    def recommended(self) -> dict[str, float]:
        """As in thresholds.json."""
        return {
            "threshold": round(self.threshold, 3),
            "off_threshold": round(self.off_ratio * self.threshold, 4),
            **({"smooth_s": self.smooth_s} if self.smooth_s else {}),
            "recall": round(self.recall, 2),
            "false_alarms_per_hour": round(self.false_alarms_per_hour, 2),
        }


def smoothest(
    sounds: Sounds, system: System, smooth_s: Sequence[float] = SMOOTH_S
) -> Choice | None:
    """The threshold to recommend for the first label of `system`.

    With it the least of smooth_s that is about the best.
    """
    best: Choice | None = None
    for seconds in smooth_s:
        choice = _swept(sounds, system, seconds, OFF_RATIO)
        if choice is None:
            return None
        if best is None or choice.f1 > best.f1 / _NEAR_BEST:
            best = choice
    return best


def with_off_threshold(
    sounds: Sounds, system: System, chosen: Mapping[str, Choice], workers: int = 1
) -> dict[str, Choice]:
    """The choices for labels at the part of their thresholds below which events are to end.

    One of OFF_RATIOS for all: of those with about the best mean F1, the one with which the median
    onset is nearest to the true one. A label's own few events could not tell.
    """
    ended = _of_each_label(partial(_ended, chosen=chosen), sounds, system, workers)
    tried: dict[float, tuple[float, float, dict[str, Choice]]] = {}
    for number, ratio in enumerate(OFF_RATIOS):
        choices = {name: ends[number][0] for name, ends in ended.items() if ends}
        errors_s = [error for ends in ended.values() if ends for error in ends[number][1]]
        f1 = float(np.mean([choice.f1 for choice in choices.values()])) if choices else 0.0
        error_s = float(np.median(np.abs(errors_s))) if errors_s else math.inf
        log.info("off at %g of thresholds: F1 %.3f, onset error %.3f s", ratio, f1, error_s)
        tried[ratio] = f1, error_s, choices
    best = max(f1 for f1, _, _ in tried.values())
    good = [some for some in tried.values() if some[0] >= _NEAR_BEST * best]
    return min(good, key=lambda some: some[1])[2]


def _ended(
    sounds: Sounds, system: System, chosen: Mapping[str, Choice]
) -> list[tuple[Choice, list[float]]]:
    """The first label's choice at each of OFF_RATIOS, and its errors of onsets (s).

    Empty where nothing was chosen for it.
    """
    before = chosen.get(system.rules[0].name)
    if before is None:
        return []
    found = []
    for ratio in OFF_RATIOS:
        choice = _swept(sounds, system, before.smooth_s, ratio) or before
        at = _ruled(system, before.smooth_s, ratio)
        found.append((choice, tally(sounds, at, 0, choice.threshold).onset_errors_s))
    return found


def _swept(sounds: Sounds, system: System, smooth_s: float, off_ratio: float) -> Choice | None:
    ruled = _ruled(system, smooth_s, off_ratio)
    choice = best_threshold(_points(sounds, ruled), sounds.empty_hours)
    return choice and replace(choice, smooth_s=smooth_s, off_ratio=off_ratio)


def _points(sounds: Sounds, system: System) -> list[tuple[float, Tally]]:
    """The first label's tallies by threshold, lowest first, from where all are louder than allowed.

    The lowest thresholds take most of the time, for nearly every frame is in an event there.
    """
    most = FALSE_ALARMS_PER_HOUR * sounds.empty_hours
    points: list[tuple[float, Tally]] = []
    loud = 0
    for threshold, counts in sweep(sounds, system, 0, reversed(SWEEP)):
        points.append((threshold, counts))
        loud = loud + 1 if counts.false_empty > most else 0
        if loud > max(_MARGINS):
            break
    return points[::-1]


def _ruled(system: System, smooth_s: float, off_ratio: float) -> System:
    """With the first label's scores smoothed, and events that end at so much of its threshold."""
    rule, *others = system.rules
    smooth = LabelSettings(smooth_s=smooth_s).rule("").smooth
    rule = replace(rule, smooth=smooth, off_threshold=off_ratio * rule.threshold)
    return replace(system, rules=(rule, *others))


def choices(
    sounds: Sounds, system: System, workers: int, smooth_s: Sequence[float] = SMOOTH_S
) -> dict[str, Choice]:
    """Recommendations for the labels that sound in the files, without off thresholds."""
    chosen = {}
    tried = _of_each_label(partial(smoothest, smooth_s=smooth_s), sounds, system, workers)
    for name, choice in tried.items():
        if choice is None:
            log.warning("%s never sounds in these files: no threshold to recommend", name)
            continue
        chosen[name] = choice
        if not choice.f1:
            log.warning("%s is never found: background scores as high", name)
    return chosen


def _of_each_label(
    function: Callable[[Sounds, System], _T], sounds: Sounds, system: System, workers: int
) -> dict[str, _T]:
    """What `function` makes of each label alone, by name; in so many processes if it is worth it.

    `function` and what it returns can be pickled. It is given a system with the one label.
    """
    names = [rule.name for rule in system.rules]
    alone = [_alone(system, column) for column in range(len(names))]
    if workers == 1 or len(names) < 2 or sounds.hours < SHARED_HOURS:
        return {name: function(sounds, one) for name, one in zip(names, alone, strict=True)}
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(min(workers, len(names)), context, end_with_parent) as pool:
        made = pool.map(function, [sounds] * len(names), alone)
        return dict(zip(names, made, strict=True))


def _alone(system: System, column: int) -> System:
    """The same system with one of its labels."""
    one = slice(column, column + 1)
    scored = [Scored(each.frames[:, one], each.steps[:, one]) for each in system.scored]
    return replace(system, rules=system.rules[one], scored=scored)


def best_threshold(points: Sequence[tuple[float, Tally]], empty_hours: float) -> Choice | None:
    """Of a label's tallies by threshold, the threshold to recommend; None where it never sounds.

    Only thresholds count that raise at most FALSE_ALARMS_PER_HOUR in the `empty_hours` of empty
    files, if it does not cost too much also some steps below (_MARGINS, _WORTH). Of these it is the
    middle of those of about the best F1 of events. Where none of them finds anything, it is the
    lowest of them, or, where there are none, the highest of all: a label that cannot be told from
    background is to be quiet.
    """
    if not any(counts.true for _, counts in points):
        return None
    most = FALSE_ALARMS_PER_HOUR * empty_hours

    def quiet(margin: int) -> list[tuple[float, Tally]]:
        return [
            (at, counts)
            for i, (at, counts) in enumerate(points)
            if _LOWEST <= at <= _HIGHEST and points[max(0, i - margin)][1].false_empty <= most
        ]

    bare = quiet(0)
    reached = _best(bare)
    if not reached:
        usable = [point for point in points if _LOWEST <= point[0] <= _HIGHEST]
        return _choice(bare[0] if bare else usable[-1], empty_hours)
    margins = (quiet(margin) for margin in _MARGINS)
    chosen = next(some for some in margins if _best(some) >= _WORTH * reached)
    good = [point for point in chosen if _f1(point[1]) >= _NEAR_BEST * _best(chosen)]
    return _choice(good[len(good) // 2], empty_hours)


def _best(points: Sequence[tuple[float, Tally]]) -> float:
    return max((_f1(counts) for _, counts in points), default=0.0)


def _choice(point: tuple[float, Tally], empty_hours: float) -> Choice:
    threshold, counts = point
    false_alarms = counts.false_empty / empty_hours if empty_hours else 0.0
    return Choice(threshold, _f1(counts), counts.recall or 0.0, false_alarms)


def _f1(counts: Tally) -> float:
    wrong = counts.false + counts.true - counts.found
    return 2 * counts.found / max(1, 2 * counts.found + wrong)
