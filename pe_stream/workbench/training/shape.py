"""The shape of the small checkpoint: a PE Audio configuration of 16 MB in fp16."""

from __future__ import annotations

from typing import Any

import torch
from transformers import PeAudioConfig, PeAudioFrameLevelModel

from pe_stream.workbench.training.frontend import BANDS, RATIOS

EMBEDDING = 192
"""Width of the text tower, and of the space where audio and text meet."""

TOKENS = 6000
"""Entries of the tokenizer's vocabulary."""

LONGEST = 40
"""Tokens in a prompt, at most."""


def configuration() -> PeAudioConfig:
    """The configuration: 48 kHz in, frames of 1920 samples, as the published checkpoints have."""
    return PeAudioConfig(
        audio_config={
            "dac_config": {
                "encoder_hidden_size": 6,
                "downsampling_ratios": list(RATIOS),
                "hidden_size": 256,
                "codebook_dim": BANDS * RATIOS[-1],
                "sampling_rate": 48_000,
            },
            "hidden_size": 256,
            "intermediate_size": 768,
            "num_hidden_layers": 5,
            "num_attention_heads": 4,
            "num_key_value_heads": 4,
            "head_dim": 64,
            "max_position_embeddings": 4096,
        },
        text_config={
            "model_type": "bert",
            "vocab_size": TOKENS,
            "hidden_size": EMBEDDING,
            "num_hidden_layers": 3,
            "num_attention_heads": 4,
            "intermediate_size": 3 * EMBEDDING,
            "max_position_embeddings": LONGEST,
            "type_vocab_size": 1,
            "hidden_dropout_prob": 0.0,
            "attention_probs_dropout_prob": 0.0,
            "output_hidden_states": True,
        },
    )


def new_model(seed: int, device: torch.device | None = None) -> Any:
    """A PeAudioFrameLevelModel of this configuration with random weights."""
    torch.manual_seed(seed)
    model: Any = PeAudioFrameLevelModel(configuration())
    return model.to(device or torch.device("cpu"))
