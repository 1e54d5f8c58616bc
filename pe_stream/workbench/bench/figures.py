"""Many measured values to the few that are told."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

PERCENTILES = (10, 50, 90, 95, 99)

_SETTLING = 5
"""Parts of a run, of which the first is not judged: caches and pools fill."""


def summary(values: Sequence[float]) -> dict[str, float | int]:
    """Median, percentiles, extremes and number of `values`; raises ValueError without any."""
    if not values:
        raise ValueError("nothing was measured")
    found = np.percentile(np.asarray(values, np.float64), PERCENTILES)
    told: dict[str, float | int] = {
        f"p{p}": float(v) for p, v in zip(PERCENTILES, found, strict=True)
    }
    return {"median": told["p50"], **told, "min": min(values), "max": max(values), "n": len(values)}


def ratio(plain: Sequence[float], engine: Sequence[float]) -> dict[str, float | int]:
    """How many times as long the plain call took, by medians.

    low, high: the spread, by the tenth and ninetieth percentiles of both against each other.
    runs: of the plain call.
    """
    slow, fast = summary(plain), summary(engine)
    return {
        "median": slow["median"] / fast["median"],
        "low": slow["p10"] / fast["p90"],
        "high": slow["p90"] / fast["p10"],
        "runs": len(plain),
    }


def growth_percent(levels: Sequence[float]) -> float:
    """Growth of `levels`, taken at equal distances, once settled (percent).

    The median of the last fifth against that of the second fifth: a single peak is no growth.
    Raises ValueError on fewer than 10 levels.
    """
    part = len(levels) // _SETTLING
    if part < 2:
        raise ValueError(f"10 levels are needed to tell growth from noise, not {len(levels)}")
    before = float(np.median(levels[part : 2 * part]))
    return 100 * (float(np.median(levels[-part:])) - before) / before
