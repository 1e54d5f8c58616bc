"""Scores and truth to curves over all thresholds, and the areas under them. Pure numpy."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Scores = NDArray[np.floating]
"""Shape (n,)."""

Truths = NDArray[np.bool_]
"""Shape (n,): whether the sound is there."""

_CLOSEST = 2.0**-24
"""To 0 and 1 that a probability may come before its logit is taken: float32's resolution."""


@dataclass(frozen=True, slots=True)
class Curve:
    """Counts at every threshold that makes a difference, from the highest.

    hits, alarms: (thresholds,) how many of the `positive` and of the `negative` are at or above.
    """

    hits: NDArray[np.int64]
    alarms: NDArray[np.int64]
    positive: int
    negative: int

    @property
    def recall(self) -> NDArray[np.float64]:
        """Part of the positive that is found."""
        return self.hits / max(self.positive, 1)

    @property
    def precision(self) -> NDArray[np.float64]:
        """Part of what is found that is positive."""
        return self.hits / (self.hits + self.alarms)

    @property
    def fallout(self) -> NDArray[np.float64]:
        """Part of the negative that is taken for positive."""
        return self.alarms / max(self.negative, 1)

    @property
    def auroc(self) -> float | None:
        """Chance that a positive scores above a negative, equal scores counting as one half.

        None where there are no positive or no negative.
        """
        if not self.positive or not self.negative:
            return None
        recall = np.concatenate([[0.0], self.recall])
        return float(np.trapezoid(recall, np.concatenate([[0.0], self.fallout])))

    @property
    def average_precision(self) -> float | None:
        """Precision averaged over the steps of recall, without interpolation.

        None where there are no positive.
        """
        if not self.positive:
            return None
        return float(np.sum(np.diff(self.recall, prepend=0.0) * self.precision))


def curve(scores: Scores, truths: Truths) -> Curve:
    """The curve of (n,) scores, n > 0, and whether the sound was there."""
    order = np.argsort(-scores, kind="stable")
    falling = scores[order]
    ends = np.append(np.flatnonzero(np.diff(falling)), len(falling) - 1)
    hits = np.cumsum(truths[order])[ends]
    return Curve(hits, ends + 1 - hits, int(truths.sum()), int((~truths).sum()))


def logit(scores: NDArray[np.floating]) -> NDArray[np.float64]:
    """The logits of scores in 0..1, of any shape; finite at 0 and 1 too (16.6 either way)."""
    kept = scores.astype(np.float64).clip(_CLOSEST, 1 - _CLOSEST)
    return np.asarray(np.log(kept) - np.log1p(-kept))
