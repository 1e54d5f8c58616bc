"""Mixtures: who is heard when, at what level; the same for the same seed."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from pe_stream.core.types import SAMPLE_RATE, Samples
from pe_stream.training.bank import Renderer, Sound, Taught, Teacher, Variant
from pe_stream.training.concepts import Concept
from pe_stream.training.mixtures import Batch, Mixer, bridged

CONCEPTS = [
    Concept("low", "a low tone", ("a low tone",), ("low",)),
    Concept("high", "a high tone", ("a high tone",), ("high",), ("Beep",)),
    Concept("other", "something else", ("something else",), (), ("Noise",)),
    Concept("unheard", "nobody knows", ("nobody knows",)),
]


def burst(hz: float, before_s: float = 1.0, for_s: float = 1.0, after_s: float = 1.0) -> Samples:
    times = np.arange(round(for_s * SAMPLE_RATE)) / SAMPLE_RATE
    quiet = [np.zeros(round(s * SAMPLE_RATE)) for s in (before_s, after_s)]
    samples = np.concatenate([quiet[0], 0.5 * np.sin(2 * np.pi * hz * times), quiet[1]])
    return samples.astype(np.float32)


@pytest.fixture(scope="module")
def renderer() -> Renderer:
    return Renderer(3, 0)


@pytest.fixture(scope="module")
def sounds(renderer: Renderer) -> list[Sound]:
    return [
        renderer.sound(burst(300), 0, "low"),
        renderer.sound(burst(3000), 1, "high"),
    ]


def test_a_sound_is_active_where_it_sounds(sounds: list[Sound]) -> None:
    active = sounds[0].variants[0].active
    assert active.nonzero().flatten().tolist() == list(range(25, 50))


def test_variants_are_of_other_speed_and_energy_1(sounds: list[Sound]) -> None:
    lengths = {len(variant.active) for variant in sounds[0].variants}
    assert len(lengths) == 3
    for variant in sounds[0].variants:
        sounding = variant.outputs[:, variant.active.repeat_interleave(4)].float()
        assert float(sounding.square().sum(0).mean()) == pytest.approx(1, rel=0.01)


def test_the_speed_moves_the_pitch() -> None:
    sound = Renderer(9, 0).sound(burst(1000), 0, "x")
    plain = sound.variants[0]
    other = max(sound.variants[1:], key=lambda v: abs(len(v.active) - len(plain.active)))
    speed = len(plain.active) / len(other.active)
    bands = [
        int(variant.outputs.float().square().reshape(48, 2, -1).sum((1, 2)).argmax())
        for variant in (plain, other)
    ]
    assert abs(speed - 1) > 0.05
    assert (speed > 1) == (bands[1] > bands[0])


def test_silence_makes_no_sound(renderer: Renderer) -> None:
    assert renderer.sound(np.zeros(48_000, np.float32), 0, "z").variants == ()


def batches(sounds: list[Sound], count: int, seed: int = 0) -> list[Batch]:
    mixer = Mixer(sounds, CONCEPTS, seed)
    return [mixer.batch(number) for number in range(count)]


def test_batches_have_the_shapes_they_promise(sounds: list[Sound]) -> None:
    for batch in batches(sounds, 4):
        examples, frames, concepts = batch.target.shape
        assert concepts == 4
        assert examples * frames == 1000
        assert batch.outputs.shape == (examples, 96, 4 * frames)
        assert batch.weight.shape == batch.target.shape
        assert batch.sounding.shape == (examples, frames)
        assert torch.isfinite(batch.outputs).all()


def test_the_same_seed_and_number_make_the_same_batch(sounds: list[Sound]) -> None:
    one, two = Mixer(sounds, CONCEPTS, 5).batch(3), Mixer(sounds, CONCEPTS, 5).batch(3)
    assert torch.equal(one.outputs, two.outputs)
    assert torch.equal(one.target, two.target)
    other = Mixer(sounds, CONCEPTS, 6).batch(3)
    assert one.outputs.shape != other.outputs.shape or not torch.equal(one.outputs, other.outputs)


def test_frames_that_count_as_a_sound_have_its_energy(sounds: list[Sound]) -> None:
    """In single examples, the band of the tone is louder in the frames marked than elsewhere."""
    stands_out = []
    for batch in batches(sounds, 6):
        energy = batch.outputs.square().reshape(len(batch.outputs), 48, 2, -1, 4).sum((2, 4))
        for i, concept in enumerate(batch.single.tolist()):
            sounding = batch.sounding[i]
            if concept < 0 or not 10 < sounding.sum() < len(sounding) - 10:
                continue
            band = energy[i][:, sounding].mean(1).argmax()
            inside, outside = energy[i, band, sounding], energy[i, band, ~sounding]
            stands_out.append(bool(inside.median() > 10 * outside.median()))
            assert torch.equal(batch.target[i, :, concept] == 1, bridged(sounding))
    # Not where the microphone is deaf in the tone's band.
    assert len(stands_out) > 5
    assert np.mean(stands_out) > 0.8


def test_what_nobody_knows_has_no_weight(sounds: list[Sound]) -> None:
    for batch in batches(sounds, 3):
        assert float(batch.weight[..., 3].max()) == 0
        assert float(batch.weight[..., 0].max()) == 1


def test_a_sound_hidden_by_another_is_neither_there_nor_not() -> None:
    """Two sounds of one spectrum, one of them 40 dB softer: no target, no weight."""
    outputs = torch.zeros(96, 400)
    outputs[20] = 1.0
    always = Variant(outputs.half(), torch.ones(100, dtype=torch.bool), torch.arange(100) / 25)
    loud, soft = Sound(0, (always,)), Sound(1, (always,))
    hidden = 0
    for batch in batches([loud, soft], 5):
        both = (batch.target[..., 0] == 1) & (batch.single[:, None] < 0)
        unsure = both & (batch.target[..., 1] == 0) & (batch.weight[..., 1] == 0)
        hidden += int(unsure.sum())
    assert hidden > 0


def test_the_teacher_is_read_by_window(tmp_path: Path) -> None:
    path = tmp_path / "teacher.npz"
    logits = np.full((5, 2), -20.0, np.float16)
    logits[2, 0] = 20.0  # 1.0 s to 2.0 s
    arrays: Any = {"a.wav": logits}
    np.savez(path, **arrays)
    teacher = Teacher([path], ["Beep", "Noise"], CONCEPTS)
    taught = teacher("a.wav")
    assert taught is not None
    windows = taught.windows(torch.tensor([0.1, 1.5, 3.0, 99.0]))
    assert taught.scores[windows, 1].round().tolist() == [0, 1, 0, 0]
    assert taught.scores[:, 0].isnan().all()
    assert teacher("b.wav") is None


def test_single_sounds_carry_what_the_teacher_makes_of_them(sounds: list[Sound]) -> None:
    """Classes are brought to one scale; what it did not hear stays unknown."""
    logits = torch.tensor([[-5.0, 1.0], [-6.0, 2.0], [-7.0, 3.0], [-8.0, 4.0]])
    taught = Taught(logits, torch.full((4, 4), float("nan")))
    heard = [replace(sounds[0], taught=taught), sounds[1]]
    seen = set()
    for batch in batches(heard, 6):
        assert batch.taught.shape == (len(batch.single), 2)
        for concept, row, sounding in zip(batch.single, batch.taught, batch.sounding, strict=True):
            if concept != 0 or not sounding.any():
                assert row.isnan().all()
                continue
            # Standardised, and opposite.
            assert abs(float(row[0] + row[1])) < 1e-5
            assert abs(float(row[0])) < 1.35
            seen.add(round(float(row[0]), 2))
    assert len(seen) > 1


def test_placed_sounds_move_by_bands_and_in_speed(sounds: list[Sound]) -> None:
    """The tone of 300 Hz is found in several bands, and shorter and longer than it was."""
    mixer = Mixer([sounds[0]], CONCEPTS, 0)
    bands, lengths = set(), set()
    for number in range(6):
        batch = mixer.batch(number)
        energy = batch.outputs.square().reshape(len(batch.outputs), 48, 2, -1, 4).sum((2, 4))
        for i, sounding in enumerate(batch.sounding):
            if batch.single[i] == 0 and sounding.sum() > 5:
                bands.add(int(energy[i][:, sounding].mean(1).argmax()))
                lengths.add(int(sounding.sum()))
    assert len(bands) >= 5
    assert min(lengths) < 20
    assert max(lengths) > 30


def test_pauses_belong_to_the_event() -> None:
    heard = torch.zeros(40, dtype=torch.bool)
    heard[[5, 6, 10, 20]] = True
    assert bridged(heard, 3).nonzero().flatten().tolist() == [5, 6, 7, 8, 9, 10, 20]
    assert bridged(heard, 9).nonzero().flatten().tolist() == list(range(5, 21))
    assert not bridged(torch.zeros(8, dtype=torch.bool), 3).any()
