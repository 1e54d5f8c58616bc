"""Floating-point operations of a model, from its configuration (a multiply-add is two)."""

from __future__ import annotations

from typing import Any

from pe_stream.core.types import FRAME

_KERNEL = 7
_UNITS = 3
"""Residual units in a block of the codec, each a convolution of 7 taps and one of 1."""


def codec(dac: Any, frames: int) -> int:
    """Operations of the DAC encoder and its bottleneck on `frames` frames of audio."""
    length, width = frames * FRAME, dac.encoder_hidden_size
    total = length * _KERNEL * width
    for stride in dac.downsampling_ratios:
        total += _UNITS * length * width * width * (_KERNEL + 1)
        length //= stride
        total += length * 2 * stride * width * 2 * width
        width *= 2
    total += length * 3 * width * dac.hidden_size
    total += length * dac.hidden_size * dac.codebook_dim
    return 2 * int(total)


def encoder(audio: Any, frames: int, wanted: int | None = None) -> int:
    """Operations of the encoder on the codec features of a window of `frames` frames.

    audio: the audio encoder's configuration. The class token counts. wanted: frames of which the
    last layer's output is used; by default it is computed for all, as the plain call does.
    """
    tokens, hidden = frames + 1, audio.hidden_size
    attended = audio.num_attention_heads * audio.head_dim
    shared = audio.num_key_value_heads * audio.head_dim
    projections = 2 * hidden * (attended + shared)
    attention = 2 * tokens * attended
    perceptron = 3 * hidden * audio.intermediate_size
    layer = tokens * (projections + attention + perceptron)
    embedder = frames * audio.dac_config.codebook_dim * hidden + 2 * tokens * 3 * hidden * hidden
    last = tokens if wanted is None else wanted
    spared = (tokens - last) * (2 * hidden * attended + attention + perceptron)
    output = last * hidden * hidden
    return 2 * int(audio.num_hidden_layers * layer - spared + embedder + output)
