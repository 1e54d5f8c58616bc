"""Whether thresholds that were calibrated in one hour are right in another: pure, from scores.

Every hour takes its turn: from it alone, and from all the others together. What counts is what the
tracker makes of the scores; a label's own sounds, and those too near to it, are left out.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import permutations
from typing import Any

import numpy as np

from pe_stream.config.labels import DEFAULT_THRESHOLD
from pe_stream.core.replay import replay
from pe_stream.core.types import FRAME_S, LabelRule, ScoreRun
from pe_stream.errors import UnavailableError
from pe_stream.workbench.calibration.propose import Proposal, TooLittleError, propose
from pe_stream.workbench.calibration.rates import interval

DEFAULT = DEFAULT_THRESHOLD
"""Thresholds that calibrated ones are compared with, for every label."""

RATES = (1.0, 3.0, 10.0)
"""False alarms an hour that are wanted; recall is shown at the first."""

_DRAWS = 4000
_NORMAL = 1.96
_HALVINGS = 12

Span = tuple[int, int]
"""Start and end (ns)."""


@dataclass(frozen=True, slots=True)
class LabelHour:
    """A label in one hour.

    background: its scores where it does not sound. scenes: those of every scene in which it does,
    and when, within the scene.
    """

    background: tuple[ScoreRun, ...]
    scenes: tuple[tuple[ScoreRun, tuple[Span, ...]], ...]

    @property
    def hours(self) -> float:
        """Length of the background."""
        return sum(len(run.scores) for run in self.background) * FRAME_S / 3600

    def alarms(self, rule: LabelRule) -> int:
        """Events in the background."""
        return len(replay(self.background, rule))

    def found(self, rule: LabelRule) -> int:
        """True events that an event overlaps."""
        return sum(
            any(event.onset_ns < end and begin < event.offset_ns for event in events)
            for run, spans in self.scenes
            for events in [replay([run], rule)]
            for begin, end in spans
        )

    @property
    def true(self) -> int:
        """True events."""
        return sum(len(spans) for _, spans in self.scenes)


@dataclass(frozen=True, slots=True)
class Trial:
    """A label's threshold from some hours, in another hour: `alarms` there, in `hours`."""

    label: str
    proposal: Proposal
    alarms: int
    hours: float
    found: int
    true: int


Track = Sequence[LabelHour]
"""A label in every hour."""


def judge(
    rules: Sequence[LabelRule], tracks: Sequence[Track], done: Callable[[], object] = lambda: None
) -> dict[str, Any]:
    """All figures, for JSON; at least two hours. done: called after each label.

    Raises UnavailableError naming a label of which too little background is left.
    """
    trials: dict[tuple[str, float], list[Trial]] = {}
    for rule, track in zip(rules, tracks, strict=True):
        for wanted in RATES:
            alone = [_proposed(rule, each.background, wanted) for each in track]
            one = trials.setdefault(("one hour", wanted), [])
            one += [_trial(rule, alone[a], track[b]) for a, b in permutations(range(len(track)), 2)]
            if len(track) > 2:
                rest = trials.setdefault((f"{len(track) - 1} hours", wanted), [])
                rest += list(_from_the_others(rule, track, wanted))
        done()
    return {
        "rates": [
            {"calibrated_on": hours, "wanted_per_hour": wanted} | _hits(found, wanted)
            for (hours, wanted), found in trials.items()
        ],
        "recall": _recall(rules, tracks, trials[("one hour", RATES[0])]),
    }


def _proposed(rule: LabelRule, background: Sequence[ScoreRun], wanted: float) -> Proposal:
    try:
        return propose([background], rule, 24 * wanted)
    except TooLittleError as error:
        raise UnavailableError(f"{rule.name}: {error}") from error


def _trial(rule: LabelRule, proposal: Proposal, other: LabelHour) -> Trial:
    new = at(rule, proposal.threshold)
    return Trial(rule.name, proposal, other.alarms(new), other.hours, other.found(new), other.true)


def _from_the_others(rule: LabelRule, track: Track, wanted: float) -> Iterator[Trial]:
    for n, other in enumerate(track):
        rest = [run for m, each in enumerate(track) if m != n for run in each.background]
        yield _trial(rule, _proposed(rule, rest, wanted), other)


def at(rule: LabelRule, threshold: float) -> LabelRule:
    """The rule at another threshold, and the off threshold in proportion."""
    ratio = rule.off_threshold / rule.threshold
    return replace(rule, threshold=threshold, off_threshold=ratio * threshold)


