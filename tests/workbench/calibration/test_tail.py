"""Fitted tails against distributions that are known."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
from numpy.typing import NDArray

from pe_stream.workbench.calibration.tail import FEWEST, Tail


def excesses(rng: np.random.Generator, shape: float, count: int) -> NDArray[np.float64]:
    """Draws of the generalised Pareto distribution with scale 0.7."""
    chance = rng.uniform(size=count)
    if shape == 0:
        return np.asarray(-0.7 * np.log(chance))
    return np.asarray(0.7 * (chance**-shape - 1) / shape)


def part_beyond(shape: float, at: float) -> float:
    grown = max(0.0, 1 + shape * at / 0.7)
    return float(np.exp(-at / 0.7)) if shape == 0 else grown ** (-1 / shape)


@pytest.mark.parametrize("shape", [-0.2, 0.0, 0.15])
def test_intervals_hold_the_true_rate_and_estimates_are_near(shape: float) -> None:
    """60 a day over a level; the threshold is the one for 1 a day, read off one day."""
    rng = np.random.default_rng(2)
    held, ratios, runs = 0, [], 80
    for _ in range(runs):
        tail = Tail.fit(excesses(rng, shape, rng.poisson(60)) - 3, 1.0)
        at = tail.reached(1.0)
        low, high = tail.interval(at)
        true = 60 * part_beyond(shape, at + 3)
        held += low <= true <= high
        ratios.append(true)
    assert held / runs > 0.88
    assert 0.5 < float(np.median(ratios)) < 2.0


def test_intervals_are_no_wider_than_counting_one_would_give() -> None:
    rng = np.random.default_rng(3)
    highs = []
    for _ in range(40):
        tail = Tail.fit(excesses(rng, 0.0, 60), 1.0)
        highs.append(tail.interval(tail.reached(1.0))[1])
    assert float(np.median(highs)) < 5.57


def test_quantiles_of_many_peaks_are_those_of_the_distribution() -> None:
    excess = excesses(np.random.default_rng(4), 0.0, 20_000)
    tail = Tail.fit(excess, 1.0)
    assert tail.count == 30
    exact = 0.7 * np.log(20_000 / 3)
    assert tail.reached(3.0) == pytest.approx(exact, abs=0.5)


def test_a_rate_falls_and_reached_is_its_inverse() -> None:
    tail = Tail.fit(excesses(np.random.default_rng(5), 0.1, 25), 2.0)
    rates = [tail.rate(at) for at in np.linspace(tail.level, tail.level + 8, 30)]
    assert all(a >= b for a, b in pairwise(rates))
    for rate in (0.02, 0.5, 3.0):
        assert tail.rate(tail.reached(rate)) == pytest.approx(rate, rel=1e-3)
    assert tail.reached(1000.0) == tail.level
    low, high = tail.interval(tail.reached(0.5))
    assert low <= 0.5 <= high


def test_thresholds_let_through_what_was_wanted_on_average() -> None:
    """As few too many as too few would be more than wanted in the mean: rates are skewed."""
    rng = np.random.default_rng(7)
    rates = []
    for _ in range(300):
        tail = Tail.fit(excesses(rng, 0.0, rng.poisson(40)), 1.0)
        rates.append(40 * part_beyond(0.0, tail.reached(1.0)))
    assert float(np.mean(rates)) == pytest.approx(1.0, abs=0.15)
    assert float(np.median(rates)) < 1.0


def test_peaks_in_bursts_are_less_sure_and_take_a_higher_threshold() -> None:
    """Every peak four times over says as much as once, at four times the rate."""
    peaks = excesses(np.random.default_rng(8), 0.0, 7)
    once = Tail.fit(np.sort(np.repeat(peaks, 4)), 1.0)
    bursts = Tail.fit(np.sort(np.repeat(peaks, 4)), 1.0, 0.25)
    assert bursts.independent == pytest.approx(7)
    assert bursts.reached(1.0) > once.reached(1.0) + 0.1
    at = bursts.reached(1.0)
    (low, high), (sure_low, sure_high) = bursts.interval(at), once.interval(at)
    assert low <= sure_low
    assert high > 1.5 * sure_high
    # Where it begins, all is in how many there were: 28, and 7 that are independent.
    assert once.interval(once.level)[1] == pytest.approx(28 * 1.42, rel=0.05)
    assert bursts.interval(bursts.level)[1] == pytest.approx(28 * 1.95, rel=0.05)


def test_twice_the_exposure_is_half_the_rate() -> None:
    peaks = excesses(np.random.default_rng(6), 0.0, 25)
    one, two = Tail.fit(peaks, 1.0), Tail.fit(peaks, 2.0)
    assert two.rate(1.5) == pytest.approx(one.rate(1.5) / 2)
    assert two.interval(1.5) == pytest.approx([end / 2 for end in one.interval(1.5)], rel=0.1)


def test_peaks_that_are_all_the_same_are_no_fault() -> None:
    tail = Tail.fit(np.full(12, 1.0), 1.0)
    assert tail.reached(1.0) == pytest.approx(1.0, abs=0.01)


def test_too_few_peaks_are_refused() -> None:
    with pytest.raises(ValueError, match="at least 10"):
        Tail.fit(np.zeros(FEWEST - 1), 1.0)
