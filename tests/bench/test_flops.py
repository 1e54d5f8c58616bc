"""Operations counted from the configuration against those that torch counts."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from checkpoints import SIZES as SCALED_DOWN
from checkpoints import Size, make_model
from torch.utils.flop_counter import FlopCounterMode

from pe_stream.bench import flops
from pe_stream.bench.shapes import SIZES, audio_config, config
from pe_stream.core.types import FRAME


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


@pytest.mark.parametrize(("size", "gflop"), [("small", 46), ("base", 107), ("large", 559)])
def test_published_sizes_are_those_measured(size: str, gflop: float) -> None:
    """Against the figures of the design, which are rounded."""
    audio: Any = config(audio_config(SIZES[size]), SIZES[size].text_width).audio_config
    assert flops.codec(audio.dac_config, 250) / 1e9 == pytest.approx(486, rel=0.01)
    assert flops.encoder(audio, 250) / 1e9 == pytest.approx(gflop, rel=0.03)
    assert (audio.head_dim, audio.num_key_value_heads) == (128, SIZES[size].heads)
