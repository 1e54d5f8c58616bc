"""A recording repeated without a seam."""

from __future__ import annotations

import numpy as np
import pytest

from pe_stream.audio.crossfade import repeated
from pe_stream.core.types import SAMPLE_RATE


@pytest.mark.parametrize("count", [1, 999, 1000, 1001, 5000])
def test_as_many_samples_as_wanted(count: int) -> None:
    assert repeated(np.ones(1000, np.float32), count).shape == (count,)


def test_the_power_stays_where_repetitions_meet() -> None:
    noise = np.random.default_rng(0).normal(size=2 * SAMPLE_RATE).astype(np.float32)
    long = repeated(noise, 6 * SAMPLE_RATE)
    np.testing.assert_array_equal(long[:SAMPLE_RATE], noise[:SAMPLE_RATE])
    power = (long**2).reshape(-1, SAMPLE_RATE // 10).mean(axis=1)
    assert power.min() > 0.8
    assert power.max() < 1.2
