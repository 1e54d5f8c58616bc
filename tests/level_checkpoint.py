"""A real PE Audio checkpoint whose scores are known by construction: a level meter.

The codec's first Snake unit turns +x and -x into their power, its strided convolutions average
that over a frame, and the transformer passes it on unchanged. Every prompt gets the same score:
near 0 where a frame's level is well below LEVEL, near 1 where it is well above.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from checkpoints import make_model, make_tokenizer
from transformers import PeAudioFeatureExtractor

LEVEL = 0.03
"""RMS level (of full scale 1) at which the score is one half."""

_STEEPNESS = 12.0
_LINEAR = 1e-4
"""Snake's alpha at which it is as good as the identity."""


def make_level_checkpoint(folder: Path) -> Path:
    """Write it to `folder`."""
    model: Any = make_model("small", encoder_hidden_size=2)
    encoder = model.audio_encoder
    encoder.layers = encoder.layers[:1]  # what passes everything on need not be deep
    encoder.config.num_hidden_layers = 1
    with torch.no_grad():
        for weight in encoder.parameters():
            weight.zero_()
        _silence_text(model)
        _measure_power(encoder)
        _pass_on(model)
        model.text_audio_logit_scale.fill_(_STEEPNESS)
        model.text_audio_logit_bias.fill_(0.0)
    model.save_pretrained(folder)
    make_tokenizer().save_pretrained(folder)
    PeAudioFeatureExtractor().save_pretrained(folder)
    return folder


def _silence_text(model: Any) -> None:
    """Every text has the same embedding: 1 in the first dimension."""
    head = model.text_audio_head
    head.layer_norm.weight.zero_()
    head.layer_norm.bias.fill_(1.0)
    head.proj.weight.zero_()
    head.proj.weight[0, 0] = 1.0


def _measure_power(encoder: Any) -> None:
    """The first hidden dimension becomes a frame's power over LEVEL squared, the second 1."""
    codec = encoder.embedder.dac_encoder
    for module in codec.modules():
        if hasattr(module, "alpha"):
            module.alpha.fill_(_LINEAR)
    codec.conv1.weight[0, 0, 3], codec.conv1.weight[1, 0, 3] = 1.0, -1.0
    codec.block[0].snake1.alpha[0, :2] = 1.0  # x + sin(x)^2: near x + x^2 for small x
    for i, block in enumerate(codec.block):
        inputs = 2 if i == 0 else 1
        kernel = block.conv1.weight.shape[-1]
        block.conv1.weight[0, :inputs] = 1.0 / (inputs * kernel)
    codec.conv2.weight[0, 0, 1] = 1.0
    embedder = encoder.embedder
    embedder.bottleneck.weight[0, 0] = 1.0
    embedder.data_proj.weight[0, 0] = 1.0 / LEVEL**2
    embedder.data_proj.bias[1] = 1.0


def _pass_on(model: Any) -> None:
    """The score follows the difference of the first two dimensions, after the norms."""
    encoder = model.audio_encoder
    for module in encoder.modules():
        if type(module).__name__ == "PeAudioEncoderRMSNorm":
            module.weight.fill_(1.0)
    encoder.output.weight.copy_(torch.eye(encoder.output.weight.shape[0]))
    head = model.audio_head
    head.layer_norm.weight.fill_(1.0)
    head.layer_norm.bias.zero_()
    head.proj.weight.zero_()
    head.proj.weight[0, 0], head.proj.weight[0, 1] = 0.1, -0.1
