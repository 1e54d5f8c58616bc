"""Gain and filters of a source: what they take away, whatever the chunks, and at once."""

from __future__ import annotations

import logging
import math
from collections.abc import Iterable
from itertools import pairwise
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from pe_stream.audio.filtering import SoundFilter
from pe_stream.config import SourceSettings
from pe_stream.core.ledger import Ledger, SourceState
from pe_stream.core.types import SAMPLE_RATE, AudioChunk, Samples

SECOND = SAMPLE_RATE


def filter_of(**keys: Any) -> SoundFilter:
    return SoundFilter("kitchen", SourceSettings(microphone=0, **keys))


def chunks(samples: Samples, cuts: Iterable[int] = (), start: int = 0) -> list[AudioChunk]:
    edges = [0, *sorted({cut for cut in cuts if 0 < cut < len(samples)}), len(samples)]
    return [
        AudioChunk(start + a, samples[a:b], 7 if a == 0 else None, 0.5, (start + b, 9))
        for a, b in pairwise(edges)
    ]


def run(sound_filter: SoundFilter, samples: Samples, cuts: Iterable[int] = ()) -> Samples:
    return np.concatenate([sound_filter.apply(each).samples for each in chunks(samples, cuts)])


def noise(count: int, seed: int = 0) -> Samples:
    return (0.1 * np.random.default_rng(seed).standard_normal(count)).astype(np.float32)


def tone(hz: float, seconds: float = 2.0) -> Samples:
    return (0.5 * np.sin(2 * np.pi * hz * np.arange(round(seconds * SECOND)) / SECOND)).astype(
        np.float32
    )


def decibels(after: Samples, before: Samples) -> float:
    """How much louder the second half is."""
    half = len(before) // 2
    return float(20 * np.log10(after[half:].std() / before[half:].std()))


def slowly(samples: Samples, kind: str, hz: float) -> NDArray[np.float64]:
    """A Butterworth of second order by the book, a sample at a time, from a value that stood."""
    w = 2 * math.pi * hz / SECOND
    alpha = math.sin(w) / math.sqrt(2)
    sign = 1 if kind == "highpass" else -1
    b0, b1 = (1 + sign * math.cos(w)) / 2, -sign * (1 + sign * math.cos(w))
    a0, a1, a2 = 1 + alpha, -2 * math.cos(w), 1 - alpha
    x1 = x2 = float(samples[0])
    y1 = y2 = 0.0 if kind == "highpass" else x1
    out = []
    for x in samples.tolist():
        y = (b0 * x + b1 * x1 + b0 * x2 - a1 * y1 - a2 * y2) / a0
        x1, x2, y1, y2 = x, x1, y, y1
        out.append(y)
    return np.array(out)


@pytest.mark.parametrize(
    ("keys", "hz", "expected"),
    [
        ({"highpass_hz": 10}, 10, -3.0),
        ({"highpass_hz": 20}, 20, -3.0),
        ({"highpass_hz": 200}, 200, -3.0),
        ({"highpass_hz": 200}, 50, -24.1),
        ({"highpass_hz": 200}, 2000, 0.0),
        ({"lowpass_hz": 4000}, 4000, -3.0),
        ({"lowpass_hz": 1000}, 4000, -24.5),
        ({"lowpass_hz": 4000}, 400, 0.0),
        ({"highpass_hz": 300, "lowpass_hz": 3000}, 1000, -0.1),
        ({"gain_db": 5.5}, 1000, 5.5),
        ({"gain_db": -60}, 1000, -60.0),
        ({"gain_db": 3, "highpass_hz": 200}, 50, -21.1),
    ],
)
def test_each_takes_away_what_it_should(keys: dict[str, Any], hz: float, expected: float) -> None:
    sound = tone(hz)
    assert decibels(run(filter_of(**keys), sound), sound) == pytest.approx(expected, abs=0.3)


