"""Rhythms in the sound: made tones in noise, with and without the rhythm."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pe_stream.audio.synthesis import in_room, room_response
from pe_stream.config.patterns import RHYTHMS
from pe_stream.core.label_trackers import LabelTrackers
from pe_stream.core.patterns.rhythm import ROWS, RhythmFinder, levels
from pe_stream.core.tracker import Detection
from pe_stream.core.types import (
    FRAME,
    FRAME_S,
    SAMPLE_RATE,
    LabelRule,
    Phase,
    Reason,
    Rhythm,
    Samples,
)

T3, T4 = Rhythm(RHYTHMS["T3"]), Rhythm(RHYTHMS["T4"])


def rule(rhythm: Rhythm, **other: object) -> LabelRule:
    made = LabelRule("alarm", 0.02, 0.016, max_length=5000, update_every=0, pattern=rhythm)
    return LabelRule(**{key: getattr(made, key) for key in made.__slots__} | other)


def beeps(
    beats_s: tuple[float, ...],
    cycles: int,
    hz: float = 3100.0,
    before_s: float = 2.0,
    fall_db: float = 0.0,
) -> Samples:
    """A tone of amplitude 0.1 in that rhythm, and 12 s of silence after it.

    fall_db: by which each beep dies away.
    """
    pieces = [np.zeros(round(before_s * SAMPLE_RATE))]
    for number, beat_s in enumerate(beats_s * cycles):
        seconds = np.arange(round(beat_s * SAMPLE_RATE)) / SAMPLE_RATE
        level = 0.1 * 10 ** (-fall_db * seconds / beat_s / 20) * (number % 2 == 0)
        pieces.append(level * np.sin(2 * np.pi * hz * seconds))
    return np.concatenate([*pieces, np.zeros(12 * SAMPLE_RATE)]).astype(np.float32)


def noisy(samples: Samples, snr_db: float, seed: int = 1) -> Samples:
    """With white noise against the tone while it sounds."""
    noise = np.random.default_rng(seed).standard_normal(len(samples))
    return np.asarray(samples + 0.1 / np.sqrt(2) * 10 ** (-snr_db / 20) * noise, np.float32)


def heard(samples: Samples, of: LabelRule, score: float = 0.5, step: int = 12) -> list[Detection]:
    ensemble, said = LabelTrackers([of]), []
    whole = samples[: len(samples) // FRAME * FRAME]
    for at in range(0, len(whole), step * FRAME):
        part, first = whole[at : at + step * FRAME], at // FRAME
        ensemble.listen(first, part)
        for frame in range(first, first + len(part) // FRAME):
            said += ensemble.step(frame, [score])
    return [each for _, each in said + ensemble.close(None)]


@pytest.mark.parametrize("rhythm", [T3, T4], ids=["T3", "T4"])
@pytest.mark.parametrize("tempo", [0.92, 1.0, 1.08])
@pytest.mark.parametrize("snr_db", [20.0, 0.0])
def test_found_at_any_tempo_in_noise(rhythm: Rhythm, tempo: float, snr_db: float) -> None:
    beats_s = tuple(tempo * beat for beat in rhythm.beats_s)
    start, end = heard(noisy(beeps(beats_s, 3), snr_db), rule(rhythm))
    assert (start.phase, end.phase, end.reason) == (Phase.START, Phase.END, None)
    assert start.onset * FRAME_S == pytest.approx(2.0, abs=0.1)
    assert end.offset * FRAME_S == pytest.approx(2 + 3 * sum(beats_s) - beats_s[-1], abs=0.15)


@pytest.mark.parametrize("hz", [520.0, 1000.0, 3000.0, 4000.0])
def test_found_at_any_pitch(hz: float) -> None:
    assert len(heard(beeps(T3.beats_s, 2, hz), rule(T3))) == 2


@pytest.mark.parametrize(
    "beats_s",
    [
        (0.1, 0.1, 0.1, 0.1, 0.1, 0.1, 0.1, 5.0),
        (0.5, 0.5),
        (0.5, 0.5, 0.5, 1.5),
        (0.5, 0.5, 0.5, 0.5, 0.5, 0.5, 0.5, 1.5),
        (0.5, 0.5, 0.5, 0.5, 0.5, 0.8),
        (0.2, 0.8, 0.2, 0.8, 0.2, 1.8),
        (0.8, 0.2, 0.8, 0.2, 0.8, 1.2),
        (2.5, 1.5),
    ],
    ids=["T4", "regular", "two", "four", "short pause", "short", "long", "no gaps"],
)
def test_what_is_no_t3(beats_s: tuple[float, ...]) -> None:
    assert heard(beeps(beats_s, 5), rule(T3)) == []


@pytest.mark.parametrize(
    "beats_s",
    [
        (0.1,) * 5 + (5.2,),
        (0.1,) * 9 + (5.0,),
        (*(0.1,) * 7, 1.2),
        (*(0.08,) * 7, 0.8),
        (0.25,) * 7 + (5.0,),
        (0.5, 0.5, 0.5, 0.5, 0.5, 1.5),
    ],
    ids=["three", "five", "short pause", "alarm clock", "slow", "T3"],
)
def test_what_is_no_t4(beats_s: tuple[float, ...]) -> None:
    assert heard(beeps(beats_s, 12), rule(T4)) == []


@pytest.mark.parametrize(("rhythm", "fall_db"), [(T3, 40.0), (T4, 60.0)], ids=["T3", "T4"])
def test_what_dies_away_is_no_beep(rhythm: Rhythm, fall_db: float) -> None:
    """As a click does in a room, or a bell."""
    assert heard(noisy(beeps(rhythm.beats_s, 3, fall_db=fall_db), 30.0), rule(rhythm)) == []


def test_cycles_of_another_pitch_are_of_something_else() -> None:
    pieces = [beeps(T3.beats_s, 1, hz, before_s=0.0)[: 4 * SAMPLE_RATE] for hz in (900, 1500)]
    assert heard(np.concatenate(pieces * 4), rule(T3)) == []
    assert len(heard(np.concatenate([*pieces[:1] * 4, *pieces[1:]]), rule(T3))) == 2


def test_what_is_faint_must_come_twice_as_often() -> None:
    """Noise of 14 dB more than the tone: in the tone's band, it is some 8 dB less."""
    once = Rhythm(T3.beats_s, cycles=1)
    assert heard(noisy(beeps(T3.beats_s, 1), -14.0), rule(once)) == []
    assert len(heard(noisy(beeps(T3.beats_s, 2), -14.0), rule(once))) == 2
    assert heard(noisy(beeps(T3.beats_s, 3), -14.0), rule(T3)) == []
    assert len(heard(noisy(beeps(T3.beats_s, 5), -14.0), rule(T3))) == 2


