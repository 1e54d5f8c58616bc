from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pe_stream.workbench.calibration.rates import clusters, interval, share

GARWOOD = {0: (0.0, 3.6889), 1: (0.0253, 5.5716), 4: (1.0899, 10.2416), 10: (4.7954, 18.3904)}
"""From published tables."""


@pytest.mark.parametrize("count", GARWOOD)
def test_intervals_are_those_of_the_tables(count: int) -> None:
    assert interval(count, 1.0) == pytest.approx(GARWOOD[count], abs=1e-3)


@pytest.mark.parametrize("count", [0, 1, 17, 5000])
def test_a_rate_is_in_the_unit_of_its_exposure(count: int) -> None:
    low, high = interval(count, 1.0)
    assert interval(count, 4.0) == pytest.approx((low / 4, high / 4))


@settings(deadline=None, max_examples=50)
@given(st.integers(0, 3000), st.floats(0.5, 0.999))
def test_an_interval_holds_what_was_counted_and_grows_with_confidence(
    count: int, confidence: float
) -> None:
    low, high = interval(count, 1.0, confidence)
    assert 0 <= low <= count < high
    assert low >= interval(count, 1.0, 0.9995)[0]
    assert high <= interval(count, 1.0, 0.9995)[1]


@pytest.mark.parametrize("mean", [0.3, 2.0, 12.5])
def test_at_least_as_many_intervals_as_promised_hold_the_truth(mean: float) -> None:
    counts, times = np.unique(np.random.default_rng(1).poisson(mean, 5000), return_counts=True)
    held = sum(
        int(n) for count, n in zip(counts, times, strict=True)
        if (ends := interval(int(count), 1.0))[0] <= mean <= ends[1]
    )  # fmt: skip
    assert held / 5000 > 0.945


@pytest.mark.parametrize(("count", "exposure"), [(-1, 1.0), (0, 0.0)])
def test_what_cannot_be_is_refused(count: int, exposure: float) -> None:
    with pytest.raises(ValueError, match="at least 0"):
        interval(count, exposure)


@pytest.mark.parametrize(
    ("onsets_s", "sizes"),
    [
        ([], []),
        ([5.0], [1]),
        ([0, 10, 20, 31], [3, 1]),
        ([100, 105, 3, 4], [2, 2]),  # the second recording begins again
    ],
)
def test_a_gap_ends_a_burst(onsets_s: list[float], sizes: list[int]) -> None:
    assert clusters(onsets_s, 10.0) == sizes


@pytest.mark.parametrize(
    ("sizes", "part"), [([], 1.0), ([1, 1, 1], 1.0), ([4, 4], 0.25), ([3, 1], 0.4)]
)
def test_bursts_say_less_than_as_many_single_events(sizes: list[int], part: float) -> None:
    assert share(sizes) == pytest.approx(part)


def test_the_share_is_that_of_the_variance_of_bursts() -> None:
    """Counts of a compound Poisson process, as often as it takes."""
    rng = np.random.default_rng(0)
    bursts = [rng.geometric(0.4, n) for n in rng.poisson(12, 4000)]
    counts = np.array([sizes.sum() for sizes in bursts])
    assert share(np.concatenate(bursts)) == pytest.approx(counts.mean() / counts.var(), rel=0.1)
