"""A checkpoint's config.json: what of it describes the model, and no more, in bounds.

transformers takes from a configuration whatever it finds there: quantisation, kernels of the hub
for attention, other files of weights. Here is what a PE Audio model consists of; the rest is left
out before a library sees it. Bounds keep a model that nobody made from being built: each is several
times what the published checkpoints have (28 layers of 1792; texts: 22 of 1024, 50,368 tokens).
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from pe_stream.model.tower_shapes import POOL_HEADS, TOWERS, TowerShape

_COUNTS = {
    "num_hidden_layers": 128,
    "num_attention_heads": 256,
    "num_key_value_heads": 256,
    "head_dim": 1024,
    "hidden_size": 16_384,
    "intermediate_size": 65_536,
    "vocab_size": 1_000_000,
    "type_vocab_size": 1024,
    "max_position_embeddings": 131_072,
    "local_attention": 131_072,
    "global_attn_every_n_layers": 128,
    "encoder_hidden_size": 1024,
    "decoder_hidden_size": 16_384,
    "codebook_dim": 16_384,
    "codebook_size": 1_000_000,
    "n_codebooks": 1024,
    "hop_length": 65_536,
    "sampling_rate": 768_000,
}
"""Keys that are whole numbers from 1, and the highest of each."""

_RATIOS = {"downsampling_ratios", "upsampling_ratios"}
_MOST_RATIOS, _HIGHEST_RATIO = 16, 1920

_SHARED = {
    "attention_bias",
    "attention_dropout",
    "hidden_act",
    "hidden_size",
    "initializer_range",
    "intermediate_size",
    "max_position_embeddings",
    "model_type",
    "num_attention_heads",
    "num_hidden_layers",
    "rope_parameters",
    "rope_scaling",
    "rope_theta",
}

_ENCODER = _SHARED | {"head_dim", "num_key_value_heads", "rms_norm_eps"}

_TEXT = _SHARED | {
    "bos_token_id",
    "cls_token_id",
    "eos_token_id",
    "pad_token_id",
    "sep_token_id",
    "tie_word_embeddings",
    "vocab_size",
}

_KEYS = {
    "pe_audio_encoder": _ENCODER | {"dac_config"},
    "pe_video_encoder": _ENCODER,
    "pe_audio_video_encoder": _ENCODER,
    "timm_wrapper": {"architecture", "do_pooling", "global_pool", "model_args", "model_type"},
    "dac": {
        "codebook_dim",
        "codebook_loss_weight",
        "codebook_size",
        "commitment_loss_weight",
        "decoder_hidden_size",
        "downsampling_ratios",
        "encoder_hidden_size",
        "hidden_size",
        "hop_length",
        "model_type",
        "n_codebooks",
        "quantizer_dropout",
        "sampling_rate",
        "upsampling_ratios",
    },
    "bert": _TEXT
    | {
        "attention_probs_dropout_prob",
        "hidden_dropout_prob",
        "layer_norm_eps",
        "position_embedding_type",
        "type_vocab_size",
    },
    "modernbert": _TEXT
    | {
        "embedding_dropout",
        "global_attn_every_n_layers",
        "global_rope_theta",
        "hidden_activation",
        "initializer_cutoff_factor",
        "layer_types",
        "local_attention",
        "local_rope_theta",
        "mlp_bias",
        "mlp_dropout",
        "norm_bias",
        "norm_eps",
    },
}
"""By `model_type`, what describes a part of the model. `bert` is the embedded checkpoint's."""

_TOWER = "vit_pe_core_large_patch14_336"
"""The tower of every published checkpoint."""

_TOWER_ARGS = {
    "img_size": ("size", 2048),
    "patch_size": ("patch", 64),
    "embed_dim": ("width", 4096),
    "depth": ("depth", 128),
    "num_heads": ("heads", 64),
    "ref_feat_shape": ("reference", 128),
}
"""timm's arguments that may be other than usual: our name, and the highest."""

_MOST_ITEMS, _LONGEST_WORD, _HIGHEST = 128, 100, 10**12


def text_part(found: object) -> dict[str, Any]:
    """What describes the text tower; raises ValueError on anything else, or out of bounds."""
    return _part(found, "text_config", ("modernbert", "bert"))


def audio_part(found: object) -> dict[str, Any]:
    """What describes the audio encoder and its codec; raises ValueError as `text_part`."""
    part = _part(found, "audio_config", ("pe_audio_encoder",))
    if "dac_config" in part:
        part["dac_config"] = _part(part["dac_config"], "dac_config", ("dac",))
    return part


