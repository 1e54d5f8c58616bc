"""PE-Core's vision tower in plain torch: one picture to one vector.

The numbers of timm's `vit_pe_core_*`, whose weights it takes under timm's names. timm itself needs
torchvision, and one that does not fit torch keeps transformers from being imported.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812 - as everywhere

from pe_stream.model.tower_shapes import POOL_HEADS, TowerShape

_MLP = 4
"""How much wider than the model the inside of its MLPs is."""

_EPS = 1e-5


class VisionTower(nn.Module):
    """Pictures (B, 3, size, size), normalised, to vectors (B, outputs), float32 or float64.

    Products of matrices are computed in the type of their weights, all else in the norms' type.
    """

    def __init__(self, shape: TowerShape) -> None:
        super().__init__()
        width = shape.width
        self.shape = shape
        self.patch_embed = _PatchEmbedding(width, shape.patch)
        self.cls_token = nn.Parameter(torch.empty(1, 1, width))
        self.pos_embed = nn.Parameter(torch.empty(1, shape.grid**2 + 1, width))
        self.norm_pre = nn.LayerNorm(width, _EPS)
        self.blocks = nn.ModuleList([_VisionLayer(width, shape.heads) for _ in range(shape.depth)])
        self.norm = nn.LayerNorm(width, _EPS)
        self.attn_pool = _Pooling(width)
        self.head = nn.Linear(width, shape.outputs)

    def forward(self, pictures: Tensor) -> Tensor:
        """See each picture by itself."""
        wide = self.norm.weight.dtype
        kernel = self.patch_embed.proj.weight
        patches = F.conv2d(pictures.to(kernel.dtype), kernel, stride=self.shape.patch)
        tokens = patches.flatten(2).transpose(1, 2).to(wide)
        tokens = torch.cat([self.cls_token.expand(len(tokens), -1, -1), tokens], dim=1)
        x = self.norm_pre(tokens + self.pos_embed)
        turns = _turns(self.shape, x.device)
        for block in self.blocks:
            x = block(x, turns)
        return _linear(self.attn_pool(self.norm(x)), self.head)


class _PatchEmbedding(nn.Module):
    def __init__(self, width: int, patch: int) -> None:
        super().__init__()
        self.proj = nn.Conv2d(3, width, patch, stride=patch, bias=False)


class _Mlp(nn.Module):
    def __init__(self, width: int) -> None:
        super().__init__()
        self.fc1 = nn.Linear(width, _MLP * width)
        self.fc2 = nn.Linear(_MLP * width, width)

    def forward(self, x: Tensor) -> Tensor:
        inner = F.gelu(F.linear(x.to(self.fc1.weight.dtype), self.fc1.weight, self.fc1.bias))
        return F.linear(inner, self.fc2.weight, self.fc2.bias).to(x.dtype)


class _VisionAttention(nn.Module):
    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.qkv = nn.Linear(width, 3 * width)
        self.proj = nn.Linear(width, width)

    def forward(self, x: Tensor, turns: Tensor) -> Tensor:
        split = F.linear(x.to(self.qkv.weight.dtype), self.qkv.weight, self.qkv.bias)
        query, key, value = split.unflatten(-1, (3, self.heads, -1)).permute(2, 0, 3, 1, 4)
        mixed = F.scaled_dot_product_attention(_turned(query, turns), _turned(key, turns), value)
        return F.linear(mixed.transpose(1, 2).flatten(2), self.proj.weight, self.proj.bias).to(x)


class _VisionLayer(nn.Module):
    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.norm1, self.norm2 = nn.LayerNorm(width, _EPS), nn.LayerNorm(width, _EPS)
        self.attn = _VisionAttention(width, heads)
        self.mlp = _Mlp(width)

    def forward(self, x: Tensor, turns: Tensor) -> Tensor:
        x = x + self.attn(self.norm1(x), turns)
        made: Tensor = x + self.mlp(self.norm2(x))
        return made


class _Pooling(nn.Module):
    """Attention of one learned query over all tokens: (B, T, width) to (B, width)."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.latent = nn.Parameter(torch.empty(1, 1, width))
        self.q = nn.Linear(width, width)
        self.kv = nn.Linear(width, 2 * width)
        self.proj = nn.Linear(width, width)
        self.norm = nn.LayerNorm(width, _EPS)
        self.mlp = _Mlp(width)

    def forward(self, x: Tensor) -> Tensor:
        query = _linear(self.latent, self.q).to(self.q.weight.dtype)
        query = query.unflatten(-1, (POOL_HEADS, -1)).transpose(1, 2).expand(len(x), -1, -1, -1)
        both = F.linear(x.to(self.kv.weight.dtype), self.kv.weight, self.kv.bias)
        key, value = both.unflatten(-1, (2, POOL_HEADS, -1)).permute(2, 0, 3, 1, 4)
        mixed = F.scaled_dot_product_attention(query, key, value)
        pooled = _linear(mixed.transpose(1, 2).flatten(2), self.proj).to(x.dtype)
        made: Tensor = pooled + self.mlp(self.norm(pooled))
        return made[:, 0]


def _linear(x: Tensor, layer: nn.Linear) -> Tensor:
    """The layer in its own type; what comes out has the input's."""
    return F.linear(x.to(layer.weight.dtype), layer.weight, layer.bias).to(x.dtype)


def _turns(shape: TowerShape, device: torch.device) -> Tensor:
    """Rotations (patches, width / heads / 2) of the patches' queries and keys: by x, then by y."""
    count = shape.width // shape.heads // 4
    bands = 10_000.0 ** -(torch.arange(count).float() / count)
    places = (torch.arange(shape.grid).float() + 1) / shape.grid * shape.reference
    y, x = torch.meshgrid(places, places, indexing="ij")
    angles = (torch.stack([x, y], -1)[..., None] * bands).flatten(2).flatten(0, 1)
    return torch.polar(torch.ones_like(angles), angles).to(device)


def _turned(x: Tensor, turns: Tensor) -> Tensor:
    """Queries or keys (B, heads, T, width), those of the patches turned by their places."""
    wide = torch.float64 if x.dtype == torch.float64 else torch.float32
    pairs = torch.view_as_complex(x[:, :, 1:].to(wide).unflatten(-1, (-1, 2)).contiguous())
    turned = torch.view_as_real(pairs * turns.to(pairs.dtype)).flatten(-2)
    return torch.cat([x[:, :, :1], turned.to(x.dtype)], dim=2)
