"""Mixtures as audio: what is in them, when, how loud; the same for the same seed and number."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from sounds import noise, write_float_wav

from pe_stream.core.types import FRAME, SAMPLE_RATE, Samples
from pe_stream.workbench.manifest import Clip
from pe_stream.workbench.training import composer as module
from pe_stream.workbench.training import placement
from pe_stream.workbench.training.composer import LEVEL_DBFS, Composer, Filterbank
from pe_stream.workbench.training.frontend import CHANNELS, HOP, centres_hz
from pe_stream.workbench.training.mixture import FRAMES, MOST_SOUNDS, STEPS, Mixture, Part, bridged
from pe_stream.workbench.training.placement import Placed
from pe_stream.workbench.training.recordings import DecodedClips, decode

COUNT = FRAMES * FRAME
LOW_HZ, HIGH_HZ = 300.0, 3000.0


def sine(hz: float, seconds: float) -> Samples:
    times = np.arange(round(seconds * SAMPLE_RATE)) / SAMPLE_RATE
    return (0.5 * np.sin(2 * np.pi * hz * times)).astype(np.float32)


def burst(hz: float) -> Samples:
    """1 s of silence, 1 s of a tone, 1 s of silence."""
    quiet = np.zeros(SAMPLE_RATE, np.float32)
    return np.concatenate([quiet, sine(hz, 1.0), quiet])


def beep(rng: np.random.Generator) -> Samples:
    return np.pad(sine(1500 * rng.uniform(0.9, 1.1), 0.5), (0, SAMPLE_RATE // 2))


def hum(rng: np.random.Generator) -> Samples:
    return sine(100 * rng.uniform(0.9, 1.1), 10)


SOUNDS = dict.fromkeys(("smoke alarm", "carbon monoxide alarm", "single beep"), beep)
BACKGROUNDS = {"wind": hum}


@pytest.fixture(scope="module", autouse=True)
def few_sounds() -> Iterator[None]:
    """Formulas that cost nothing."""
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(module, "SOUNDS", SOUNDS)
        patched.setattr(module, "BACKGROUNDS", BACKGROUNDS)
        patched.setattr(module, "_FORMULAS", {**SOUNDS, **BACKGROUNDS})
        yield


@pytest.fixture(scope="module")
def recordings(tmp_path_factory: pytest.TempPathFactory) -> DecodedClips:
    """Two tones, people who speak and rain; none of them silent where it sounds."""
    folder = tmp_path_factory.mktemp("clips")
    clips = []
    made = {
        "low": burst(LOW_HZ),
        "high": burst(HIGH_HZ),
        "speech": noise((0.3, 0.1), (0.6, 0.0), (0.3, 0.1)),
        "rain": noise((4.0, 0.1)),
    }
    for label, samples in made.items():
        path = write_float_wav(folder / f"{label}.wav", samples)
        clips.append(Clip(path=path, key=path.name, label=label))
    return decode(clips, folder / "decoded", lambda _: None)


@pytest.fixture(scope="module")
def composer(recordings: DecodedClips) -> Composer:
    return Composer(recordings, seed=3)


@pytest.fixture(scope="module")
def mixtures(composer: Composer) -> list[Mixture]:
    return [composer.mixture(number) for number in range(50)]


@pytest.fixture(scope="module")
def filterbank() -> Filterbank:
    return Filterbank()


def band(mixture: Mixture, hz: float) -> NDArray[np.float64]:
    """Energy in the band of a frequency, by frame."""
    at = int(np.abs(centres_hz() - hz).argmin())
    waves = mixture.outputs[2 * at : 2 * at + 2].double()
    return np.asarray(waves.square().reshape(2, FRAMES, STEPS).sum((0, 2)).numpy())


def test_a_mixture_has_the_shapes_it_promises(mixtures: list[Mixture]) -> None:
    for mixture in mixtures:
        assert mixture.samples.shape == (COUNT,)
        assert mixture.samples.dtype == np.float32
        assert mixture.outputs.shape == (CHANNELS, STEPS * FRAMES)
        assert torch.isfinite(mixture.outputs).all()
        assert len(mixture.parts) <= MOST_SOUNDS
        for part in mixture.parts:
            assert part.sounding.shape == part.heard.shape == (FRAMES,)
            assert not (part.heard & ~part.sounding).any()
            assert part.label
        assert not mixture.single or len(mixture.parts) == 1
    assert {mixture.single for mixture in mixtures} == {True, False}
    assert max(len(mixture.parts) for mixture in mixtures) > 2


def test_its_level_is_the_one_asked_for_if_its_peaks_allow(mixtures: list[Mixture]) -> None:
    for mixture in mixtures:
        level = 10 * np.log10(np.mean(np.square(mixture.samples, dtype=np.float64)))
        assert level == pytest.approx(LEVEL_DBFS, abs=0.1) or np.abs(mixture.samples).max() > 0.94
        assert np.abs(mixture.samples).max() < 0.96


def test_its_outputs_are_the_filterbanks_of_its_audio(
    mixtures: list[Mixture], filterbank: Filterbank
) -> None:
    for mixture in mixtures[:6]:
        error = (filterbank(mixture.samples) - mixture.outputs).abs().max()
        assert error < 1e-5 * mixture.outputs.abs().max() + 1e-6


def test_the_filterbank_of_a_sum_is_the_sum_of_the_filterbanks(filterbank: Filterbank) -> None:
    one, two = noise((0.4, 0.1)), sine(LOW_HZ, 0.4)
    both = filterbank(one + two)
    assert both.shape == (CHANNELS, len(one) // HOP)
    assert torch.allclose(both, filterbank(one) + filterbank(two), atol=1e-5)


def test_a_click_comes_out_of_the_filterbank_where_it_is(filterbank: Filterbank) -> None:
    samples = np.zeros(SAMPLE_RATE, np.float32)
    samples[50 * HOP] = 1.0
    energy = filterbank(samples).square().sum(0)
    assert abs(int(energy.argmax()) - 50) <= 1
    assert float(energy[:47].max()) < 1e-9 * float(energy.max())
    assert float(energy[53:].max()) < 1e-9 * float(energy.max())


def test_the_same_seed_and_number_make_the_same_mixture(
    recordings: DecodedClips, composer: Composer, mixtures: list[Mixture]
) -> None:
    again = Composer(recordings, seed=3).mixture(7)
    np.testing.assert_array_equal(again.samples, mixtures[7].samples)
    assert torch.equal(again.outputs, mixtures[7].outputs)
    assert [part.label for part in again.parts] == [part.label for part in mixtures[7].parts]
    for ours, theirs in zip(again.parts, mixtures[7].parts, strict=True):
        np.testing.assert_array_equal(ours.heard, theirs.heard)
    other = Composer(recordings, seed=4).mixture(7)
    assert not np.array_equal(other.samples, mixtures[7].samples)
    assert not np.array_equal(mixtures[8].samples, mixtures[7].samples)


def test_a_tone_is_where_its_frames_say(composer: Composer) -> None:
    """Placed without a room and at any speed: the frames marked have its energy, others none."""
    rng = np.random.default_rng(0)
    for hz in (LOW_HZ, HIGH_HZ):
        for _ in range(4):
            samples, spans = placement.at_other_speed(
                rng, burst(hz), [(SAMPLE_RATE, 2 * SAMPLE_RATE)]
            )
            placed = placement.place(rng, "tone", samples, spans, None)
            energy = np.square(placed.samples, dtype=np.float64).reshape(FRAMES, FRAME).mean(1)
            # The tone has 0.125; of a frame that it fills in half, either is right.
            clear = np.abs(energy - 0.0625) > 0.03
            np.testing.assert_array_equal((energy > 0.0625)[clear], placed.sounding[clear])
            assert clear.sum() >= FRAMES - 2


def test_single_sounds_are_heard_where_they_stand_out(mixtures: list[Mixture]) -> None:
    seen = 0
    for mixture in mixtures:
        for part in mixture.parts:
            if not mixture.single or part.label not in {"low", "high"}:
                continue
            if part.heard.sum() < 5 or (~part.sounding).sum() < 25:
                continue
            hz = LOW_HZ if part.label == "low" else HIGH_HZ
            energy = np.stack([band(mixture, hz * 2**octave) for octave in (-0.3, 0, 0.3)]).sum(0)
            assert np.median(energy[part.heard]) > 30 * np.median(energy[~part.sounding])
            seen += 1
    assert seen >= 2


def placed(label: str, samples: Samples, first: int, last: int) -> Placed:
    """Samples in frames first..last of a mixture; 0 elsewhere."""
    sounding = np.zeros(FRAMES, bool)
    sounding[first:last] = True
    return Placed(label, samples[:COUNT] * np.repeat(sounding, FRAME), sounding)


def mixed(composer: Composer, *parts: Placed) -> dict[str, Part]:
    mixture = composer._mixed(np.random.default_rng(0), parts, single=False)
    return {part.label: part for part in mixture.parts}


def test_a_sound_under_a_louder_one_is_there_and_not_heard(composer: Composer) -> None:
    loud = placed("loud", sine(LOW_HZ, 10), 100, 250)
    soft = placed("soft", 0.05 * sine(LOW_HZ, 10), 50, 200)
    parts = mixed(composer, loud, soft)
    assert parts["soft"].sounding.tolist() == soft.sounding.tolist()
    assert parts["soft"].heard[52:98].all()
    assert not parts["soft"].heard[102:].any()
    assert parts["loud"].heard[102:248].all()


def test_in_another_band_it_is_heard_all_the_same(composer: Composer) -> None:
    loud = placed("loud", sine(LOW_HZ, 10), 0, 250)
    soft = placed("soft", 0.05 * sine(HIGH_HZ, 10), 50, 200)
    parts = mixed(composer, loud, soft)
    assert parts["soft"].heard[52:198].all()
    assert parts["loud"].heard[2:248].all()


def test_what_is_far_below_its_loudest_frame_is_not_heard_of_a_sound(composer: Composer) -> None:
    fading = placed("fading", sine(LOW_HZ, 10), 0, 250)
    quiet = fading.samples.copy()
    quiet[125 * FRAME :] *= 10 ** (-35 / 20)
    parts = mixed(composer, Placed("fading", quiet, fading.sounding))
    assert parts["fading"].heard[2:123].all()
    assert not parts["fading"].heard[127:].any()


def test_the_microphones_noise_hides_what_is_softer(
    composer: Composer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "_NOISE_DBFS", (-20.0, -20.0))
    monkeypatch.setattr(module, "LEVEL_DBFS", -60.0)
    assert not mixed(composer, placed("soft", sine(LOW_HZ, 10), 0, 250))["soft"].heard.any()


def test_backgrounds_without_a_label_are_no_part(composer: Composer) -> None:
    room = Placed("", noise((10.0, 0.1)), np.zeros(FRAMES, bool))
    assert set(mixed(composer, room, placed("low", sine(LOW_HZ, 10), 0, 9))) == {"low"}


@pytest.mark.parametrize("ratio_db", [-12.0, 0.0, 20.0])
def test_a_sound_is_set_against_a_power_by_its_own_while_it_sounds(ratio_db: float) -> None:
    event = placement.against(placed("low", sine(LOW_HZ, 10), 10, 20), 0.01, ratio_db)
    own = np.mean(np.square(event.samples[10 * FRAME : 20 * FRAME], dtype=np.float64))
    assert 10 * np.log10(own / 0.01) == pytest.approx(ratio_db, abs=0.01)


def test_what_fell_outside_of_the_mixture_is_not_made_loud() -> None:
    """The sound is before its start; of what is left, quiet noise, nothing is made."""
    outside = Placed("low", noise((10.0, 1e-4)), np.zeros(FRAMES, bool))
    assert not placement.against(outside, 0.01, 20.0).samples.any()


def test_scenes_have_the_ratios_asked_for(
    composer: Composer, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[tuple[float, float]] = []
    against = placement.against

    def noted(part: Placed, power: float, ratio_db: float) -> Placed:
        asked.append((power, ratio_db))
        return against(part, power, ratio_db)

    monkeypatch.setattr(placement, "against", noted)
    ratios: dict[str, list[float]] = {"scene": [], "alarm": []}
    for kind, make in (("scene", composer._scene), ("alarm", composer._alarm_scene)):
        for seed in range(12):
            asked.clear()
            background, *events = make(np.random.default_rng(seed), None)
            where = np.repeat(background.sounding, FRAME)
            if kind == "scene" or not where.any():
                where[:] = True
            power = np.mean(np.square(background.samples[where], dtype=np.float64))
            assert len(events) == len(asked)
            for own, ratio_db in asked:
                assert own == pytest.approx(power, rel=1e-6)
                ratios[kind].append(ratio_db)
            assert all(x.label in SOUNDS for x in events) or kind == "scene"
            assert kind == "scene" or background.label == "speech"
    assert -8 <= min(ratios["scene"]) < 0
    assert 15 < max(ratios["scene"]) <= 25
    assert -12 <= min(ratios["alarm"]) < -5
    assert 5 < max(ratios["alarm"]) <= 15


def test_people_speak_with_pauses_for_the_whole_mixture(composer: Composer) -> None:
    said = composer._talk(np.random.default_rng(1), "speech", None)
    energy = np.square(said.samples, dtype=np.float64).reshape(FRAMES, FRAME).mean(1)
    loud = energy > 0.5  # of 1 on average
    assert (loud != said.sounding).mean() < 0.08
    assert said.sounding[-50:].any()
    assert not said.sounding.all()


def test_backgrounds_are_what_sounds_throughout(composer: Composer) -> None:
    assert composer._texture_labels == ["rain"]
    labels = {composer._background(np.random.default_rng(seed)).label for seed in range(30)}
    assert labels == {"", "rain", "speech", *BACKGROUNDS}
    rain = next(
        background
        for background in (composer._background(np.random.default_rng(s)) for s in range(30))
        if background.label == "rain"
    )
    level = np.square(rain.samples, dtype=np.float64).reshape(FRAMES, FRAME).mean(1)
    assert rain.sounding.all()
    assert level.max() / level.min() < 2  # no seams where it is repeated


def test_of_a_long_clip_a_stretch_is_taken_that_sounds(composer: Composer) -> None:
    """One beep in 60 s."""
    samples = np.zeros(60 * SAMPLE_RATE, np.float32)
    samples[55 * SAMPLE_RATE : 56 * SAMPLE_RATE] = sine(LOW_HZ, 1.0)

    class One:
        def read(self, recording: object) -> Samples:
            return samples

    from pe_stream.workbench.training.recordings import DecodedClip

    span = (55 * SAMPLE_RATE, 56 * SAMPLE_RATE)
    alone = Composer.__new__(Composer)
    alone._recordings = One()  # type: ignore[assignment]
    alone._by_label = {"low": [DecodedClip("low", 0, len(samples), (span,))]}
    for seed in range(12):
        taken, spans = alone._recorded(np.random.default_rng(seed), "low", COUNT)
        assert len(taken) <= COUNT
        assert spans
        for start, end in spans:
            assert 0 <= start < end <= len(taken)
            inside = np.square(taken[start:end], dtype=np.float64).mean()
            assert inside == pytest.approx(0.125, rel=0.05)


def test_all_concepts_come_about_equally_often(recordings: DecodedClips) -> None:
    """Two labels of one concept share what a third has alone; formulas count as some clips."""
    alone = Composer(recordings, 0)
    assert alone.labels == tuple(sorted({"low", "high", "speech", "rain", *SOUNDS, *BACKGROUNDS}))
    assert alone._shares.sum() == pytest.approx(1)
    together = Composer(recordings, 0, {"low": "tone", "high": "tone"})
    share = dict(zip(together.labels, together._shares, strict=True))
    assert share["low"] == pytest.approx(share["high"])
    assert share["low"] + share["high"] == pytest.approx(share["rain"] * 2**0.6)
    assert share["single beep"] == pytest.approx(share["rain"] * 12**0.6)


def test_pauses_belong_to_the_event() -> None:
    def slow(heard: NDArray[np.bool_], pause: int) -> list[bool]:
        filled: list[bool] = heard.tolist()
        for start in range(len(filled)):
            for end in range(start + 2, len(filled)):
                between = range(start + 1, end)
                if heard[start] and heard[end] and len(between) <= pause:
                    for frame in between:
                        filled[frame] = True
        return filled

    rng = np.random.default_rng(0)
    for _ in range(40):
        heard = rng.random(40) < rng.choice([0.02, 0.1, 0.5])
        pause = int(rng.integers(0, 12))
        before = heard.copy()
        assert bridged(heard, pause).tolist() == slow(heard, pause)
        np.testing.assert_array_equal(heard, before)
    assert not bridged(np.zeros(8, bool), 3).any()


def test_without_recordings_there_are_still_made_sounds(tmp_path: Path) -> None:
    (tmp_path / "recordings.json").write_text("[]", "utf-8")
    (tmp_path / "samples.f16").write_bytes(b"\0\0")
    bare = Composer(DecodedClips(tmp_path), 0)
    labels = {part.label for number in range(12) for part in bare.mixture(number).parts}
    assert labels <= {*SOUNDS, *BACKGROUNDS}
    assert labels