@pytest.mark.parametrize(("kind", "hz"), [("highpass", 20), ("highpass", 900), ("lowpass", 3000)])
def test_it_is_the_filter_of_the_book(kind: str, hz: float) -> None:
    sound = noise(20_000) + np.float32(0.25)
    np.testing.assert_allclose(
        run(filter_of(**{f"{kind}_hz": hz}), sound, range(0, 20_000, 999)),
        slowly(sound, kind, hz),
        atol=2e-7,
    )


@settings(max_examples=25, deadline=None)
@given(cuts=st.lists(st.integers(1, 19_999), max_size=30))
def test_chunks_make_no_difference(cuts: list[int]) -> None:
    keys = {"gain_db": 4.0, "highpass_hz": 20.0, "lowpass_hz": 7000.0}
    whole = run(filter_of(**keys), noise(20_000))
    np.testing.assert_array_equal(run(filter_of(**keys), noise(20_000), cuts), whole)


def test_a_chunk_stays_what_it_was_but_for_its_sound() -> None:
    (before,) = chunks(noise(1000), start=5)
    after = filter_of(highpass_hz=100).apply(before)
    assert (after.start, after.anchor_ns, after.captured_s, after.mark, after.end) == (
        *(before.start, before.anchor_ns, before.captured_s, before.mark),
        before.end,
    )
    assert after.samples.dtype == np.float32
    np.testing.assert_array_equal(before.samples, noise(1000))  # others may have it too


def test_without_any_the_sound_is_left_as_it_comes() -> None:
    loud = np.array([3.0, -2.0], np.float32)
    (chunk,) = chunks(loud)
    assert filter_of().apply(chunk) is chunk
    assert str(filter_of()) == ""


def test_a_break_begins_anew() -> None:
    keys = {"highpass_hz": 30, "lowpass_hz": 900}
    kept = filter_of(**keys)
    first, second = noise(9000), noise(9000, seed=1)
    alone = run(filter_of(**keys), second)
    np.testing.assert_array_equal(run(kept, first), run(filter_of(**keys), first))
    np.testing.assert_array_equal(run(kept, second), alone)


def test_an_offset_of_the_converter_is_no_click() -> None:
    filtered = run(filter_of(highpass_hz=20), noise(SECOND) * np.float32(0.001) + np.float32(0.5))
    assert np.abs(filtered).max() < 0.001
    low = run(filter_of(lowpass_hz=200), np.full(SECOND, 0.5, np.float32))
    np.testing.assert_allclose(low, 0.5, atol=1e-6)


@pytest.mark.parametrize("value", [0.0, 0.1, -0.7])
@pytest.mark.parametrize("keys", [{"highpass_hz": 10}, {"lowpass_hz": 100}, {"gain_db": 60}])
def test_an_input_that_dies_is_as_dead_as_without(value: float, keys: dict[str, Any]) -> None:
    """Health tells it by exact zeros, or one value, for two seconds."""
    ledger, sound_filter = Ledger(), filter_of(**keys)
    dying = np.concatenate([noise(SECOND), np.full(3 * SECOND, value, np.float32)])
    for chunk in chunks(dying, range(0, len(dying), 1920)):
        ledger.hear(sound_filter.apply(chunk).samples)
    assert ledger.account.state is SourceState.FLAT


@pytest.mark.parametrize(
    "keys", [{"highpass_hz": 300}, {"lowpass_hz": 4000}, {"highpass_hz": 20, "lowpass_hz": 8000}]
)
def test_an_onset_stays_where_it_is(keys: dict[str, Any]) -> None:
    sound = np.concatenate([np.zeros(4800, np.float32), tone(1000, 0.1)])
    filtered = run(filter_of(**keys), sound)
    for each in (sound, filtered):
        assert np.abs(each[:4800]).max() == 0
        assert np.flatnonzero(np.abs(each) > 0.1)[0] - 4800 < 0.001 * SECOND


