"""The level of a source, second by second."""

from __future__ import annotations

import json
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pe_stream.core.level_meter import FLOOR_DBFS, LevelMeter, SoundLevel, dbfs, together
from pe_stream.core.types import SAMPLE_RATE, AudioChunk, Samples


def sine(hz: float, level_dbfs: float, seconds: float = 1.0, offset: float = 0.0) -> Samples:
    """A sine whose RMS has that level."""
    at = np.arange(round(seconds * SAMPLE_RATE)) / SAMPLE_RATE
    amplitude = 10 ** (level_dbfs / 20) * np.sqrt(2)
    made: Samples = (offset + amplitude * np.sin(2 * np.pi * hz * at)).astype(np.float32)
    return made


LEVELS = ("mean_dbfs", "peak_dbfs", "a_mean_dbfs", "a_peak_dbfs")


def levels_of(level: SoundLevel) -> dict[str, float]:
    told = level.to_dict()
    return {key: told[key] for key in LEVELS}


def measured(*segments: Samples, cuts: tuple[int, ...] = ()) -> list[SoundLevel]:
    meter, start, told = LevelMeter(), 0, list[SoundLevel]()
    for samples in segments:
        edges = [0, *sorted({cut for cut in cuts if 0 < cut < len(samples)}), len(samples)]
        for a, b in pairwise(edges):
            # UTC is that of the absolute sample index, from the segment's anchor on.
            anchor_ns = round(start / SAMPLE_RATE * 1e9) if a == 0 else None
            meter.hear(AudioChunk(start + a, samples[a:b], anchor_ns))
            told += meter.take()
        start += len(samples)
    meter.end()
    return told + meter.take()


def test_a_tone_of_1_khz_is_as_loud_weighted_and_a_hum_is_not() -> None:
    [tone] = measured(sine(1000, -20))
    assert levels_of(tone) == pytest.approx(
        {"mean_dbfs": -20.0, "peak_dbfs": -17.0, "a_mean_dbfs": -20.0, "a_peak_dbfs": -17.0},
        abs=0.25,  # the peak, as the tone begins
    )
    _, hum = measured(sine(50, -20, 2.0))
    assert hum.mean_dbfs == pytest.approx(-20, abs=0.1)
    assert hum.a_mean_dbfs == pytest.approx(-50.2, abs=0.2)
    _, offset = measured(sine(1000, -40, 2.0, offset=0.5))
    assert offset.mean_dbfs == pytest.approx(-6, abs=0.1)
    assert offset.a_mean_dbfs == pytest.approx(-40, abs=0.1)


@pytest.mark.parametrize("level", [0.0, 1e-9])
def test_silence_has_the_floor_and_is_json(level: float) -> None:
    [second] = measured(np.full(SAMPLE_RATE, level, np.float32))
    assert levels_of(second) == dict.fromkeys(LEVELS, FLOOR_DBFS)
    json.dumps(second.to_dict(), allow_nan=False)


def test_the_quietest_and_the_loudest_that_is_told() -> None:
    assert dbfs(10**-11.94) == -119.4
    assert dbfs(1e-13) == dbfs(0.0) == FLOOR_DBFS
    [square] = measured(np.tile(np.array([1.5, -1.5], np.float32), SAMPLE_RATE // 2))
    assert square.mean_dbfs == square.peak_dbfs == 3.5  # decoders may exceed full scale


@given(st.lists(st.integers(1, 150_000), max_size=8))
@settings(max_examples=25, deadline=None)
def test_levels_do_not_depend_on_how_sound_is_cut(cuts: list[int]) -> None:
    rng = np.random.default_rng(0)
    samples = rng.normal(0.1, 0.2, 3 * SAMPLE_RATE + 4567).astype(np.float32)
    assert measured(samples, cuts=tuple(cuts)) == measured(samples)


def test_a_break_begins_a_second_and_the_filter_anew() -> None:
    loud = sine(1000, -10, 1.5)
    quiet = sine(1000, -60, 1.25)
    told = measured(loud, quiet)
    assert [level.samples for level in told] == [48_000, 24_000, 48_000, 12_000]
    # Nothing of the sound before rings on in the first second after.
    assert [level.last for level in told] == [False, True, False, True]
    assert [level.end_ns for level in told] == [10**9, 15 * 10**8, 25 * 10**8, 275 * 10**7]
    [alone, _] = measured(quiet)
    assert levels_of(told[2]) == levels_of(alone)
    assert told[2].a_peak_dbfs < -56.5


def test_a_whole_second_is_the_last_where_a_segment_ends_with_it() -> None:
    told = measured(sine(1000, -10, 2.0))
    assert [(level.samples, level.last) for level in told] == [(48_000, False), (48_000, True)]


def test_times_are_those_of_the_segments_clock() -> None:
    """Of a sound card that is slow by 3 %."""
    meter = LevelMeter()
    for start in range(0, 2 * SAMPLE_RATE, 4800):
        mark = (start + 4800, round((start + 4800) / SAMPLE_RATE * 1.03e9))
        meter.hear(
            AudioChunk(start, sine(1000, -10, 0.1), None if start else 0, start / 48_000, mark)
        )
    meter.end()
    first, second = meter.take()
    assert (first.end_ns, second.end_ns) == pytest.approx((1.03e9, 2.06e9), abs=1e6)
    assert second.to_dict()["at"] == "1970-01-01T00:00:02.060Z"
    assert second.to_dict()["seconds"] == 1.0


def test_seconds_together_are_as_one_stretch() -> None:
    rng = np.random.default_rng(1)
    samples = (rng.normal(0, 0.1, 150_000) * np.linspace(0, 1, 150_000)).astype(np.float32)
    levels = measured(samples)
    whole = together(levels)
    assert whole.samples == 150_000
    assert whole.power == pytest.approx(np.square(samples, dtype=np.float64).mean())
    assert whole.peak == np.abs(samples).max()
    assert whole.a_peak == max(level.a_peak for level in levels)
    assert together([whole]).to_dict() == whole.to_dict()
