"""The encoder as the engine runs it: codec features to frame embeddings, the model's own numbers.

What `PeAudioEncoder` and the head of `PeAudioFrameLevelModel` compute, and likewise the encoders of
`PeVideoModel` and `PeAudioVideoModel`, which are built alike, with the same weights, in
fewer and larger steps: query, key and value in one product, gate and up in another; queries and
keys normed and turned together; rotations, kept from call to call, as products of complex numbers
(with real ones, the same takes a processor two to three times as long); the convolutions as
products over three neighbours. In bfloat16 only the products of matrices are: what is added up from
layer to layer stays in float32.
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
        self._kept: tuple[tuple[int, torch.dtype, torch.device], Tensor] | None = None

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
        turns = self._turns(hidden)
        *inner, last = list(self.layers)
        for layer in inner:
            hidden = layer(hidden, turns, hidden.shape[1])
        hidden = last(hidden, turns, count)
        return _linear(self.norm(hidden), self.output).to(wide)

    def _turns(self, hidden: Tensor) -> Tensor:
        """Rotations (1, T, 1, head / 2) of the positions in `hidden` (B, T, width), complex.

        Those of the last call are kept: a live window always has the same length.
        """
        key = hidden.shape[1], hidden.dtype, hidden.device
        if torch.compiler.is_compiling():
            return self._new_turns(hidden)
        if self._kept is None or self._kept[0] != key:
            self._kept = key, self._new_turns(hidden)
        return self._kept[1]

    def _new_turns(self, hidden: Tensor) -> Tensor:
        positions = torch.arange(hidden.shape[1], device=hidden.device)[None]
        cos, sin = self.rotary(hidden, positions)
        half = cos.shape[-1] // 2
        return torch.complex(cos[:, :, None, :half], sin[:, :, None, :half])


class _Norm(nn.Module):
    """RMS norm over the last dimension, computed in float32, as the model does."""

    def __init__(self, norm: Any) -> None:
        super().__init__()
        self.weight = norm.weight
        self.eps = norm.variance_epsilon

    def forward(self, hidden: Tensor) -> Tensor:
        return _rms_norm(hidden, self.eps).to(hidden.dtype).mul_(self.weight)


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
        x = torch.addcmul(self.norm.bias.to(wide), x, self.norm.weight.to(wide))
        x = F.silu(x, inplace=True).to(self.weight.dtype)
        padded = F.pad(x, (0, 0, 1, 1))
        near = torch.cat([padded[:, :-2], padded[:, 1:-1], padded[:, 2:]], dim=-1)
        return F.linear(near, self.weight, self.bias).to(wide)


class _Layer(nn.Module):
    """A transformer layer: (B, T, width) to its last frames (B, count, width).

    turns: (1, T, 1, head / 2) complex rotations.
    """

    def __init__(self, layer: Any) -> None:
        super().__init__()
        attention, mlp = layer.self_attn, layer.mlp
        self.before, self.between = (
            _Norm(layer.input_layernorm),
            _Norm(layer.post_attention_layernorm),
        )
        self.size, self.scaling = attention.head_dim, attention.scaling
        self.queries, self.keys = (
            len(each.weight) // self.size for each in (attention.q_proj, attention.k_proj)
        )
        # A row for each head, so that queries and keys are one tensor.
        norms = attention.q_norm, attention.k_norm
        rows = [
            norm.weight.detach().expand(heads, -1)
            for norm, heads in zip(norms, (self.queries, self.keys), strict=True)
        ]
        self.head_weight = nn.Parameter(torch.cat(rows), requires_grad=False)
        self.head_eps = attention.q_norm.variance_epsilon
        self.query_key_value = _joined([attention.q_proj, attention.k_proj, attention.v_proj])
        self.out = attention.o_proj
        self.gate_up = _joined([mlp.gate_proj, mlp.up_proj])
        self.act, self.down = mlp.act_fn, mlp.down_proj

    def forward(self, hidden: Tensor, turns: Tensor, count: int) -> Tensor:
        """May overwrite `hidden`."""
        query, key, value = self._projected(self.before(hidden), turns, count)
        mixed = F.scaled_dot_product_attention(
            query.transpose(1, 2),
            key.transpose(1, 2),
            value.transpose(1, 2),
            scale=self.scaling,
            enable_gqa=self.queries != self.keys,
        )
        hidden = hidden[:, hidden.shape[1] - count :]
        hidden.add_(_linear(mixed.transpose(1, 2).flatten(2), self.out))
        gate_up = _linear(self.between(hidden), self.gate_up)
        inner = gate_up.shape[-1] // 2
        active = self.act(gate_up[..., :inner]) * gate_up[..., inner:]
        return hidden.add_(_linear(active, self.down))

    def _projected(
        self, normed: Tensor, turns: Tensor, count: int
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Queries of the last frames, keys and values of all: (B, n, heads, size) each."""
        first, queries = normed.shape[1] - count, self.queries
        weight, bias = self.query_key_value.weight, self.query_key_value.bias
        if not first:
            heads = self._heads(normed, weight, bias)
            turned = self._turned(heads[:, :, : queries + self.keys], 0, turns)
            value = heads[:, :, queries + self.keys :]
            return turned[:, :, :queries], turned[:, :, queries:], value
        rows = queries * self.size
        biases = (None, None) if bias is None else (bias[:rows], bias[rows:])
        query = self._heads(normed[:, first:], weight[:rows], biases[0])
        heads = self._heads(normed, weight[rows:], biases[1])
        key = self._turned(heads[:, :, : self.keys], queries, turns)
        return self._turned(query, 0, turns[:, first:]), key, heads[:, :, self.keys :]

    def _heads(self, x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        """(B, n, width) to (B, n, heads, size)."""
        made = F.linear(x.to(weight.dtype), weight, bias)
        return made.view(*made.shape[:2], len(weight) // self.size, self.size)

    def _turned(self, heads: Tensor, first: int, turns: Tensor) -> Tensor:
        """Heads from `first` on, normed, and each pair of components turned by its angle."""
        weight = self.head_weight[first : first + heads.shape[2]]
        normed = _rms_norm(heads, self.head_eps).to(turns.dtype.to_real()).mul_(weight)
        pairs = torch.view_as_complex(normed.view(*heads.shape[:-1], self.size // 2, 2))
        return torch.view_as_real(pairs * turns).flatten(-2).to(heads.dtype)


def _rms_norm(x: Tensor, eps: float) -> Tensor:
    """Without weights; in float32, whatever the type of `x`."""
    return F.rms_norm(x.float(), x.shape[-1:], eps=eps)


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
