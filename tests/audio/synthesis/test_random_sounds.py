"""Random sounds: format, variety, and the rhythms and pitches measured from what is heard."""

from __future__ import annotations

import functools
import itertools

import numpy as np
import pytest

from pe_stream.audio.synthesis import SOUNDS
from pe_stream.audio.synthesis.alarms import temporal_three
from pe_stream.audio.synthesis.random_sounds import BACKGROUNDS
from pe_stream.core.types import SAMPLE_RATE, Samples

pytestmark = pytest.mark.heavy

SEEDS = range(25)
HOP = SAMPLE_RATE // 200
LONGEST = 10 * SAMPLE_RATE
"""A sound is filled up to it before a transform: of a length that is a prime it takes ten times."""


@pytest.mark.parametrize("label", SOUNDS)
def test_mono_of_1_to_10_s_with_peak_one(label: str) -> None:
    for seed in SEEDS:
        samples = made(label, seed)
        assert samples.dtype == np.float32
        assert samples.ndim == 1
        assert 1 <= len(samples) / SAMPLE_RATE <= 10
        assert np.isfinite(samples).all()
        assert np.abs(samples).max() == pytest.approx(1, abs=1e-6)


@pytest.mark.parametrize("label", SOUNDS)
def test_same_seed_same_sound_and_another_seed_another(label: str) -> None:
    first, again, other = (SOUNDS[label](np.random.default_rng(seed)) for seed in (7, 7, 8))
    np.testing.assert_array_equal(first, again)
    assert not np.array_equal(first, other)


@pytest.mark.parametrize("label", SOUNDS)
def test_instances_differ_in_pitch_and_length_of_sound(label: str) -> None:
    """Neither the brightness nor the seconds of sound tell one instance from all others."""
    centroids, seconds = [], []
    for seed in SEEDS:
        samples = made(label, seed)
        power = np.abs(np.fft.rfft(samples, LONGEST)) ** 2
        hz = np.fft.rfftfreq(LONGEST, 1 / SAMPLE_RATE)
        centroids.append(float(np.sum(hz * power) / np.sum(power)))
        seconds.append(float(loud(samples).sum()) * HOP / SAMPLE_RATE)
    assert np.std(centroids) > 0.05 * np.mean(centroids)
    assert np.std(seconds) > 0.05 * np.mean(seconds)


@pytest.mark.parametrize("label", BACKGROUNDS)
def test_backgrounds_sound_for_10_s(label: str) -> None:
    centroids = []
    for seed in range(8):
        samples = BACKGROUNDS[label](np.random.default_rng(seed))
        assert samples.dtype == np.float32
        assert samples.shape == (10 * SAMPLE_RATE,)
        assert np.abs(samples).max() == pytest.approx(1, abs=1e-6)
        seconds = samples.reshape(10, -1).astype(float)
        rms = np.sqrt(np.mean(seconds**2, axis=1))
        assert rms.min() > 0.02 * rms.max(), "it never stops"
        power = np.abs(np.fft.rfft(samples)) ** 2
        hz = np.fft.rfftfreq(len(samples), 1 / SAMPLE_RATE)
        centroids.append(float(np.sum(hz * power) / np.sum(power)))
    np.testing.assert_array_equal(samples, BACKGROUNDS[label](np.random.default_rng(7)))
    assert np.std(centroids) > 0.1 * np.mean(centroids)


def test_wind_howls_and_fire_cracks() -> None:
    """What each is there for: tones that wander, as of a siren, and cracks, as of a shot."""
    howls, cracks = 0, 0
    for seed in range(12):
        wind = BACKGROUNDS["wind"](np.random.default_rng(seed)).astype(float)
        power = np.abs(np.fft.rfft(wind.reshape(50, -1) * np.hanning(9600), axis=1)) ** 2
        tonal = power[:, 20:500].max(1) / np.median(power[:, 20:500], axis=1)
        howls += np.median(tonal) > 100
        fire = BACKGROUNDS["crackling fire"](np.random.default_rng(seed)).astype(float)
        level = np.sqrt(np.mean(fire.reshape(-1, HOP) ** 2, axis=1))
        cracks += level.max() > 4 * np.median(level)
    assert howls >= 3
    assert cracks >= 6


