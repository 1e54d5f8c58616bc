"""The audio side of a checkpoint in plain torch: what the engine needs, without transformers.

transformers' modelling code takes 125 MB and most of a start. Here are its modules' names and
weights, for `codec_layers.lean` and `encoder.Encoder` to take; those compute. Whether they hear
what the library's own model hears is tried before it is relied on: see `model.known_texts`.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from typing import Any

import torch
from torch import Tensor, nn

AUDIO_VISUAL_KEYS = {
    r"^audio_model\.": "",
    r"^video_model\.text_model\.": "text_model.",
    r"^audio_video_encoder\.embedder\.audio_encoder\.": "audio_encoder.",
}
"""Where PeAudioVideoModel keeps the weights of PeAudioFrameLevelModel. Its text tower and audio
encoder are shared between several places, and a checkpoint stores them under one or more."""

_HEAD_EPS = 1e-6
"""Of the norm in transformers' PeAudioContrastiveHead."""

_MOST = 2**16
"""No size of a published checkpoint comes near."""


@dataclass(frozen=True, slots=True)
class AudioShape:
    """Sizes of an audio side, as PeAudioEncoderConfig has them.

    codec_width, codec_outputs: of the DAC's first and last convolution. features: values of a
    codec frame. outputs: values of an embedding. theta: base of the rotary frequencies.
    """

    codec_width: int
    codec_outputs: int
    ratios: tuple[int, ...]
    features: int
    width: int
    inner: int
    layers: int
    heads: int
    key_value_heads: int
    head_width: int
    outputs: int
    bias: bool
    eps: float
    theta: float

    @classmethod
    def of(cls, config: Any) -> AudioShape | None:
        """Of a PeAudioConfig; None where it asks for what is not known here."""
        audio = config.audio_config
        rope = audio.rope_parameters
        if audio.hidden_act != "silu" or rope.get("rope_type") != "default":
            return None
        codec = audio.dac_config
        return cls(
            codec_width=codec.encoder_hidden_size,
            codec_outputs=codec.hidden_size,
            ratios=tuple(codec.downsampling_ratios),
            features=codec.codebook_dim,
            width=audio.hidden_size,
            inner=audio.intermediate_size,
            layers=audio.num_hidden_layers,
            heads=audio.num_attention_heads,
            key_value_heads=audio.num_key_value_heads,
            head_width=audio.head_dim,
            outputs=config.text_config.hidden_size,
            bias=bool(audio.attention_bias),
            eps=float(audio.rms_norm_eps),
            theta=float(rope["rope_theta"]),
        )

    @classmethod
    def from_dict(cls, kept: Mapping[str, Any]) -> AudioShape:
        """What `to_dict` gave. Raises ValueError on anything else."""
        if set(kept) != {each.name for each in fields(cls)}:
            raise ValueError("other sizes than an audio side has")
        ratios = kept["ratios"]
        reals = [kept["eps"], kept["theta"]]
        sizes = [kept[each.name] for each in fields(cls) if each.type == "int"]
        if not isinstance(ratios, list) or type(kept["bias"]) is not bool:
            raise ValueError("sizes of another kind")
        if not all(type(each) is int and 0 < each <= _MOST for each in [*sizes, *ratios]):
            raise ValueError("a size that is none")
        if not all(type(each) is float and 0 < each < math.inf for each in reals):
            raise ValueError("a number that is none")
        return cls(**{**kept, "ratios": tuple(ratios)})

    def to_dict(self) -> dict[str, Any]:
        """As JSON has it."""
        return asdict(self)


class AudioSide(nn.Module):
    """Modules named as PeAudioFrameLevelModel's, all but those of texts, with their weights."""

    def __init__(self, shape: AudioShape, tensors: Mapping[str, Any]) -> None:
        """Read the weights, to float32, from slices by key, as `weights.stored` has them.

        Raises ValueError where they are absent or of other shapes.
        """
        super().__init__()
        with torch.device("meta"):
            self.audio_encoder = _EncoderWeights(shape)
            self.audio_head = _HeadWeights(shape.width, shape.outputs)
            self.text_audio_logit_scale = nn.Parameter(torch.empty(1))
            self.text_audio_logit_bias = nn.Parameter(torch.empty(1))
        # Not on "meta": it has numbers, which no checkpoint stores.
        self.audio_encoder.rotary_emb = _RotaryAngles(shape)
        found = {_own_key(key): each for key, each in tensors.items()}
        own = self.state_dict()
        for key, empty in own.items():
            if key not in found or list(found[key].get_shape()) != list(empty.shape):
                raise ValueError(f"no weights of its shape for {key}")
        weights = {key: found[key][:].to(torch.float32) for key in own}
        self.load_state_dict(weights, assign=True)
        self.requires_grad_(requires_grad=False)
        self.eval()

    @property
    def device(self) -> torch.device:
        """Where its weights are."""
        return self.text_audio_logit_scale.device


def _own_key(key: str) -> str:
    for pattern, to in AUDIO_VISUAL_KEYS.items():
        key = re.sub(pattern, to, key)
    return key


class _EncoderWeights(nn.Module):
    rotary_emb: nn.Module

    def __init__(self, shape: AudioShape) -> None:
        super().__init__()
        self.embedder = _EmbedderWeights(shape)
        self.patch_embedder = _PatchEmbedderWeights(shape.width)
        self.layers = nn.ModuleList([_LayerWeights(shape) for _ in range(shape.layers)])
        self.norm = _NormWeights(shape.width, shape.eps)
        self.output = nn.Linear(shape.width, shape.width, bias=False)


