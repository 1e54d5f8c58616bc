"""Figures against their definitions."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pe_stream.workbench.bench.figures import PERCENTILES, growth_percent, ratio, summary


@given(st.lists(st.floats(1e-6, 1e3), min_size=1, max_size=60))
def test_percentiles_interpolate_between_the_sorted_values(values: list[float]) -> None:
    told = summary(values)
    ordered = sorted(values)
    for percent in PERCENTILES:
        place = percent / 100 * (len(values) - 1)
        low = int(place)
        high = min(low + 1, len(values) - 1)
        expected = ordered[low] + (place - low) * (ordered[high] - ordered[low])
        assert told[f"p{percent}"] == pytest.approx(expected)
        assert told[f"p{percent}"] == pytest.approx(float(np.percentile(values, percent)))
    assert (told["min"], told["max"], told["n"]) == (ordered[0], ordered[-1], len(values))
    assert told["median"] == told["p50"]


def test_nothing_measured_is_no_figure() -> None:
    with pytest.raises(ValueError, match="nothing was measured"):
        summary([])


def test_the_ratio_is_of_medians_with_its_spread() -> None:
    told = ratio([6.0, 5.0, 7.0], [0.1, 0.1, 0.2, 0.1])
    assert told["median"] == pytest.approx(60)
    assert told["low"] < 60 < told["high"]
    assert told["runs"] == 3


def test_a_leak_is_seen_and_a_settled_level_is_not() -> None:
    wobble = np.random.default_rng(0).normal(0, 0.2, 50)
    filling = np.minimum(np.arange(50), 8) * 5.0
    assert abs(growth_percent(list(500 + filling + wobble))) < 0.2
    leaking = growth_percent(list(500 + np.arange(50) + wobble))
    assert leaking == pytest.approx(100 * 30 / 514.5, rel=0.05)


def test_a_single_peak_is_no_growth() -> None:
    levels = [500.0] * 50
    levels[-3] = 900.0
    assert growth_percent(levels) == 0


def test_too_few_levels_tell_nothing() -> None:
    with pytest.raises(ValueError, match="10 levels"):
        growth_percent([1.0] * 9)