@pytest.mark.parametrize("low", [False, True])
def test_smoke_alarm_keeps_the_tolerance_of_iso_8201(*, low: bool) -> None:
    for seed in SEEDS:
        samples = temporal_three(np.random.default_rng(seed), low=low)
        beeps, gaps = rhythm(samples)
        assert len(beeps) >= 3
        # The first may be cut by the start, the last by the 10 s.
        assert all(0.45 <= beep_s <= 0.55 for beep_s in beeps[1:-1])
        assert all(beep_s <= 0.55 for beep_s in beeps)
        assert all(0.45 <= gap_s <= 0.55 or 1.35 <= gap_s <= 1.65 for gap_s in gaps)
        pauses = [n for n, gap_s in enumerate(gaps) if gap_s > 1]
        assert all(later - earlier == 3 for earlier, later in itertools.pairwise(pauses))
        assert pauses or len(beeps) == 3


def test_smoke_alarm_is_a_piezo_horn_or_520_hz() -> None:
    for seed in SEEDS:
        high_hz = lowest_hz(temporal_three(np.random.default_rng(seed)))
        assert 2700 <= high_hz <= 3600
        samples = temporal_three(np.random.default_rng(seed), low=True)
        assert lowest_hz(samples) == pytest.approx(520, rel=0.1)
        assert third_over_second(samples) > 10  # a square wave: odd harmonics only


def test_both_kinds_of_smoke_alarm_come() -> None:
    low = [lowest_hz(made("smoke alarm", seed)) < 1000 for seed in SEEDS]
    assert 2 <= sum(low) <= 12


def test_carbon_monoxide_alarm_is_temporal_four() -> None:
    complete = 0
    for seed in SEEDS:
        samples = made("carbon monoxide alarm", seed)
        beeps, gaps = rhythm(samples)
        assert 2900 * 0.97 <= lowest_hz(samples) <= 3400 * 1.03
        assert all(0.08 <= beep_s <= 0.12 for beep_s in beeps[1:])
        assert all(0.08 <= gap_s <= 0.12 or 4.5 <= gap_s <= 5.5 for gap_s in gaps)
        assert len(gaps[-4:]) < 4 or gaps[-4] > 4  # four beeps end it
        complete += len(beeps) in {4, 8}
    assert complete > len(SEEDS) / 2


@pytest.mark.parametrize("label", ["single beep", "microwave beep"])
def test_a_beep_is_never_an_alarm(label: str) -> None:
    for seed in range(200):
        assert not has_temporal_three(
            *rhythm(SOUNDS[label](np.random.default_rng(seed))), pause_s=0
        )


def test_the_smoke_alarm_itself_has_the_pattern_looked_for() -> None:
    for seed in SEEDS:
        assert has_temporal_three(*rhythm(made("smoke alarm", seed)))


def test_half_of_the_single_beeps_are_one() -> None:
    single = [len(rhythm(made("single beep", seed))[0]) == 1 for seed in SEEDS]
    assert 6 <= sum(single) <= 19


def test_reversing_beeps_are_even() -> None:
    for seed in SEEDS:
        beeps, gaps = rhythm(made("reversing beeps", seed))
        assert len(beeps) >= 4
        assert np.std(gaps) < 0.03
        assert 0.7 <= beeps[0] + gaps[0] <= 1.3


FEW = range(10)


@pytest.mark.parametrize(
    "label", ["low battery chirp", "flute", "kettle whistle", "shoe squeak", "clapping"]
)
def test_what_only_sounds_like_an_alarm_has_not_its_pattern(label: str) -> None:
    assert not any(has_temporal_three(*rhythm(made(label, seed)), pause_s=0) for seed in FEW)


def test_a_low_battery_chirps_once_or_twice_at_the_pitch_of_the_alarm() -> None:
    counts = []
    for seed in FEW:
        samples = made("low battery chirp", seed)
        beeps, _ = rhythm(samples)
        assert max(beeps) <= 0.16
        assert 2650 <= lowest_hz(samples) <= 3550
        counts.append(len(beeps))
    assert set(counts) == {1, 2}
    assert counts.count(1) > counts.count(2)


def test_a_flute_plays_notes_of_a_scale() -> None:
    intervals: list[float] = []
    for seed in FEW:
        samples = made("flute", seed)
        on = np.repeat(loud(samples), HOP)
        steps = np.flatnonzero(np.diff(np.pad(on.astype(int), 1)))
        notes = [
            samples[start:end]
            for start, end in zip(steps[::2], steps[1::2], strict=True)
            if end - start > 0.1 * SAMPLE_RATE
        ]
        pitches = [lowest_hz(note) for note in notes]
        assert all(240 <= hz <= 1100 * 2 ** (17 / 12) for hz in pitches)
        intervals += [12 * abs(np.log2(b / a)) for a, b in itertools.pairwise(pitches)]
    # Vibrato and the width of a short note move what is measured by some cents.
    on_scale = [abs(interval - round(interval)) < 0.3 for interval in intervals]
    assert len(intervals) > 20
    assert np.mean(on_scale) > 0.85
    assert max(intervals) > 1.5


