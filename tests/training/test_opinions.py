"""What another model makes of mixtures: made once, the same for a seed, one scale for all."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from sounds import write_float_wav

from pe_stream.core.types import Samples
from pe_stream.evaluation.yamnet import WINDOW
from pe_stream.manifest import Clip
from pe_stream.training import encoder
from pe_stream.training.bank import Renderer
from pe_stream.training.mixtures import Mixer
from pe_stream.training.opinions import SECTION, SECTIONS, Listener, Opinions, kept
from pe_stream.training.pipeline import Recipe, Trainer


def loudness(samples: Samples) -> NDArray[np.float32]:
    """A model of two classes: loud and soft."""
    assert samples.shape == (WINDOW,)
    level = float(np.clip(np.sqrt(np.mean(np.square(samples))) * 4, 0, 1))
    return np.array([level, 1 - level], np.float32)


@pytest.fixture(scope="module")
def listener(tmp_path_factory: pytest.TempPathFactory) -> Listener:
    path = tmp_path_factory.mktemp("clips") / "noise.wav"
    rng = np.random.default_rng(0)
    write_float_wav(path, rng.normal(0, 0.1, 96_000).astype(np.float32))
    clip = Clip(path=path, key="noise.wav", label="noise")
    return Listener([clip], loudness, Renderer(1, 0))


@pytest.fixture(scope="module")
def opinions(listener: Listener) -> Opinions:
    return listener.collect(12, 3, lambda _: None)


def test_opinions_are_of_one_scale(opinions: Opinions) -> None:
    frames = SECTIONS * SECTION
    assert opinions.outputs.shape == (12, 96, 4 * frames)
    assert opinions.logits.shape == (12, SECTIONS, 2)
    assert opinions.classes == 2
    flat = opinions.logits.float().flatten(0, 1)
    assert flat.mean(0).abs().max() < 0.01
    assert (flat.std(0, correction=0) - 1).abs().max() < 0.01


def test_an_opinion_is_of_its_own_section(opinions: Opinions) -> None:
    """The louder a section's outputs, the louder the model says it is."""
    energy = opinions.outputs.float().square().sum(1).unflatten(1, (SECTIONS, -1)).mean(2)
    said = opinions.logits[..., 0].float().flatten()
    both = torch.stack([energy.flatten().log(), said])
    assert torch.corrcoef(both)[0, 1] > 0.8


def test_the_same_seed_makes_the_same(listener: Listener, opinions: Opinions) -> None:
    again = listener.collect(2, 3, lambda _: None)
    assert torch.equal(again.outputs, opinions.outputs[:2])
    other = listener.collect(2, 4, lambda _: None)
    assert not torch.equal(other.outputs, again.outputs)


def test_batches_are_drawn_at_other_levels(opinions: Opinions) -> None:
    outputs, logits = opinions.batch(5, 3, 0)
    assert outputs.shape == (3, *opinions.outputs.shape[1:])
    assert logits.shape == (3, SECTIONS, 2)
    again = opinions.batch(5, 3, 0)
    assert torch.equal(outputs, again[0])
    assert not torch.equal(outputs, opinions.batch(6, 3, 0)[0])
    ratios = outputs.square().mean((1, 2)).sqrt()
    peaks = opinions.outputs.float().square().mean((1, 2)).sqrt()
    assert not torch.isclose(ratios[:, None], peaks[None], rtol=1e-4).any()


def test_they_are_made_once(opinions: Opinions, tmp_path: Path) -> None:
    path = tmp_path / "opinions.pt"
    first = kept(path, lambda: opinions)

    def never() -> Opinions:
        raise AssertionError

    second = kept(path, never)
    assert torch.equal(first.outputs, second.outputs)
    assert torch.equal(first.logits, opinions.logits)


def test_disagreement_is_that_of_the_sections_means() -> None:
    wanted = torch.randn(2, SECTIONS, 5, generator=torch.Generator().manual_seed(0))
    ripple = torch.randn(2, SECTIONS, SECTION, 5, generator=torch.Generator().manual_seed(1))
    ripple -= ripple.mean(2, keepdim=True)
    frames = (wanted[:, :, None] + ripple).flatten(1, 2)
    assert float(encoder.disagreement(frames, wanted)) == pytest.approx(0, abs=1e-6)
    swapped = wanted.flip(1)
    expected = encoder.TAUGHT * float((wanted - swapped).square().mean())
    assert float(encoder.disagreement(frames, swapped)) == pytest.approx(expected, rel=1e-4)


@pytest.mark.timeout(300)
def test_the_encoder_learns_from_opinions(opinions: Opinions, tmp_path: Path) -> None:
    """With opinions besides, a step goes elsewhere; the heads that learn them are kept."""
    recipe = Recipe(corpus=10, text_steps=1, readout_steps=1, ideal_steps=1, joint_steps=1)
    begun = Trainer(recipe, tmp_path / "begun", torch.device("cpu"))
    begun.text_tower()
    index = next(i for i, concept in enumerate(begun.concepts) if concept.labels)
    tone = np.sin(np.arange(96_000) * 0.1).astype(np.float32) * 0.3
    mixer = Mixer([Renderer(1, 0).sound(tone, index, "tone")], begun.concepts, 0)
    begun.read_out(mixer)
    made = {}
    for name, heard in (("with", opinions), ("without", None)):
        shutil.copytree(tmp_path / "begun", tmp_path / name)
        trainer = Trainer(recipe, tmp_path / name, torch.device("cpu"))
        tokenizer = trainer.text_tower()
        trainer.read_out(mixer)
        trainer.encoder(mixer, tokenizer, heard)
        assert trainer.finished()
        assert (tmp_path / name / "work" / "heads.pt").is_file()
        made[name] = trainer.model.audio_encoder.output.weight
    assert not torch.equal(made["with"], made["without"])
