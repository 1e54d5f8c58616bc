"""What another model makes of mixtures: made once, the same for a seed, one scale for all."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from sounds import write_float_wav

from pe_stream.core.types import Samples
from pe_stream.evaluation.yamnet import WINDOW
from pe_stream.manifest import Clip
from pe_stream.training.bank import Renderer
from pe_stream.training.opinions import SECTION, SECTIONS, Listener, Opinions, kept


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
