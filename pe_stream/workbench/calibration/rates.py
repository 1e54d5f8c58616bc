"""How sure a rate is that was counted: the exact Poisson interval, wider for bursts. Pure."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from math import exp, log, sqrt

import numpy as np

CONFIDENCE = 0.95
"""Confidence of every interval here: this part of them holds the true rate."""

_HALVINGS = 60


def interval(count: int, exposure: float, confidence: float = CONFIDENCE) -> tuple[float, float]:
    """The exact interval (Garwood 1936) of the rate of what was counted in `exposure` (any unit).

    Nothing counted leaves the rate between 0 and 3.69 in that exposure. Raises ValueError on a
    count below 0 or no exposure.
    """
    if count < 0 or exposure <= 0:
        raise ValueError("a count is at least 0, and what it was counted in is more than none")
    doubt = (1 - confidence) / 2
    low = _mean_where(lambda mean: _at_most(count - 1, mean) > 1 - doubt, count) if count else 0.0
    high = _mean_where(lambda mean: _at_most(count, mean) > doubt, count)
    return low / exposure, high / exposure


def clusters(onsets_s: Sequence[float], apart_s: float) -> list[int]:
    """How many events each burst has: a gap of more than `apart_s` ends it.

    onsets_s: in order, one recording after another. Runs declustering (Coles 2001, chapter 5).
    """
    ends = np.flatnonzero(np.abs(np.diff(onsets_s)) > apart_s) + 1
    return [len(each) for each in np.split(np.asarray(onsets_s), ends)] if len(onsets_s) else []


def share(sizes: Iterable[int]) -> float:
    """What part of the events in clusters of these sizes is independent; 1 without any.

    Of a compound Poisson count the variance is that of one without clusters times the sum of the
    squared sizes over their sum, so that it says as much as so many fewer events.
    """
    sizes = np.asarray(list(sizes), float)
    return float(sizes.sum() / np.square(sizes).sum()) if len(sizes) else 1.0


def _mean_where(holds: Callable[[float], bool], count: int) -> float:
    """The mean up to which `holds`, by bisection; it lies within so many deviations of `count`."""
    low, high = 0.0, count + 12 * sqrt(count + 1.0) + 12
    for _ in range(_HALVINGS):
        middle = (low + high) / 2
        low, high = (middle, high) if holds(middle) else (low, middle)
    return (low + high) / 2


def _at_most(count: int, mean: float) -> float:
    """The chance that a Poisson variable of that mean is at most `count`."""
    if mean == 0 or count < 0:
        return float(count >= 0)
    terms = np.arange(count + 1)
    logs = terms * log(mean) - mean - np.cumsum(np.log(np.maximum(terms, 1)))
    top = float(logs.max())
    return min(1.0, float(np.exp(logs - top).sum()) * exp(top)) if top > -700 else 0.0
