"""Where in a clip the sound is."""

from __future__ import annotations

import numpy as np
import pytest

from pe_stream.audio.activity import active
from pe_stream.core.types import SAMPLE_RATE, Samples


def silence(seconds: float) -> Samples:
    return np.zeros(round(seconds * SAMPLE_RATE), np.float32)


def tone(seconds: float, amplitude: float = 0.3) -> Samples:
    time_s = np.arange(round(seconds * SAMPLE_RATE)) / SAMPLE_RATE
    return np.asarray(amplitude * np.sin(2 * np.pi * 1000 * time_s), np.float32)


def spans_s(*parts: Samples) -> list[tuple[float, float]]:
    return [(a / SAMPLE_RATE, b / SAMPLE_RATE) for a, b in active(np.concatenate(parts))]


@pytest.mark.parametrize("floor", [0.0, 0.001])
def test_a_padded_tone_is_found_where_it_is(floor: float) -> None:
    """In digital silence, and in noise 46 dB below it."""
    noise = np.random.default_rng(0).standard_normal(3 * SAMPLE_RATE).astype(np.float32)
    parts = np.concatenate([silence(0.733), tone(0.615), silence(1.652)])
    ((onset_s, offset_s),) = spans_s(parts + np.float32(floor) * noise)
    assert onset_s == pytest.approx(0.733, abs=0.02)
    assert offset_s == pytest.approx(0.733 + 0.615, abs=0.02)


def test_a_short_pause_is_bridged_and_a_long_one_is_not() -> None:
    (bridged,) = spans_s(silence(0.5), tone(0.3), silence(0.38), tone(0.3), silence(0.5))
    assert bridged == pytest.approx((0.5, 1.48), abs=0.02)
    first, second = spans_s(silence(0.5), tone(0.3), silence(0.43), tone(0.3), silence(0.5))
    assert first == pytest.approx((0.5, 0.8), abs=0.02)
    assert second == pytest.approx((1.23, 1.53), abs=0.02)


def test_a_sound_ends_where_it_has_faded() -> None:
    noise = np.random.default_rng(0).standard_normal(2 * SAMPLE_RATE).astype(np.float32)
    parts = np.concatenate(
        [silence(0.5), tone(0.5), tone(0.5, 0.3 * 10 ** (-40 / 20)), silence(0.5)]
    )
    (span,) = spans_s(parts + np.float32(0.0002) * noise)
    assert span == pytest.approx((0.5, 1.0), abs=0.02)


def test_steady_noise_sounds_throughout() -> None:
    noise = np.random.default_rng(0).standard_normal(2 * SAMPLE_RATE)
    assert spans_s(np.asarray(0.05 * noise, np.float32)) == [(0.0, 2.0)]


def test_a_click_is_no_stretch_beside_a_sound() -> None:
    click = tone(0.01)
    assert len(spans_s(silence(0.5), click, silence(1), tone(0.5), silence(0.5))) == 1
    assert len(spans_s(silence(0.5), click, silence(1))) == 1  # where there is nothing else


@pytest.mark.parametrize("db", [-126, -112, -107, -102])
def test_what_is_below_100_db_is_silence(db: float) -> None:
    """As is that of dithered files: the level of a sine is 3 dB below its amplitude."""
    assert active(tone(1.0, 10 ** ((db + 3) / 20))) == []


def test_a_quiet_sound_is_one() -> None:
    assert spans_s(tone(1.0, 10 ** (-92 / 20))) == [(0.0, 1.0)]


def test_silence_is_none() -> None:
    assert active(silence(1)) == []
    assert active(silence(0)) == []
    assert active(silence(0.005)) == []


def test_what_is_shorter_than_a_step_is_one_stretch() -> None:
    assert active(tone(0.009)) == [(0, 432)]
