"""Training that begins with the encoder of another checkpoint instead of random weights."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from pe_stream.errors import UnavailableError
from pe_stream.model import files
from pe_stream.model.weights import stored

log = logging.getLogger(__name__)

_PREFIX = "audio_encoder."
_CODEC = "audio_encoder.embedder.dac_encoder."
_INTO_STREAM = ("self_attn.o_proj.weight", "mlp.down_proj.weight")
"""What a layer adds to the stream passes through these: where they are 0, it adds nothing."""


def begin_with(model: Any, name: str) -> None:
    """Take over the audio encoder of a checkpoint, so that `model` hears frames as that one did.

    name: as in the configuration, so a folder, or `embedded`. `model` may have more layers, and
    wider MLPs in them: what is new begins by adding nothing. The codec is not taken over, nor what
    places frames among texts. Raises UnavailableError where the checkpoint is not there, or its
    encoder is of another shape.
    """
    own = {key: weight for key, weight in model.state_dict(keep_vars=True).items() if _taken(key)}
    given = _encoder_of(files.find(name), name)
    strange = sorted(given.keys() - own.keys())
    larger = [
        key
        for key, weight in given.items()
        if key in own and not _fits(key, weight.shape, own[key].shape)
    ]
    if strange or larger or not given:
        raise UnavailableError(
            f"training cannot begin with {name}: its encoder is of another kind"
            f" ({[*strange, *larger, 'no weights'][0]})"
        )
    with torch.no_grad():
        for key, weight in own.items():
            if key.endswith(_INTO_STREAM):
                weight.zero_()
            if key in given:
                part = given[key]
                weight[tuple(slice(0, size) for size in part.shape)] = part.to(weight)
    log.info("begun with the encoder of %s", name)


def _fits(key: str, part: torch.Size, whole: torch.Size) -> bool:
    """Whether a weight can be taken over: only what a layer computes within may be narrower."""
    if ".mlp." not in key or len(part) != len(whole):
        return part == whole
    return all(a <= b for a, b in zip(part, whole, strict=True))


def _taken(key: str) -> bool:
    return key.startswith(_PREFIX) and not key.startswith(_CODEC) and "bottleneck" not in key


def _encoder_of(folder: Path, name: str) -> dict[str, Tensor]:
    try:
        with stored(name, folder) as tensors:
            return {key: each[:] for key, each in tensors.items() if _taken(key)}
    except UnavailableError as error:
        raise UnavailableError(f"training cannot begin with {name}: {error}") from error