def test_found_though_something_bangs_in_every_gap() -> None:
    sound = noisy(beeps(T3.beats_s, 3), 20.0)
    bang = np.random.default_rng(6).standard_normal(SAMPLE_RATE // 20)
    for onset_s in np.arange(2.7, 14, 1.0):
        at = round(onset_s * SAMPLE_RATE)
        sound[at : at + len(bang)] += bang
    assert len(heard(sound, rule(T3))) == 2


@pytest.mark.parametrize("seed", range(4))
def test_found_in_a_room_that_rings(seed: int) -> None:
    response = room_response(np.random.default_rng(seed), 0.8)
    sound = in_room(beeps(T4.beats_s, 3, 2900.0), response, 0.0)
    assert len(heard(noisy(sound[: 30 * SAMPLE_RATE], 20.0), rule(T4))) == 2


def test_beeps_of_different_loudness_are_none() -> None:
    sound = beeps(T3.beats_s, 3)
    sound[3 * SAMPLE_RATE : round(3.5 * SAMPLE_RATE)] *= 0.1
    noise = noisy(sound, 30.0)[: 8 * SAMPLE_RATE]
    assert heard(noise, rule(Rhythm(T3.beats_s, cycles=1))) == []


def test_knocks_in_the_rhythm_are_no_tone() -> None:
    beats = [np.ones(round(beat * SAMPLE_RATE)) * (n % 2 == 0) for n, beat in enumerate(T4.beats_s)]
    gate = np.concatenate([np.zeros(96_000), *beats, *beats, *beats, np.zeros(480_000)])
    noise = np.random.default_rng(4).standard_normal(len(gate))
    assert heard((0.1 * gate * noise).astype(np.float32), rule(T4)) == []


def test_noise_has_no_rhythm() -> None:
    once = (Rhythm(RHYTHMS["T3"], cycles=1), Rhythm(RHYTHMS["T4"], cycles=1))
    noise = np.random.default_rng(2).standard_normal(60 * SAMPLE_RATE).astype(np.float32)
    assert [heard(0.1 * noise, rule(each)) for each in once] == [[], []]


def test_one_cycle_is_not_enough_unless_it_is_asked_for() -> None:
    assert heard(beeps(T3.beats_s, 1), rule(T3)) == []
    assert len(heard(beeps(T3.beats_s, 1), rule(Rhythm(T3.beats_s, cycles=1)))) == 2


def test_an_alarm_with_which_the_sound_begins() -> None:
    (start, _) = heard(beeps(T3.beats_s, 2, before_s=0.0), rule(T3))
    assert start.onset <= 2


def test_what_is_inaudible_is_silence() -> None:
    assert heard((1e-4 * beeps(T3.beats_s, 3)).astype(np.float32), rule(T3)) == []


def test_a_drowned_cycle_does_not_end_it() -> None:
    sound = beeps(T3.beats_s, 5)
    drowned = slice(14 * SAMPLE_RATE, 15 * SAMPLE_RATE)  # in the fourth
    sound[drowned] = np.random.default_rng(3).standard_normal(SAMPLE_RATE)
    (start, end) = heard(sound, rule(T3))
    assert end.offset * FRAME_S == pytest.approx(2 + 5 * 4 - 1.5, abs=0.2)
    assert start.onset * FRAME_S == pytest.approx(2.0, abs=0.1)


def test_further_cycles_are_updates() -> None:
    said = heard(beeps(T4.beats_s, 4), rule(T4, update_every=25))
    assert [each.phase for each in said] == ["start", "update", "update", "end"]


def test_the_label_must_have_its_threshold() -> None:
    sound = beeps(T3.beats_s, 3)
    assert heard(sound, rule(T3, threshold=0.6, off_threshold=0.5), score=0.5) == []
    start, _ = heard(sound, rule(T3, threshold=0.5, off_threshold=0.4), score=0.5)
    assert (start.peak, start.mean, start.threshold) == (0.5, 0.5, 0.5)


def test_an_event_begins_where_its_scores_are_known() -> None:
    sound, risen = beeps(T3.beats_s, 30), 2400  # frames: 24 cycles that nobody took for an alarm
    ensemble = LabelTrackers([rule(T3)])
    said: list[Detection] = []
    for first in range(0, len(sound) // FRAME, 12):
        ensemble.listen(first, sound[first * FRAME : (first + 12) * FRAME])
        for frame in range(first, min(first + 12, len(sound) // FRAME)):
            said += [each for _, each in ensemble.step(frame, [0.9 if frame > risen else 0.0])]
    start = said[0]
    assert start.phase is Phase.START
    assert risen - 700 < start.onset < risen + 100
    first_onset = heard(sound, rule(T3))[0].onset
    assert (start.onset - first_onset) % 100 in {99, 0, 1}  # with a cycle, of four seconds


def test_max_length_and_cooldown() -> None:
    said = heard(beeps(T3.beats_s, 6), rule(T3, max_length=400, cooldown=2000))
    assert [(each.phase, each.reason) for each in said] == [
        (Phase.START, None),
        (Phase.END, Reason.MAX_LENGTH),
    ]


def test_a_gap_forgets_what_was_heard() -> None:
    sound = beeps(T3.beats_s, 1)
    ensemble = LabelTrackers([rule(Rhythm(T3.beats_s, cycles=1))])
    for part, first in ((sound[: 3 * SAMPLE_RATE], 0), (sound[3 * SAMPLE_RATE :], 75)):
        ensemble.listen(first, part)
        for frame in range(first, first + len(part) // FRAME):
            assert ensemble.step(frame, [0.5]) == []
        assert ensemble.close(Reason.GAP) == []


def test_a_label_that_is_off_does_not_listen() -> None:
    ensemble = LabelTrackers([rule(T3, enabled=False)])
    ensemble.listen(0, beeps(T3.beats_s, 3))
    assert all(ensemble.step(frame, [0.5]) == [] for frame in range(500))


def test_no_event_has_an_onset_before_what_was_said() -> None:
    sound = noisy(beeps(T4.beats_s, 3), 10.0)
    ensemble = LabelTrackers([rule(T4)])
    bounds: list[int] = []
    for frame in range(len(sound) // FRAME):
        ensemble.listen(frame, sound[frame * FRAME : (frame + 1) * FRAME])
        for _, each in ensemble.step(frame, [0.5]):
            if each.phase is Phase.START:
                assert each.onset >= max(bounds[each.onset + 1 :])
        onset = ensemble.onset
        assert onset is not None
        bounds.append(onset)
    assert bounds == sorted(bounds)


SLOW = tuple(1.1 * beat for beat in T3.beats_s)
PIECES = noisy(np.concatenate([beeps(T4.beats_s, 2), beeps(SLOW, 3)]), 3.0)
CYCLES = {each: RhythmFinder(each, 0).hear(levels(PIECES)) for each in (T3, T4)}


@settings(max_examples=20, deadline=None)
@given(st.sampled_from([T3, T4]), st.lists(st.integers(0, len(PIECES) // FRAME), max_size=30))
def test_cycles_are_the_same_in_any_pieces(rhythm: Rhythm, cuts: list[int]) -> None:
    finder, told = RhythmFinder(rhythm, 0), []
    edges = [0, *sorted(cuts), len(PIECES) // FRAME]
    for start, stop in pairwise(edges):
        told += finder.hear(levels(PIECES[start * FRAME : stop * FRAME]))
    assert len(told) >= 2
    assert told == CYCLES[rhythm]


def test_levels_are_those_of_a_tone() -> None:
    tone = np.sin(2 * np.pi * 1000 * np.arange(FRAME) / SAMPLE_RATE).astype(np.float32)
    rows = levels(tone)
    assert len(rows) == ROWS
    assert rows.max(axis=1).tolist() == [0, 0]
    assert levels(np.zeros(FRAME, np.float32)).tolist() == [[-900] * rows.shape[1]] * ROWS