def video_part(found: object) -> dict[str, Any]:
    """What describes the video encoder, its tower aside; raises ValueError as `text_part`."""
    return _part(found, "video_config", ("pe_video_encoder",))


def fusion_part(found: object) -> dict[str, Any]:
    """What describes the encoder of sound and picture; raises ValueError as `text_part`."""
    return _part(found, "audio_video_config", ("pe_audio_video_encoder",))


def tower_part(found: object) -> TowerShape:
    """What describes the vision tower, but for its outputs; raises ValueError as `text_part`."""
    part = _part(found, "vision_config", ("timm_wrapper",))
    shape = TOWERS.get(part.get("architecture", _TOWER))
    pooled = part.get("do_pooling", True) is True and part.get("global_pool", "map") == "map"
    if shape is None or not pooled:
        told = f"{_shown(part.get('architecture'))}, which is not one of {', '.join(TOWERS)}"
        raise ValueError(
            f"vision_config says architecture {told if pooled else 'without its pool'}"
        )
    changes: dict[str, int] = {}
    for name, value in (part.get("model_args") or {}).items():
        if name not in _TOWER_ARGS:
            raise ValueError(
                f"vision_config.model_args has {_shown(name)}, which is not known here"
            )
        field, most = _TOWER_ARGS[name]
        changes[field] = _side(f"vision_config.model_args.{name}", value, most)
    shape = replace(shape, **changes)
    # Rotations are for quarters of a head.
    if shape.size % shape.patch or shape.width % (4 * shape.heads) or shape.width % POOL_HEADS:
        raise ValueError(f"vision_config.model_args do not fit each other: {shape}")
    return shape


def _side(shown: str, value: object, most: int) -> int:
    """A whole number, or two equal ones, as of a square."""
    sides: list[Any] = value if isinstance(value, list) else [value]
    if not sides or len(sides) > 2 or any(not _whole(each, 1, most) for each in sides):
        raise ValueError(f"{shown} is {_shown(value)}, not a whole number from 1 to {most}")
    if sides[0] != sides[-1]:
        raise ValueError(f"{shown} is of no square")
    side: int = sides[0]
    return side


def _part(found: object, key: str, kinds: tuple[str, ...]) -> dict[str, Any]:
    """The part under a key, of the first kind where it does not say which."""
    if not isinstance(found, Mapping):
        raise ValueError(f"{key} is no JSON object")  # noqa: TRY004 - told as all that is wrong
    kind = found.get("model_type", kinds[0])
    if kind not in kinds:
        raise ValueError(f"{key} says model_type {_shown(kind)}, not {' or '.join(kinds)}")
    part = {name: value for name, value in found.items() if name in _KEYS[kind]}
    for name, value in part.items():
        if value is not None:
            _check(f"{key}.{name}", name, value)
    return part | {"model_type": kind}


def _check(shown: str, name: str, value: object) -> None:
    if name in _COUNTS:
        if not _whole(value, 1, _COUNTS[name]):
            raise ValueError(
                f"{shown} is {_shown(value)}, not a whole number from 1 to {_COUNTS[name]}"
            )
    elif name in _RATIOS:
        some = value if isinstance(value, list) else []
        if not (
            0 < len(some) <= _MOST_RATIOS and all(_whole(each, 1, _HIGHEST_RATIO) for each in some)
        ):
            raise ValueError(
                f"{shown} is {_shown(value)}, not at most {_MOST_RATIOS} whole numbers "
                f"from 1 to {_HIGHEST_RATIO}"
            )
    elif name != "dac_config" and not _plain(value):
        raise ValueError(f"{shown} is {_shown(value)}: out of bounds")


def _whole(value: object, least: int, most: int) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and least <= value <= most


def _plain(value: object, levels: int = 3) -> bool:
    """Whether something is finite, short and flat."""
    if isinstance(value, dict | list):
        inner = value.values() if isinstance(value, dict) else value
        return (
            levels > 0
            and len(value) <= _MOST_ITEMS
            and all(_plain(each, levels - 1) for each in inner)
        )
    if isinstance(value, str):
        return len(value) <= _LONGEST_WORD
    if isinstance(value, int | float):
        return math.isfinite(value) and abs(value) <= _HIGHEST
    return value is None


def _shown(value: object) -> str:
    text = ascii(value) if not isinstance(value, dict | list) else f"a {type(value).__name__}"
    return text if len(text) <= _LONGEST_WORD else f"{text[:_LONGEST_WORD]}..."