class TestGain:
    def test_what_is_too_loud_is_clipped(self) -> None:
        clipped = run(filter_of(gain_db=20), tone(1000))
        assert (clipped.min(), clipped.max()) == (-1, 1)

    def test_clipping_is_told_once_an_hour(self, caplog: pytest.LogCaptureFixture) -> None:
        loud, sound_filter = filter_of(gain_db=6.5), filter_of(gain_db=5.5)
        minute = tone(1000, 60)
        with caplog.at_level(logging.WARNING):
            run(sound_filter, minute)
            assert caplog.text == ""
            for number in range(61):
                run(loud, minute, range(0, len(minute), 2 * SECOND))
                assert len(caplog.records) == (1 if number < 60 else 2)
        assert "kitchen: gain_db 6.5 clips 2" in caplog.text
        assert "% of the sound: set less" in caplog.text

    def test_clipping_now_and_then_is_not(self, caplog: pytest.LogCaptureFixture) -> None:
        sound = np.zeros(60 * SECOND, np.float32)
        sound[:2000] = 0.9
        with caplog.at_level(logging.WARNING):
            clipped = run(filter_of(gain_db=20), sound, range(0, len(sound), 4800))
        assert np.count_nonzero(clipped == 1) == 2000
        assert caplog.text == ""


class TestSet:
    def test_it_goes_on_otherwise_without_a_break(self, caplog: pytest.LogCaptureFixture) -> None:
        sound_filter, sound = filter_of(), tone(50, 3)
        parts = chunks(sound, [SECOND, 2 * SECOND])
        with caplog.at_level(logging.INFO):
            before = sound_filter.apply(parts[0])
            sound_filter.set(SourceSettings(microphone=0, highpass_hz=1000, gain_db=-3))
            middle = sound_filter.apply(parts[1])
            sound_filter.set(SourceSettings(microphone=0))
            after = sound_filter.apply(parts[2])
        assert before is parts[0]
        assert after.samples is parts[2].samples
        assert [each.refiltered for each in (before, middle, after)] == [False, True, True]
        assert middle.anchor_ns is None
        # from its first sample on, as if it had always been so
        always = run(filter_of(highpass_hz=1000, gain_db=-3), sound)
        np.testing.assert_allclose(middle.samples, always[SECOND : 2 * SECOND], atol=1e-6)
        assert [record.getMessage() for record in caplog.records] == [
            "kitchen: the sound is now taken with high-pass 1000 Hz, gain -3 dB",
            "kitchen: the sound is now taken as it comes",
        ]

    def test_the_same_again_changes_nothing(self, caplog: pytest.LogCaptureFixture) -> None:
        keys: dict[str, Any] = {"highpass_hz": 100.0, "lowpass_hz": 5000.0}
        sound_filter, sound = filter_of(**keys), noise(6000)
        whole = run(filter_of(**keys), sound)
        made = []
        with caplog.at_level(logging.INFO):
            for chunk in chunks(sound, [2000, 4000]):
                sound_filter.set(SourceSettings(microphone=0, **keys))
                made.append(sound_filter.apply(chunk).samples)
        np.testing.assert_array_equal(np.concatenate(made), whole)
        assert caplog.text == ""

    def test_before_anything_was_heard(self) -> None:
        sound_filter = filter_of(gain_db=6)
        sound_filter.set(SourceSettings(microphone=0, highpass_hz=500))
        np.testing.assert_array_equal(
            run(sound_filter, noise(3000)), run(filter_of(highpass_hz=500), noise(3000))
        )

    def test_a_chunk_of_nothing(self) -> None:
        empty = AudioChunk(0, np.empty(0, np.float32), 7)
        assert filter_of(highpass_hz=500).apply(empty) is empty


def test_it_says_what_it_does() -> None:
    told = str(filter_of(gain_db=6, highpass_hz=80.5, lowpass_hz=12_000))
    assert told == "high-pass 80.5 Hz, low-pass 12000 Hz, gain +6 dB"
