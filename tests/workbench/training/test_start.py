"""Training that goes on from another checkpoint's encoder."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor
from transformers import PeAudioFrameLevelModel

from pe_stream.assets import EMBEDDED
from pe_stream.errors import UnavailableError
from pe_stream.workbench.training import encoder, shape, text
from pe_stream.workbench.training.export import save
from pe_stream.workbench.training.frontend import BANDS, RATIOS
from pe_stream.workbench.training.learned import Words
from pe_stream.workbench.training.start import Start
from pe_stream.workbench.training.wordings import Head, Wordings


def test_the_frames_are_those_of_the_checkpoint() -> None:
    features = torch.randn(2, 40, BANDS * RATIOS[-1], generator=torch.Generator().manual_seed(0))
    theirs = PeAudioFrameLevelModel.from_pretrained(EMBEDDED, dtype=torch.float32)
    model = shape.new_model(0)
    with torch.no_grad():
        wanted = encoder.hear(theirs, features)
        assert not torch.allclose(encoder.hear(model, features), wanted, atol=0.1)
        Start("embedded").begin(model)
        torch.testing.assert_close(encoder.hear(model, features), wanted, atol=1e-4, rtol=1e-3)


def test_what_is_new_can_learn() -> None:
    model = shape.new_model(0)
    Start("embedded").begin(model)
    features = torch.randn(1, 20, BANDS * RATIOS[-1])
    encoder.hear(model, features).square().sum().backward()
    last = model.audio_encoder.layers[-1]
    assert all(part.weight.grad.any() for part in (last.mlp.down_proj, last.self_attn.o_proj))


TEXTS = ("a dog barking", "dog bark", "a car horn", "glass breaking", "rain on a window")


@pytest.fixture
def other(tmp_path: Path) -> Path:
    """A checkpoint of the present shape, with calibrated logits."""
    model = shape.new_model(1)
    with torch.no_grad():
        model.text_audio_logit_scale.fill_(0.3)
        model.text_audio_logit_bias.fill_(-6.0)
    save(model, text.tokenizer_for(TEXTS), tmp_path)
    return tmp_path


def test_texts_are_placed_as_in_a_checkpoint_of_the_same_shape(other: Path) -> None:
    start, model = Start(str(other)), shape.new_model(0)
    assert start.has_texts(model)
    start.begin(model)
    theirs = PeAudioFrameLevelModel.from_pretrained(other, dtype=torch.float32)
    features = torch.randn(1, 30, BANDS * RATIOS[-1])
    tokenizer = start.tokenizer()
    with torch.no_grad():
        for ours, wanted in (
            (encoder.encode(model, features), encoder.encode(theirs, features)),
            (text.embed(model, tokenizer, TEXTS), text.embed(theirs, tokenizer, TEXTS)),
        ):
            torch.testing.assert_close(ours, wanted, atol=1e-4, rtol=1e-3)
    # Scaled as while training: a third of the calibrated logits.
    assert model.text_audio_logit_bias.item() == pytest.approx(-2.0, rel=1e-3)


def test_the_head_begins_where_the_text_tower_places_the_phrasings(other: Path) -> None:
    generator = torch.Generator().manual_seed(0)
    vectors = torch.nn.functional.normalize(torch.randn(5, 384, generator=generator), dim=1)
    words = Words(Wordings.of(vectors, [2, 1, 1, 1]), [*TEXTS])
    start, model = Start(str(other)), shape.new_model(0)
    start.begin(model)
    head = Head(384, 4, shape.EMBEDDING)
    with torch.no_grad():
        start.begin_head(head, words, model)
        wanted = text.embed(model, start.tokenizer(), TEXTS)
        offsets = head.offsets.repeat_interleave(words.wordings.counts, 0)
        likeness = torch.nn.functional.cosine_similarity(head(vectors, offsets), wanted)
    assert likeness.min() > 0.95


def test_texts_of_another_shape_are_left_out(other: Path) -> None:
    weights = load_file(other / "model.safetensors")
    weights["audio_head.proj.weight"] = torch.zeros(128, 256)
    save_file(weights, other / "model.safetensors")
    start, model = Start(str(other)), shape.new_model(0)
    before = model.text_audio_head.proj.weight.clone()
    start.begin(model)
    assert not start.has_texts(model)
    assert torch.equal(model.text_audio_head.proj.weight, before)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda weights: weights.clear(), "another kind"),
        (
            lambda weights: weights.update({"audio_encoder.norm.weight": torch.zeros(300)}),
            "audio_encoder.norm.weight",
        ),
        (
            lambda weights: weights.update({"audio_encoder.norm.weight": torch.zeros(200)}),
            "audio_encoder.norm.weight",
        ),
        (lambda weights: weights.update({"audio_encoder.more": torch.zeros(3)}), "more"),
    ],
)
def test_an_encoder_of_another_kind_is_refused(
    change: Callable[[dict[str, Tensor]], None], message: str, tmp_path: Path
) -> None:
    weights = load_file(EMBEDDED / "model.safetensors")
    change(weights)
    save_file(weights, tmp_path / "model.safetensors")
    with pytest.raises(UnavailableError, match=message):
        Start(str(tmp_path)).begin(shape.new_model(0))


def test_a_checkpoint_that_is_not_there_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UnavailableError, match="no such folder"):
        Start(str(tmp_path / "none"))
    with pytest.raises(UnavailableError, match="cannot begin with"):
        Start(str(tmp_path)).begin(shape.new_model(0))
