"""The audio encoder under training: forward pass and losses.

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
from transformers.modeling_utils import ALL_ATTENTION_FUNCTIONS
from transformers.models.pe_audio import modeling_pe_audio

from pe_stream.model.codec_layers import convolving
from pe_stream.workbench.training import frontend
from pe_stream.workbench.training.batches import Batch
from pe_stream.workbench.training.shards import HOP_FRAMES


@torch.no_grad()
def read_out(model: Any, outputs: Tensor) -> Tensor:
    """Codec features from the filterbank's outputs: (B, 96, 4 T) to (B, T, 192).

    In float32: in less, squares of what is quiet are lost.
    """
    embedder = model.audio_encoder.embedder
    dac = embedder.dac_encoder
    with torch.autocast(outputs.device.type, enabled=False), convolving(cudnn=True):
        hidden = dac.block[5](frontend.entering(outputs.float()))
        features: Tensor = embedder.bottleneck(dac.conv2(dac.snake1(hidden))).transpose(1, 2)
    return features


def hear(model: Any, features: Tensor) -> Tensor:
    """The encoder's own frames: (B, T, 192) codec features to (B, T, width)."""
    encoder = model.audio_encoder
    hidden, _ = encoder.patch_embedder(encoder.embedder.data_proj(features))
    positions = torch.arange(hidden.shape[1], device=hidden.device)[None]
    rotary = encoder.rotary_emb(hidden, positions)
    with fast_attention(model.audio_encoder):
        for layer in encoder.layers:
            hidden = layer(hidden, attention_mask=None, position_embeddings=rotary)
    frames: Tensor = encoder.output(encoder.norm(hidden))[:, 1:]
    return frames


def encode(model: Any, features: Tensor) -> Tensor:
    """Frame embeddings in the space of the texts: (B, T, 192) codec features to (B, T, D)."""
    embeddings: Tensor = model.audio_head(hear(model, features))
    return embeddings


def encoder_weights(model: Any) -> list[nn.Parameter]:
    """Trained weights of the encoder: all but the codec's."""
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
def fast_attention(encoder: Any) -> Iterator[None]:
    """The attention of transformers, the same to rounding, at what it costs on a CPU in training.

    Rotations without (..., 2, 2) matrices, and products instead of the fused attention, whose
    backward pass is slow.
    """
    original = modeling_pe_audio.apply_rotary_pos_emb
    chosen = encoder.config._attn_implementation  # noqa: SLF001 - transformers has no other way
    modeling_pe_audio.apply_rotary_pos_emb = _rotate
    if encoder.device.type == "cpu":
        encoder.config._attn_implementation = _PRODUCTS  # noqa: SLF001
    try:
        yield
    finally:
        modeling_pe_audio.apply_rotary_pos_emb = original
        encoder.config._attn_implementation = chosen  # noqa: SLF001


def _rotate(
    query: Tensor, key: Tensor, cos: Tensor, sin: Tensor, unsqueeze_dim: int = 1
) -> tuple[Tensor, Tensor]:
    half = cos.shape[-1] // 2
    cos = cos[..., :half].unsqueeze(unsqueeze_dim)
    sin = sin[..., :half].unsqueeze(unsqueeze_dim)

    def turn(x: Tensor) -> Tensor:
        even, odd = x[..., 0::2], x[..., 1::2]
        return torch.stack((even * cos - odd * sin, even * sin + odd * cos), -1).flatten(-2)

    return turn(query), turn(key)


def _attend(
    module: Any, query: Tensor, key: Tensor, value: Tensor, _: Tensor | None, **__: Any
) -> tuple[Tensor, None]:
    scores = (query * module.scaling) @ key.transpose(2, 3)
    attention = scores.float().softmax(-1).to(value.dtype)
    return (attention @ value).transpose(1, 2).contiguous(), None


_PRODUCTS = "pe_stream_products"
ALL_ATTENTION_FUNCTIONS.register(_PRODUCTS, _attend)


SCALE = 0.1
"""Scale of the logits while training; the bias is learned. Calibration sets both again."""

_SOFTER = 1.0
"""Added to the teacher's logits, which are low in mixtures, before they are probabilities."""

_DOUBT = -2.0
"""Above this logit of the teacher, nobody says that a concept is surely absent."""

_LEAST = -1e4
"""A logit that counts for nothing among others."""


@dataclass(frozen=True)
class Losses:
    """Parts of the loss, each a scalar.

    frames: what is heard when. contrast: whether a concept's frames are higher than all others.
    single: which single sound it is. present: what the teacher hears in each second, as
    probabilities; ranked: the same as logits, each class by its own scale; free: the teacher's
    logits by a linear head of their own, without any text.
    """

    frames: Tensor
    contrast: Tensor
    single: Tensor
    present: Tensor
    ranked: Tensor
    free: Tensor

    @property
    def total(self) -> Tensor:
        """The loss that is minimised."""
        known = self.frames + 0.5 * self.contrast + 0.5 * self.single
        return known + 0.3 * self.present + 0.3 * self.ranked + self.free