class _HeadWeights(nn.Module):
    def __init__(self, width: int, outputs: int) -> None:
        super().__init__()
        self.layer_norm = nn.LayerNorm(width, _HEAD_EPS)
        self.proj = nn.Linear(width, outputs, bias=False)

    def forward(self, states: Tensor) -> Tensor:
        """Embed states (..., width)."""
        embeddings: Tensor = self.proj(self.layer_norm(states))
        return embeddings


class _EmbedderWeights(nn.Module):
    def __init__(self, shape: AudioShape) -> None:
        super().__init__()
        self.dac_encoder = _DacWeights(shape)
        self.bottleneck = nn.Conv1d(shape.codec_outputs, shape.features, 1)
        self.data_proj = nn.Linear(shape.features, shape.width)


class _DacWeights(nn.Module):
    def __init__(self, shape: AudioShape) -> None:
        super().__init__()
        width = shape.codec_width
        self.conv1 = nn.Conv1d(1, width, 7, padding=3)
        self.block = nn.ModuleList(
            [_DacBlockWeights(width * 2**i, stride) for i, stride in enumerate(shape.ratios)]
        )
        last = width * 2 ** len(shape.ratios)
        self.snake1 = _SnakeWeights(last)
        self.conv2 = nn.Conv1d(last, shape.codec_outputs, 3, padding=1)


class _DacBlockWeights(nn.Module):
    def __init__(self, width: int, stride: int) -> None:
        super().__init__()
        self.res_unit1, self.res_unit2, self.res_unit3 = (
            _ResidualWeights(width, dilation) for dilation in (1, 3, 9)
        )
        self.snake1 = _SnakeWeights(width)
        padding = math.ceil(stride / 2)
        self.conv1 = nn.Conv1d(width, 2 * width, 2 * stride, stride=stride, padding=padding)


class _ResidualWeights(nn.Module):
    def __init__(self, width: int, dilation: int) -> None:
        super().__init__()
        self.snake1, self.snake2 = _SnakeWeights(width), _SnakeWeights(width)
        self.conv1 = nn.Conv1d(width, width, 7, dilation=dilation, padding=3 * dilation)
        self.conv2 = nn.Conv1d(width, width, 1)


class _SnakeWeights(nn.Module):
    def __init__(self, width: int) -> None:
        super().__init__()
        self.alpha = nn.Parameter(torch.empty(1, width, 1))


class _PatchEmbedderWeights(nn.Module):
    def __init__(self, width: int) -> None:
        super().__init__()
        self.class_embedding = nn.Parameter(torch.empty(1, 1, width))
        self.resnet_block = nn.Module()
        self.resnet_block.block1, self.resnet_block.block2 = (
            _BlockWeights(width),
            _BlockWeights(width),
        )


class _BlockWeights(nn.Module):
    def __init__(self, width: int) -> None:
        super().__init__()
        self.groupnorm = nn.GroupNorm(1, width)
        self.project = nn.Conv1d(width, width, 3, padding=1)


class _NormWeights(nn.Module):
    def __init__(self, width: int, eps: float) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.empty(width))
        self.variance_epsilon = eps


class _LayerWeights(nn.Module):
    def __init__(self, shape: AudioShape) -> None:
        super().__init__()
        self.self_attn = _AttentionWeights(shape)
        self.mlp = _MlpWeights(shape.width, shape.inner)
        self.input_layernorm = _NormWeights(shape.width, shape.eps)
        self.post_attention_layernorm = _NormWeights(shape.width, shape.eps)


class _AttentionWeights(nn.Module):
    def __init__(self, shape: AudioShape) -> None:
        super().__init__()
        self.head_dim, self.scaling = shape.head_width, shape.head_width**-0.5
        own, shared = shape.heads * shape.head_width, shape.key_value_heads * shape.head_width
        self.q_proj = nn.Linear(shape.width, own, bias=shape.bias)
        self.k_proj = nn.Linear(shape.width, shared, bias=shape.bias)
        self.v_proj = nn.Linear(shape.width, shared, bias=shape.bias)
        self.o_proj = nn.Linear(own, shape.width, bias=shape.bias)
        self.q_norm = _NormWeights(shape.head_width, shape.eps)
        self.k_norm = _NormWeights(shape.head_width, shape.eps)


class _MlpWeights(nn.Module):
    def __init__(self, width: int, inner: int) -> None:
        super().__init__()
        self.gate_proj = nn.Linear(width, inner, bias=False)
        self.up_proj = nn.Linear(width, inner, bias=False)
        self.down_proj = nn.Linear(inner, width, bias=False)
        self.act_fn = nn.SiLU()


class _RotaryAngles(nn.Module):
    """Cosines and sines (1, T, head) of positions (1, T), in the type of `hidden`."""

    inv_freq: Tensor

    def __init__(self, shape: AudioShape) -> None:
        super().__init__()
        powers = torch.arange(0, shape.head_width, 2, dtype=torch.float) / shape.head_width
        self.register_buffer("inv_freq", 1.0 / (shape.theta**powers), persistent=False)

    def forward(self, hidden: Tensor, positions: Tensor) -> tuple[Tensor, Tensor]:
        angles = positions[..., None].float() * self.inv_freq.float()
        both = torch.cat((angles, angles), dim=-1)
        return both.cos().to(hidden.dtype), both.sin().to(hidden.dtype)