def test_a_kettles_hiss_rises_into_a_tone() -> None:
    for seed in FEW:
        samples = made("kettle whistle", seed)
        first, *_, last = np.array_split(samples, 4)
        assert len(samples) >= 4 * SAMPLE_RATE
        assert np.std(last) > 1.2 * np.std(first)
        assert 1000 < float(np.argmax(spectrum(last))) < 5200
        assert tonal(last) > 0.6
        assert tonal(last) > tonal(first)


def test_shoes_squeak_shortly_and_at_any_time() -> None:
    uneven = []
    for seed in FEW:
        beeps, gaps = rhythm(made("shoe squeak", seed))
        assert max(beeps) < 0.6
        steps = [beep_s + gap_s for beep_s, gap_s in zip(beeps, gaps, strict=False)]
        if len(steps) > 2:
            uneven.append(np.std(steps) / np.mean(steps))
    assert len(uneven) > 3
    assert np.median(uneven) > 0.3


def test_clapping_is_short_bursts_without_a_pitch() -> None:
    for seed in FEW:
        samples = made("clapping", seed)
        beeps, _ = rhythm(samples)
        assert np.median(beeps) < 0.15  # claps of several people overlap
        assert 1 < len(beeps) / (len(samples) / SAMPLE_RATE) < 15
        assert tonal(samples) < 0.45  # a whistle has over 0.6


def tonal(samples: Samples) -> float:
    """The part of the energy that is in the strongest hundredth of the spectrum up to 10 kHz."""
    power = np.sort(spectrum(samples)[:10_000].astype(float) ** 2)
    return float(power[-100:].sum() / power.sum())


@functools.cache
def made(label: str, seed: int) -> Samples:
    return SOUNDS[label](np.random.default_rng(seed))


def loud(samples: Samples) -> np.ndarray[tuple[int], np.dtype[np.bool_]]:
    """For every 5 ms, whether it is within 20 dB of the loudest."""
    frames = samples[: len(samples) // HOP * HOP].astype(float).reshape(-1, HOP)
    rms = np.sqrt(np.mean(frames**2, axis=1))
    return np.asarray(rms > 0.1 * rms.max())


def rhythm(samples: Samples) -> tuple[list[float], list[float]]:
    """Lengths of the beeps and of the gaps between them (s); holes of up to 20 ms are none."""
    on = np.flatnonzero(np.diff(np.pad(loud(samples).astype(int), 1)))
    starts, ends = list(on[::2]), list(on[1::2])
    n = 1
    while n < len(starts):
        if starts[n] - ends[n - 1] <= 4:
            del starts[n], ends[n - 1]
        else:
            n += 1
    step_s = HOP / SAMPLE_RATE
    beeps = [float(end - start) * step_s for start, end in zip(starts, ends, strict=True)]
    gaps = [float(start - end) * step_s for start, end in zip(starts[1:], ends, strict=False)]
    return beeps, gaps


def has_temporal_three(beeps: list[float], gaps: list[float], pause_s: float = 1.0) -> bool:
    """Three beeps of about 0.5 s, about 0.5 s apart, with more than `pause_s` before and after."""

    def half(seconds: float) -> bool:
        return 0.4 <= seconds <= 0.6

    around = [np.inf, *gaps, np.inf]
    return any(
        all(half(beep_s) for beep_s in beeps[n : n + 3])
        and all(half(gap_s) for gap_s in gaps[n : n + 2])
        and around[n] > pause_s
        and around[n + 3] > pause_s
        for n in range(len(beeps) - 2)
    )


def spectrum(samples: Samples) -> Samples:
    """Amplitudes at 1 Hz, 2 Hz and so on."""
    windowed = samples * np.hanning(len(samples))
    power = np.abs(np.fft.rfft(windowed, 10 * SAMPLE_RATE)) ** 2
    return np.asarray(np.sqrt(power[5:-6].reshape(-1, 10).sum(axis=1)), np.float32)


def lowest_hz(samples: Samples) -> float:
    """The lowest pitch within 12 dB of the strongest; the sidebands of a tremor are weaker."""
    amplitudes = spectrum(samples)
    first = int(np.flatnonzero(amplitudes > 0.25 * amplitudes.max())[0])
    return float(1 + first + np.argmax(amplitudes[first : int(1.1 * first)]))


def third_over_second(samples: Samples) -> float:
    """The third harmonic's amplitude as a multiple of the second's."""
    amplitudes, base = spectrum(samples), lowest_hz(samples)
    third, second = (amplitudes[int(n * base * 0.97) : int(n * base * 1.03)].max() for n in (3, 2))
    return float(third / second)
