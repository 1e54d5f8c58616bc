"""The audio encoder and its read-out under training: forward pass and losses.

transformers' own forward runs the codec without gradients and rotates queries slowly; here the
model's parts are called one by one. `tests/training` compares the two.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812 - as everywhere
from transformers.models.pe_audio import modeling_pe_audio

from pe_stream.training.mixtures import Batch


def read_out(model: Any, outputs: Tensor) -> Tensor:
    """Codec features from the filterbank's outputs: (B, 96, 4 T) to (B, T, 192)."""
    embedder = model.audio_encoder.embedder
    dac = embedder.dac_encoder
    empty = outputs.new_zeros(outputs.shape)
    hidden = dac.block[5](torch.cat([outputs, empty], dim=1))
    features: Tensor = embedder.bottleneck(dac.conv2(dac.snake1(hidden))).transpose(1, 2)
    return features


def read_out_weights(model: Any) -> list[nn.Parameter]:
    """What is learned of the codec: everything after the squared sines."""
    embedder = model.audio_encoder.embedder
    dac = embedder.dac_encoder
    block = dac.block[5]
    parts = (block.snake1, block.conv1, dac.snake1, dac.conv2, embedder.bottleneck)
    return [weight for part in parts for weight in part.parameters()]


def hear(model: Any, features: Tensor) -> Tensor:
    """The encoder's own frames: (B, T, 192) codec features to (B, T, width)."""
    encoder = model.audio_encoder
    hidden, _ = encoder.patch_embedder(encoder.embedder.data_proj(features))
    positions = torch.arange(hidden.shape[1], device=hidden.device)[None]
    rotary = encoder.rotary_emb(hidden, positions)
    with fast_rotation():
        for layer in encoder.layers:
            hidden = layer(hidden, attention_mask=None, position_embeddings=rotary)
    frames: Tensor = encoder.output(encoder.norm(hidden))[:, 1:]
    return frames


def encode(model: Any, features: Tensor) -> Tensor:
    """Frame embeddings in the space of the texts: (B, T, 192) codec features to (B, T, D)."""
    embeddings: Tensor = model.audio_head(hear(model, features))
    return embeddings


def encoder_weights(model: Any) -> list[nn.Parameter]:
    """What is learned of the encoder: all but the codec."""
    encoder = model.audio_encoder
    parts = (
        encoder.embedder.data_proj,
        encoder.patch_embedder,
        encoder.layers,
        encoder.norm,
        encoder.output,
        model.audio_head,
    )
    return [weight for part in parts for weight in part.parameters()]


def whiten(model: Any, features: Tensor) -> None:
    """Let the encoder's first projection begin by making `features` (n, 192) white.

    Nine tenths of their variance is the level, which tells nothing of what is heard.
    """
    mean = features.mean(0)
    variances, axes = torch.linalg.eigh(torch.cov(features.T))
    white = axes @ torch.diag((variances + 0.05).rsqrt()) @ axes.T
    projection = model.audio_encoder.embedder.data_proj
    generator = torch.Generator().manual_seed(0)
    spread = torch.randn(projection.weight.shape, generator=generator).to(white)
    weight = torch.linalg.qr(spread).Q @ white
    with torch.no_grad():
        projection.weight.copy_(weight)
        projection.bias.copy_(-weight @ mean)


@contextmanager
def fast_rotation() -> Iterator[None]:
    """The rotary embedding of transformers without its (..., 2, 2) matrices: the same products."""
    original = modeling_pe_audio.apply_rotary_pos_emb

    def rotate(
        query: Tensor, key: Tensor, cos: Tensor, sin: Tensor, unsqueeze_dim: int = 1
    ) -> tuple[Tensor, Tensor]:
        half = cos.shape[-1] // 2
        cos = cos[..., :half].unsqueeze(unsqueeze_dim)
        sin = sin[..., :half].unsqueeze(unsqueeze_dim)

        def turn(x: Tensor) -> Tensor:
            even, odd = x[..., 0::2], x[..., 1::2]
            return torch.stack((even * cos - odd * sin, even * sin + odd * cos), -1).flatten(-2)

        return turn(query), turn(key)

    modeling_pe_audio.apply_rotary_pos_emb = rotate
    try:
        yield
    finally:
        modeling_pe_audio.apply_rotary_pos_emb = original


SCALE = 0.1
"""Of the logits while training; the bias is learned. Calibration sets both anew."""


@dataclass(frozen=True)
class Losses:
    """Parts of the loss, each a scalar.

    frames: what is heard when. single: which single sound it is. taught: all that the teacher
    makes of it.
    """

    frames: Tensor
    single: Tensor
    taught: Tensor

    @property
    def total(self) -> Tensor:
        """What is minimised."""
        return self.frames + self.single + TAUGHT * self.taught


TAUGHT = 2.0
"""How much imitating the teacher counts."""


def losses(
    embeddings: Tensor,
    texts: Tensor,
    bias: Tensor,
    batch: Batch,
    *,
    choices: Tensor,
    imitation: Tensor,
) -> Losses:
    """Sigmoid loss per frame and concept, and cross-entropy of examples with one sound.

    embeddings: (B, T, D); texts: (C, D), a phrasing of each concept; bias: scalar.
    choices: indices of the concepts that compete in the cross-entropy.
    imitation: (B, T, K) of the teacher's logits.
    """
    logits = SCALE * (embeddings @ texts.T) + bias
    bce = F.binary_cross_entropy_with_logits(logits, batch.target, reduction="none")
    # Rare positives weigh more, or the easiest answer is that nothing is ever heard.
    weight = batch.weight * (1 + 3 * batch.target)
    frames = (bce * weight).sum() / (batch.weight.shape[0] * batch.weight.shape[1]) / 8
    position = torch.full((texts.shape[0],), -1, dtype=torch.long, device=texts.device)
    position[choices] = torch.arange(len(choices), device=texts.device)
    count = batch.sounding.sum(1)
    usable = (batch.single >= 0) & (count > 0)
    usable &= position[batch.single.clamp(min=0)] >= 0
    taught = _imitated(imitation, batch)
    if not usable.any():
        return Losses(frames, frames.new_zeros(()), taught)
    plain = SCALE * (embeddings[usable] @ texts[choices].T)
    mask = batch.sounding[usable].float()
    mean = (plain * mask[..., None]).sum(1) / mask.sum(1, keepdim=True)
    wanted = position[batch.single[usable]]
    return Losses(frames, F.cross_entropy(mean, wanted, label_smoothing=0.1), taught)


def _imitated(imitation: Tensor, batch: Batch) -> Tensor:
    """Mean squared error of the mean over the frames in which the sound is heard."""
    known = ~batch.taught.isnan().any(1)
    if not known.any() or not batch.taught.shape[1]:
        return imitation.new_zeros(())
    mask = batch.sounding[known].float()[..., None]
    mean = (imitation[known] * mask).sum(1) / mask.sum(1)
    return F.mse_loss(mean, batch.taught[known])


def disagreement(imitation: Tensor, wanted: Tensor) -> Tensor:
    """How far (B, S * SECTION, K) is, in the mean of each section, from logits (B, S, K)."""
    sections = imitation.float().unflatten(1, (wanted.shape[1], -1)).mean(2)
    return TAUGHT * F.mse_loss(sections, wanted)
