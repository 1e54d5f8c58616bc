"""Operations counted from the configuration against those that torch counts."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from checkpoints import SIZES as SCALED_DOWN
from checkpoints import Size, make_model
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from pe_stream.core.types import FRAME
from pe_stream.model.encoder import Encoder
from pe_stream.workbench.bench import flops
from pe_stream.workbench.bench.shapes import SIZES, audio_config, config


@pytest.mark.parametrize("size", SCALED_DOWN)
def test_as_torch_counts_them(size: Size) -> None:
    frames = 10
    encoder = make_model(size).audio_encoder
    encoder.set_attn_implementation("eager")  # torch does not count its fused attention
    audio: Any = encoder.config
    with torch.inference_mode(), FlopCounterMode(display=False) as counter:
        encoder(input_values=torch.zeros(1, 1, frames * FRAME))
    counted = counter.get_total_flops()
    ours = flops.codec(audio.dac_config, frames) + flops.encoder(audio, frames)
    assert ours == counted


@pytest.mark.parametrize("wanted", [4, 11])
def test_the_last_layer_is_counted_for_what_is_wanted(wanted: int) -> None:
    model = make_model("small")
    audio: Any = model.audio_encoder.config
    features = torch.zeros(1, 11, audio.dac_config.codebook_dim)
    # torch does not count its fused attention.
    with (
        torch.inference_mode(),
        sdpa_kernel(SDPBackend.MATH),
        FlopCounterMode(display=False) as counter,
    ):
        Encoder(model.audio_encoder, model.audio_head)(features, wanted)
    head = 2 * wanted * audio.hidden_size * model.audio_head.proj.out_features
    assert flops.encoder(audio, 11, wanted) == counter.get_total_flops() - head


@pytest.mark.parametrize(("size", "gflop"), [("small", 46), ("base", 107), ("large", 559)])
def test_published_sizes_are_those_measured(size: str, gflop: float) -> None:
    """Against the figures of the design, which are rounded."""
    audio: Any = config(audio_config(SIZES[size]), SIZES[size].text_width).audio_config
    assert flops.codec(audio.dac_config, 250) / 1e9 == pytest.approx(486, rel=0.01)
    assert flops.encoder(audio, 250) / 1e9 == pytest.approx(gflop, rel=0.03)
    assert (audio.head_dim, audio.num_key_value_heads) == (128, SIZES[size].heads)