def _hits(trials: Sequence[Trial], wanted: float) -> dict[str, Any]:
    """How often the other hour is what it should be, three readings of it."""
    held = np.array([
        (
            low <= wanted <= high,
            least <= each.alarms <= most,
            each.proposal.low <= 24 * each.alarms / each.hours <= each.proposal.high,
        )
        for each in trials
        for low, high in [interval(each.alarms, each.hours)]
        for least, most in [ahead(each.proposal, each.hours)]
    ])  # fmt: skip
    wanted_in, predicted, printed = held.mean(axis=0).tolist()
    return {
        "trials": len(trials),
        "mean_per_hour": float(np.mean([each.alarms / each.hours for each in trials])),
        "count_as_predicted": predicted,
        "wanted_in_interval_of_count": wanted_in,
        "count_in_interval_of_rate": printed,
    }


def ahead(found: Proposal, hours: float) -> tuple[float, float]:
    """Between which counts another `hours` lie in 95 of 100 cases, by simulation.

    The interval of the rate is how sure the rate is; a count in another hour varies besides. The
    rate is taken as lognormal, with what was found as mean and upper end.
    """
    rng = np.random.default_rng(0)
    mean = found.rate or found.high / 4  # where there was none
    upper = float(np.log(max(found.high / mean, 1.01)))
    spread = _NORMAL - np.sqrt(max(_NORMAL**2 - 2 * upper, 0.0))
    rates = mean / 24 * np.exp(rng.normal(-(spread**2) / 2, spread, _DRAWS))
    bursts = rng.poisson(rates * hours * found.share)
    low, high = np.quantile(bursts / found.share, [0.025, 0.975])
    return float(np.floor(low)), float(np.ceil(high))


def _recall(
    rules: Sequence[LabelRule], tracks: Sequence[Track], trials: Sequence[Trial]
) -> dict[str, Any]:
    """Recall and false alarms an hour by label: calibrated, DEFAULT and another for all."""
    usual = [DEFAULT] * len(rules)
    calibrated = _of_trials(rules, trials)
    alike = one_for_all(rules, tracks, sum(rate for _, rate in calibrated))
    rows = {
        rule.name: {
            "events": sum(each.true for each in track),
            "thresholds": [t.proposal.threshold for t in trials if t.label == rule.name],
        }
        for rule, track in zip(rules, tracks, strict=True)
    }
    systems = {
        "calibrated": calibrated,
        "default": _of_all(rules, tracks, usual),
        "one_for_all": _of_all(rules, tracks, [alike] * len(rules)),
    }
    for name, figures in systems.items():
        for row, (recall, rate) in zip(rows.values(), figures, strict=True):
            row[name] = {"recall": recall, "false_alarms_per_hour": rate}
    return {
        "wanted_per_hour": RATES[0],
        "default": DEFAULT,
        "one_for_all": alike,
        "labels": rows,
        "mean": {name: _mean(figures) for name, figures in systems.items()},
    }


def one_for_all(rules: Sequence[LabelRule], tracks: Sequence[Track], rate: float) -> float:
    """The one threshold at which all labels together raise so many false alarms an hour, or fewer.

    It is read off the very hours it is then judged on, which flatters it.
    """
    low, high = 0.01, 0.999
    for _ in range(_HALVINGS):
        middle = (low + high) / 2
        total = sum(each for _, each in _of_all(rules, tracks, [middle] * len(rules)))
        low, high = (middle, high) if total > rate else (low, middle)
    return high


Figures = list[tuple[float | None, float]]
"""Recall of each label, None where it never sounds, and false alarms an hour."""


def _of_trials(rules: Sequence[LabelRule], trials: Sequence[Trial]) -> Figures:
    figures: Figures = []
    for rule in rules:
        own = [trial for trial in trials if trial.label == rule.name]
        true, hours = sum(t.true for t in own), sum(t.hours for t in own)
        recall = sum(t.found for t in own) / true if true else None
        figures.append((recall, sum(t.alarms for t in own) / hours))
    return figures


def _of_all(
    rules: Sequence[LabelRule], tracks: Sequence[Track], thresholds: Sequence[float]
) -> Figures:
    figures: Figures = []
    for rule, track, threshold in zip(rules, tracks, thresholds, strict=True):
        new = at(rule, threshold)
        true, hours = sum(each.true for each in track), sum(each.hours for each in track)
        recall = sum(each.found(new) for each in track) / true if true else None
        figures.append((recall, sum(each.alarms(new) for each in track) / hours))
    return figures


def _mean(figures: Figures) -> dict[str, float | None]:
    """Over the labels that sound."""
    sounding = [(recall, rate) for recall, rate in figures if recall is not None]
    if not sounding:
        return {"recall": None, "false_alarms_per_hour": None}
    recall, rate = np.mean(sounding, axis=0).tolist()
    return {"recall": recall, "false_alarms_per_hour": rate}
