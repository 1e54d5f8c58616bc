"""The encoder as the engine runs it: codec features to frame embeddings, the model's own numbers.

What `PeAudioEncoder` and the head of `PeAudioFrameLevelModel` compute, and likewise the encoders of
`PeVideoModel` and `PeAudioVideoModel`, which are built alike, with the same weights, in
fewer and larger steps: query, key and value in one product, gate and up in another; rotations as
products of complex numbers; the convolutions as products over three neighbours. In bfloat16 only
the products of matrices are: what is added up from layer to layer stays in float32.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812 - as everywhere


class Encoder(nn.Module):
    """Codec features (B, T, D) to embeddings of the last frames (B, n, E), float32 or float64."""

    def __init__(self, encoder: Any, head: Any) -> None:
        """Take the weights of a PE encoder, such as a PeAudioEncoder, and of a contrastive head.

        They go on with the same memory.
        """
        super().__init__()
        self.project = encoder.embedder.data_proj
        self.token = encoder.patch_embedder.class_embedding
        resnet = encoder.patch_embedder.resnet_block
        self.convolutions = nn.ModuleList(
            [_Convolution(resnet.block1), _Convolution(resnet.block2)]
        )
        self.layers = nn.ModuleList([_Layer(layer) for layer in encoder.layers])
        self.rotary = encoder.rotary_emb
        self.norm = _Norm(encoder.norm)
        self.output = encoder.output
        self.head = head

    def forward(self, features: Tensor, count: int | None = None) -> Tensor:
        """Embed the last `count` frames of (B, T, D), all of them by default.

        What the others become in the last layer nothing depends on: it is not computed.
        """
        count = features.shape[1] if count is None else count
        embeddings: Tensor = self.head(self.states(features, count))
        return embeddings

    def states(self, features: Tensor, count: int | None = None) -> Tensor:
        """What the head embeds, of the last `count` frames: (B, count, width).

        By default of the class token, which stands for the whole stretch, and of all frames after
        it: (B, 1 + T, width).
        """
        count = features.shape[1] + 1 if count is None else count
        wide = self.head.layer_norm.weight.dtype
        projected = _linear(features, self.project).to(wide)
        token = self.token.to(wide).expand(len(features), -1, -1)
        hidden = torch.cat([token, projected], dim=1)
        residual = hidden
        for convolution in self.convolutions:
            hidden = convolution(hidden)
        hidden = hidden + residual
        positions = torch.arange(hidden.shape[1], device=hidden.device)[None]
        cos, sin = self.rotary(hidden, positions)
        half = cos.shape[-1] // 2
        turns = torch.complex(cos[:, None, :, :half], sin[:, None, :, :half])
        *inner, last = list(self.layers)
        for layer in inner:
            hidden = layer(hidden, turns, hidden.shape[1])
        hidden = last(hidden, turns, count)
        return _linear(self.norm(hidden), self.output).to(wide)


class _Norm(nn.Module):
    """RMS norm over the last dimension, computed in float32, as the model does."""

    def __init__(self, norm: Any) -> None:
        super().__init__()
        self.weight = norm.weight
        self.eps = norm.variance_epsilon

    def forward(self, hidden: Tensor) -> Tensor:
        x = hidden.float()
        x = x * torch.rsqrt(x.square().mean(-1, keepdim=True) + self.eps)
        normed: Tensor = x.to(hidden.dtype) * self.weight
        return normed


class _Convolution(nn.Module):
    """Group norm of one group, SiLU, and a convolution over three frames."""

    def __init__(self, block: Any) -> None:
        super().__init__()
        self.norm = block.groupnorm
        # (C, C, 3) to (C, 3 C): the neighbours one after the other.
        weight = block.project.weight.detach()
        joined = weight.permute(0, 2, 1).flatten(1)
        self.weight = nn.Parameter(joined, requires_grad=False)
        # The model's own is the same memory from now on, seen as it was.
        block.project.weight.data = joined.unflatten(1, (3, -1)).permute(0, 2, 1)
        self.bias = block.project.bias

    def forward(self, hidden: Tensor) -> Tensor:
        wide = hidden.dtype
        x = F.layer_norm(hidden, hidden.shape[1:], eps=self.norm.eps)
        x = F.silu(x * self.norm.weight.to(wide) + self.norm.bias.to(wide)).to(self.weight.dtype)
        padded = F.pad(x, (0, 0, 1, 1))
        near = torch.cat([padded[:, :-2], padded[:, 1:-1], padded[:, 2:]], dim=-1)
        return F.linear(near, self.weight, self.bias).to(wide)


class _Layer(nn.Module):
    """A transformer layer: (B, T, width) to its last frames (B, count, width).

    turns: (1, 1, T, head / 2) complex rotations.
    """

    def __init__(self, layer: Any) -> None:
        super().__init__()
        attention, mlp = layer.self_attn, layer.mlp
        self.before, self.between = (
            _Norm(layer.input_layernorm),
            _Norm(layer.post_attention_layernorm),
        )
        self.query_norm, self.key_norm = _Norm(attention.q_norm), _Norm(attention.k_norm)
        self.query = attention.q_proj
        self.key_value = _joined([attention.k_proj, attention.v_proj])
        self.size, self.scaling = attention.head_dim, attention.scaling
        self.grouped = len(attention.q_proj.weight) != len(attention.k_proj.weight)
        self.out = attention.o_proj
        self.gate_up = _joined([mlp.gate_proj, mlp.up_proj])
        self.act, self.down = mlp.act_fn, mlp.down_proj

    def forward(self, hidden: Tensor, turns: Tensor, count: int) -> Tensor:
        normed = self.before(hidden)
        first = hidden.shape[1] - count
        query = self._heads(_linear(normed[:, first:], self.query))
        key, value = self._heads(_linear(normed, self.key_value)).chunk(2, dim=1)
        mixed = F.scaled_dot_product_attention(
            _turned(self.query_norm(query), turns[:, :, first:]),
            _turned(self.key_norm(key), turns),
            value,
            scale=self.scaling,
            enable_gqa=self.grouped,
        )
        hidden = hidden[:, first:] + _linear(mixed.transpose(1, 2).flatten(2), self.out)
        gate, up = _linear(self.between(hidden), self.gate_up).chunk(2, dim=-1)
        made: Tensor = hidden + _linear(self.act(gate) * up, self.down)
        return made

    def _heads(self, x: Tensor) -> Tensor:
        """(B, n, heads * size) to (B, heads, n, size)."""
        heads: Tensor = x.unflatten(2, (-1, self.size))
        return heads.transpose(1, 2)


def _turned(x: Tensor, turns: Tensor) -> Tensor:
    """Each pair of components turned by its angle."""
    wide = x.to(turns.real.dtype)
    pairs = torch.view_as_complex(wide.unflatten(-1, (-1, 2)))
    return torch.view_as_real(pairs * turns).flatten(-2).to(x.dtype)


def _linear(x: Tensor, layer: nn.Linear) -> Tensor:
    return F.linear(x.to(layer.weight.dtype), layer.weight, layer.bias)


def _joined(parts: list[nn.Linear]) -> nn.Linear:
    """One projection that gives what all of `parts` give, one after the other.

    Their weights are views of its own from now on: nothing is in memory twice.
    """
    joined = nn.Linear(1, 1, bias=parts[0].bias is not None, device="meta")
    joined.weight = nn.Parameter(torch.cat([part.weight for part in parts]), requires_grad=False)
    if parts[0].bias is not None:
        joined.bias = nn.Parameter(torch.cat([part.bias for part in parts]), requires_grad=False)
    rows = [len(part.weight) for part in parts]
    for part, weight in zip(parts, joined.weight.data.split(rows), strict=True):
        part.weight.data = weight
    return joined
