"""What lies beyond the data: peaks over a threshold and the generalised Pareto distribution. Pure.

Of independent peaks, those above a high level exceed it by what tends to be distributed like this,
whatever they come from (Pickands 1975; Coles 2001, chapter 4). Fitted by likelihood over a grid,
with the number of peaks as Poisson; intervals are by profile likelihood of the rate itself.

A rate is the mean over all fits by their likelihood, not that of the best one: rates grow
exponentially as thresholds fall, so that a threshold which is as likely too low as too high lets
more through than wanted on average (Smith 1999, on predictive inference of extremes).

Peaks come in bursts. All are used, and their likelihood counts as that of as many as are
independent (Fawcett and Walshaw 2007 on all exceedances; Ribatet, Cooley and Davison 2012 on the
magnitude of a composite likelihood).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Self

import numpy as np
from numpy.typing import NDArray

from pe_stream.workbench.calibration.rates import CONFIDENCE

FEWEST = 10
"""Peaks that a fit takes."""

MOST = 30
"""Peaks that a fit uses: the highest; what happens far below says little about them."""

_SHAPES = np.linspace(-0.5, 0.5, 41)[:, None]
"""Shape of the distribution: below 0 bounded, 0 exponential, above 0 heavy-tailed."""

_SHAPE_SPREAD = 0.2
"""Scores' logits fall off nearly exponentially: the shape is taken to be 0, give or take this."""

_SCALES = np.exp(np.linspace(-1.8, 1.8, 91))[None, :]
"""Times the mean excess."""

_RATES = np.exp(np.linspace(np.log(1e-5), np.log(30), 500))
"""Times the best estimate: where the ends of an interval are looked for."""

_QUANTILE = {0.95: 1.9207, 0.9: 1.3528, 0.68: 0.4945}
"""Half of chi-squared's, with one degree of freedom: how far log-likelihood may fall."""

Grid = NDArray[np.float64]
"""Over shapes and scales, (41, 91)."""


@dataclass(frozen=True, slots=True, eq=False)
class Tail:
    """Peaks over `level`: how many of them in what exposure, and how they fall off.

    independent: how many of them are. likelihood: log, of each shape and scale, -inf where a peak
    is impossible.
    """

    level: float
    count: int
    exposure: float
    independent: float
    scales: Grid
    likelihood: Grid

    @classmethod
    def fit(cls, peaks: NDArray[np.float64], exposure: float, share: float = 1.0) -> Self:
        """Fit to peaks (n,), logits, in `exposure` (days, say): to the MOST highest of them.

        share: what part of them is independent of the others (see `rates.share`).

        Raises ValueError where there are fewer than FEWEST.
        """
        if len(peaks) < FEWEST:
            raise ValueError(f"a tail takes at least {FEWEST} peaks")
        rising = np.sort(peaks)[-MOST - 1 :]
        # With one below, the level lies between the two; else as far below the lowest as the
        # distance of neighbours is.
        if len(peaks) > MOST:
            level = float(rising[0] + rising[1]) / 2
            rising = rising[1:]
        else:
            level = float(rising[0] - (rising[-1] - rising[0]) / len(rising) ** 2)
        excess = np.maximum(rising - level, 1e-6)
        scales = _SCALES * excess.mean()
        grown = 1 + _SHAPES[..., None] * (excess / scales[..., None])
        with np.errstate(divide="ignore", invalid="ignore"):
            shape = np.where(_SHAPES == 0, 1.0, _SHAPES)[..., None]
            terms = np.where(
                _SHAPES[..., None] == 0,
                -excess / scales[..., None],
                -(1 + 1 / shape) * np.log(grown),
            )
        terms = np.where(grown > 0, terms, -np.inf)
        likelihood = terms.sum(axis=-1) - len(excess) * np.log(scales)
        likelihood = share * likelihood - (_SHAPES / _SHAPE_SPREAD) ** 2 / 2
        return cls(level, len(excess), exposure, share * len(excess), scales, likelihood)

    def rate(self, at: float) -> float:
        """How often (in one unit of exposure) a peak reaches that logit, at least `level`."""
        weights = np.exp(self.likelihood - self.likelihood.max())
        part = float((weights * self._part_beyond(at)).sum() / weights.sum())
        return part * self.count / self.exposure

    def reached(self, rate: float) -> float:
        """The logit that peaks reach that often; `level` where even that is rarer."""
        low, high = self.level, self.level + 60 * float(self.scales.max())
        if self.rate(low) <= rate:
            return low
        for _ in range(60):
            middle = (low + high) / 2
            low, high = (middle, high) if self.rate(middle) > rate else (low, middle)
        return high

    def interval(self, at: float, confidence: float = CONFIDENCE) -> tuple[float, float]:
        """Between which rates the true one at that logit lies; the lower may be 0."""
        best = max(self.rate(at), 0.02 / self.exposure)
        rates = best * _RATES
        part = self._part_beyond(at)
        possible = part > 0
        # Everything above `level` is expected so many times, where what reaches `at` is.
        expected = rates[:, None] * self.exposure / part[possible][None, :]
        counted = self.independent / self.count * (self.count * np.log(expected) - expected)
        profile = (self.likelihood[possible] + counted).max(axis=1, initial=-np.inf)
        of_none = self.likelihood[~possible].max(initial=-np.inf)
        of_none += self.independent * (np.log(self.count) - 1)
        least = max(float(profile.max()), float(of_none)) - _QUANTILE[confidence]
        inside = np.flatnonzero(profile >= least)
        if not len(inside):
            return 0.0, float(rates[0])
        low = 0.0 if of_none >= least or inside[0] == 0 else float(rates[inside[0]])
        return low, float(rates[inside[-1]])

    def _part_beyond(self, at: float) -> Grid:
        """Which part of the peaks over `level` reach that logit, by shape and scale."""
        grown = 1 + _SHAPES * (at - self.level) / self.scales
        with np.errstate(divide="ignore", over="ignore", invalid="ignore"):
            shape = np.where(_SHAPES == 0, 1.0, _SHAPES)
            part = np.where(
                _SHAPES == 0,
                np.exp(-(at - self.level) / self.scales),
                np.maximum(grown, 0.0) ** (-1 / shape),
            )
        return np.where(grown > 0, part, 0.0)
