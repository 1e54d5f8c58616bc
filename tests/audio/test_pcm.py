"""Scaling, mixing down and resampling against the arithmetic they stand for."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from pe_stream.audio.pcm import Resampler, mix, regroup, to_float
from pe_stream.core.types import SAMPLE_RATE

RATES = (8000, 16_000, 22_050, 44_100, 96_000, 192_000)


@pytest.mark.parametrize(
    ("samples", "expected"),
    [
        (np.array([-32768, 0, 16384], np.int16), [-1, 0, 0.5]),
        (np.array([-(2**31), 0, 2**30], np.int32), [-1, 0, 0.5]),
        (np.array([0, 128, 192], np.uint8), [-1, 0, 0.5]),
        (np.array([-1, 0, 0.5], np.float64), [-1, 0, 0.5]),
    ],
)
def test_pcm_is_scaled_to_one(samples: NDArray[Any], expected: list[float]) -> None:
    assert to_float(samples).dtype == np.float32
    assert to_float(samples).tolist() == expected


def test_the_mix_is_the_plain_mean_of_eight_channels() -> None:
    planes = np.arange(16, dtype=np.float32).reshape(8, 2) / np.float32(16)
    assert mix(planes, None).samples.tolist() == planes.mean(axis=0).tolist()
    assert mix(planes, 3).samples.tolist() == planes[3].tolist()


def test_what_is_no_number_becomes_silence_and_is_counted() -> None:
    planes = np.array([[1, np.nan, np.inf, 3e38], [1, 0.5, -np.inf, 0]], np.float32)
    samples, nonfinite = mix(planes, None)
    assert samples.tolist() == [1, 0.25, 0, 0]
    assert nonfinite == 4


def sweep(rate: float, count: int) -> NDArray[np.float64]:
    """From 100 to 3100 Hz within a second."""
    t = np.arange(count) / rate
    return np.sin(2 * np.pi * (100 * t + 1500 * t**2))


@pytest.mark.parametrize("rate", RATES)
@pytest.mark.parametrize("size", [1, 997, 10**6])
def test_resampled_audio_has_the_right_length_and_no_delay(rate: int, size: int) -> None:
    count = rate + 37 if size > 1 else rate // 4
    samples = sweep(rate, count).astype(np.float32)
    resampler = Resampler(rate)
    pieces = [resampler.feed(samples[i : i + size]) for i in range(0, count, size)]
    got = np.concatenate([*pieces, resampler.flush()])
    assert abs(len(got) - count * SAMPLE_RATE / rate) <= 1
    inner = slice(1000, len(got) - 1000)  # the filter rings where the sweep is cut off
    assert np.abs(got - sweep(SAMPLE_RATE, len(got)))[inner].max() < 1e-5


@pytest.mark.parametrize("rate", RATES)
def test_an_impulse_stays_where_it_was(rate: int) -> None:
    samples = np.zeros(rate, np.float32)
    samples[rate // 2] = 1
    resampler = Resampler(rate)
    got = np.concatenate([resampler.feed(samples), resampler.flush()])
    assert int(np.argmax(got)) == SAMPLE_RATE // 2


def test_audio_at_48_khz_passes_bit_exactly() -> None:
    samples = np.random.default_rng(0).standard_normal(5000).astype(np.float32)
    resampler = Resampler(SAMPLE_RATE)
    got = np.concatenate([resampler.feed(samples), resampler.flush()])
    assert got.tobytes() == samples.tobytes()


@given(st.lists(st.integers(0, 12)), st.integers(1, 5))
def test_regrouping_keeps_every_sample(lengths: list[int], size: int) -> None:
    whole = np.arange(sum(lengths), dtype=np.float32)
    ends = np.cumsum(lengths, dtype=int)
    pieces = [whole[end - n : end] for n, end in zip(lengths, ends, strict=True)]
    groups = list(regroup(pieces, size))
    assert np.concatenate([whole[:0], *groups]).tolist() == whole.tolist()
    assert all(len(group) == size for group in groups[:-1])
    assert not any(np.shares_memory(group, whole) for group in groups)