class Imitation(nn.Module):
    """What is learned of the teacher's logits besides the model, and only while training.

    K: the teacher's classes and the concepts that it knows. centre, spread (K,): of its logits.
    """

    centre: Tensor
    spread: Tensor
    rarity: Tensor

    def __init__(self, width: int, taught: Tensor) -> None:
        """`taught`: (n, K) of its logits; K is 0 where there is no teacher."""
        super().__init__()
        count = taught.shape[1]
        self.register_buffer("centre", taught.mean(0))
        # Torch warns of deviations of nothing, and below of a layer with nothing to draw.
        spread = taught.std(0) if count else taught.new_zeros(0)
        self.register_buffer("spread", spread.clamp(min=0.3))
        rare = (taught + _SOFTER).sigmoid().mean(0).clamp(1e-4, 1.0) ** -0.3
        self.register_buffer("rarity", rare / rare.mean())
        self.slope = nn.Parameter(torch.full((taught.shape[1],), 0.5))
        self.offset = nn.Parameter(torch.zeros(taught.shape[1]))
        self.free = nn.Linear(width, max(1, count))


def losses(
    frames: Tensor,
    logits: Tensor,
    batch: Batch,
    imitation: Imitation,
    *,
    labelled: Tensor,
    taught: Tensor,
) -> Losses:
    """Compare what a model hears with what is there.

    frames: (B, T, width) of the encoder. logits: (B, T, N) of all texts: the teacher's classes,
    then all concepts. labelled: (L,) columns of the concepts that mixtures are made of, in the
    order of the concepts; taught: (K,) columns that the teacher has logits for.
    """
    return Losses(
        _frames(logits[..., labelled], batch),
        _contrast(logits[..., labelled], batch, _columns_of(labelled, taught)),
        _single(logits[..., labelled], batch),
        *_taught(frames, logits[..., taught], batch, imitation),
    )


def _frames(logits: Tensor, batch: Batch) -> Tensor:
    """Sigmoid loss per frame and concept."""
    bce = F.binary_cross_entropy_with_logits(logits, batch.target, reduction="none")
    # Rare positives weigh more, or the easiest answer is that nothing is ever heard.
    weight = batch.weight * (1 + 3 * batch.target)
    return (bce * weight).sum() / (logits.shape[0] * logits.shape[1]) / 8


def _contrast(logits: Tensor, batch: Batch, answers: Tensor) -> Tensor:
    """Each concept's frames against the frames of the whole batch that are surely without it.

    The cross-entropy of each frame among itself and all those without (InfoNCE): what is highest
    elsewhere counts most, for false alarms are made of it. answers: (L,) columns of the teacher's
    answers, -1 where it knows nothing of a concept; where it hears one, absence is not sure.
    """
    sure = batch.weight >= 1
    there, absent = sure & (batch.target > 0), sure & (batch.target == 0)
    if (answers >= 0).any():
        heard = (batch.taught > _DOUBT)[..., answers.clamp(min=0)] & (answers >= 0)
        seconds = torch.arange(logits.shape[1], device=logits.device) // HOP_FRAMES
        absent &= ~heard[:, seconds.clamp(max=heard.shape[1] - 1)]
    logits = logits.float()
    rivals = logits.masked_fill(~absent, _LEAST).flatten(0, 1).logsumexp(0)
    count = there.sum((0, 1))
    each = (F.softplus(rivals - logits) * there).sum((0, 1)) / count.clamp(min=1)
    return each.sum() / (count > 0).sum().clamp(min=1)


def _columns_of(labelled: Tensor, taught: Tensor) -> Tensor:
    """For each of `labelled` its place among `taught`; -1 where it is not there."""
    same = F.pad(labelled[:, None] == taught, (0, 1), value=True)
    first = same.to(torch.uint8).argmax(1)
    return torch.where(first < len(taught), first, -1)


def _single(logits: Tensor, batch: Batch) -> Tensor:
    """Cross-entropy of examples with one sound: the mean over the frames in which it is heard."""
    count = batch.heard.sum(1)
    mask = batch.heard.to(logits.dtype)[..., None]
    mean = (logits * mask).sum(1) / count.clamp(min=1)[:, None]
    usable = (batch.single >= 0) & (count > 0)
    each = F.cross_entropy(mean, batch.single.clamp(min=0), label_smoothing=0.1, reduction="none")
    return (each * usable).sum() / usable.sum().clamp(min=1)


def _taught(
    frames: Tensor, logits: Tensor, batch: Batch, imitation: Imitation
) -> tuple[Tensor, Tensor, Tensor]:
    """How far the seconds' answers are from the teacher's: see `Losses`.

    An answer is the mean of the frames' probabilities: to explain a second by one frame, as the
    sum of exponentials does, makes frames noisy. Without a teacher, all three are 0.
    """
    if not batch.taught.shape[2]:
        nothing = frames.new_zeros(())
        return nothing, nothing, nothing
    answers = batch.taught.shape[1]
    length = min(HOP_FRAMES, logits.shape[1])
    part = logits[:, : answers * length].unflatten(1, (answers, length))
    probability = part.sigmoid().mean(2).clamp(1e-6, 1 - 1e-6)
    wanted = (batch.taught + _SOFTER).sigmoid()
    yes, no = probability.log(), (-probability).log1p()
    # The cross-entropy written out: on a GPU, torch refuses its own under autocast.
    present = -(wanted * yes + (1 - wanted) * no)
    present = (present * imitation.rarity).sum(-1).mean()
    pooled = imitation.slope * (yes - no) + imitation.offset
    standard = (batch.taught - imitation.centre) / imitation.spread
    weight = imitation.rarity * (1 + 4 * (batch.taught + 1.5).sigmoid())
    ranked = (weight * F.smooth_l1_loss(pooled, standard, reduction="none")).mean()
    seconds = frames[:, : answers * length].unflatten(1, (answers, length)).mean(2)
    free = F.mse_loss(imitation.free(seconds), standard)
    return present, ranked, free
