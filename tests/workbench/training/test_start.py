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
from pe_stream.workbench.training import encoder, shape
from pe_stream.workbench.training.frontend import BANDS, RATIOS
from pe_stream.workbench.training.start import begin_with


def test_the_frames_are_those_of_the_checkpoint() -> None:
    features = torch.randn(2, 40, BANDS * RATIOS[-1], generator=torch.Generator().manual_seed(0))
    theirs = PeAudioFrameLevelModel.from_pretrained(EMBEDDED, dtype=torch.float32)
    model = shape.new_model(0)
    with torch.no_grad():
        wanted = encoder.hear(theirs, features)
        assert not torch.allclose(encoder.hear(model, features), wanted, atol=0.1)
        begin_with(model, "embedded")
        torch.testing.assert_close(encoder.hear(model, features), wanted, atol=1e-4, rtol=1e-3)


def test_what_is_new_can_learn() -> None:
    model = shape.new_model(0)
    begin_with(model, "embedded")
    features = torch.randn(1, 20, BANDS * RATIOS[-1])
    encoder.hear(model, features).square().sum().backward()
    last = model.audio_encoder.layers[-1]
    assert all(part.weight.grad.any() for part in (last.mlp.down_proj, last.self_attn.o_proj))


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
        begin_with(shape.new_model(0), str(tmp_path))


def test_a_checkpoint_that_is_not_there_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UnavailableError, match="no such folder"):
        begin_with(shape.new_model(0), str(tmp_path / "none"))
    with pytest.raises(UnavailableError, match="cannot begin with"):
        begin_with(shape.new_model(0), str(tmp_path))
