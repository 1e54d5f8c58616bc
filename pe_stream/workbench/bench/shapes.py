"""The published sizes, as configurations: enough to build a model or to count its work."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from transformers import PeAudioConfig


@dataclass(frozen=True, slots=True)
class Shape:
    """Sizes that a model's cost depends on; the defaults are those of all published models."""

    hidden: int
    layers: int
    heads: int
    intermediate: int
    head_width: int = 128
    codec_width: int = 64
    codebook: int = 128
    text_width: int = 1024


SIZES = {
    "small": Shape(768, 12, 6, 2048),
    "base": Shape(1024, 16, 8, 2752),
    "large": Shape(1792, 28, 14, 4800),
}
"""As in the checkpoints facebook/pe-a-frame-*; transformers' own default is none of them."""

CHEAP = Shape(32, 1, 1, 64, head_width=32, codec_width=1, codebook=8, text_width=32)
"""Runs an hour of audio in seconds, through the same code."""


VIDEO_LAYERS, FUSION_LAYERS, VECTOR = 4, 6, 1024
"""Of all PE-AV checkpoints: layers over pictures, over sound and pictures; what a tower makes."""

TOWER = {"model_type": "timm_wrapper", "architecture": "vit_pe_core_large_patch14_336"}
"""The vision tower of all of them."""

TOKENS = 6000
"""Of the embedded checkpoint's tokenizer, which comes with them: the loader tries a text."""


def config(audio: dict[str, Any], text_width: int) -> PeAudioConfig:
    """A configuration with that audio encoder, and a stub of a text tower."""
    text = {
        "model_type": "modernbert",
        "vocab_size": TOKENS,
        "hidden_size": text_width,
        "intermediate_size": 8,
        "num_hidden_layers": 1,
        "num_attention_heads": 1,
        "pad_token_id": 0,
        "cls_token_id": 1,
        "sep_token_id": 2,
        "bos_token_id": 1,
        "eos_token_id": 2,
    }
    return PeAudioConfig(text_config=text, audio_config=audio)


def audio_config(shape: Shape) -> dict[str, Any]:
    """The audio encoder's part of a configuration."""
    return {
        "model_type": "pe_audio_encoder",
        "hidden_size": shape.hidden,
        "num_hidden_layers": shape.layers,
        "num_attention_heads": shape.heads,
        "intermediate_size": shape.intermediate,
        "head_dim": shape.head_width,
        "dac_config": {
            "model_type": "dac",
            "encoder_hidden_size": shape.codec_width,
            "downsampling_ratios": [2, 8, 10, 12],
            "codebook_dim": shape.codebook,
            "sampling_rate": 48_000,
        },
    }
