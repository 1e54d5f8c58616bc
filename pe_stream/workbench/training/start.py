"""Training that begins with another checkpoint instead of random weights."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812 - as everywhere
from transformers import PreTrainedTokenizerFast

from pe_stream.errors import UnavailableError
from pe_stream.model import files
from pe_stream.model.tokenizer import load_tokenizer
from pe_stream.model.weights import stored
from pe_stream.workbench.training import encoder, text
from pe_stream.workbench.training.learned import Words
from pe_stream.workbench.training.wordings import Head

log = logging.getLogger(__name__)

_PREFIX = "audio_encoder."
_CODEC = "audio_encoder.embedder.dac_encoder."
_AMONG_TEXTS = ("audio_head.", "text_model.", "text_audio_head.")
"""What places frames and texts in one space."""

_INTO_STREAM = ("self_attn.o_proj.weight", "mlp.down_proj.weight")
"""What a layer adds to the stream passes through these: where they are 0, it adds nothing."""

_RIDGE = 1e-3
"""Of the least squares for the head, against the mean square of the vectors' components, 1."""

_AT_ONCE = 512
"""Texts that the tower places at once."""


class Start:
    """The checkpoint that a training begins with, by its name in the configuration."""

    def __init__(self, name: str) -> None:
        """Find it. Raises UnavailableError where it is not there or its weights are damaged."""
        self._name = name
        self._folder = files.find(name)
        self._weights = _weights(self._folder, name)

    def begin(self, model: Any) -> None:
        """Let `model` hear frames as the checkpoint did, and place them as it did.

        `model` may have more layers, and wider MLPs in them: what is new begins by adding nothing.
        The codec is not taken over; nor is what places frames among texts where it is of another
        shape (see `has_texts`). Raises UnavailableError where the encoder is of another shape.
        """
        own = dict(model.state_dict(keep_vars=True))
        given = {key: weight for key, weight in self._weights.items() if _of_encoder(key)}
        strange = sorted(key for key in given if key not in own)
        larger = [
            key
            for key, weight in given.items()
            if key in own and not _fits(key, weight.shape, own[key].shape)
        ]
        if strange or larger or not given:
            raise UnavailableError(
                f"training cannot begin with {self._name}: its encoder is of another kind"
                f" ({[*strange, *larger, 'no weights'][0]})"
            )
        texts = self.has_texts(model)
        if texts:
            given |= {key: self._weights[key] for key in own if key.startswith(_AMONG_TEXTS)}
        with torch.no_grad():
            for key, weight in own.items():
                if _of_encoder(key) and key.endswith(_INTO_STREAM):
                    weight.zero_()
                if key in given:
                    part = given[key]
                    weight[tuple(slice(0, size) for size in part.shape)] = part.to(weight)
            if texts:
                # Calibration has changed scale and bias; frames and texts are as they were.
                scale = self._weights["text_audio_logit_scale"].float()
                bias = self._weights["text_audio_logit_bias"].float()
                model.text_audio_logit_bias.copy_(bias * encoder.SCALE / scale)
        log.info("begun with %s of %s", "all" if texts else "the encoder", self._name)

    def has_texts(self, model: Any) -> bool:
        """Whether frames and texts are placed in the checkpoint as in `model`, by shapes."""
        own = {
            key: weight.shape
            for key, weight in model.state_dict().items()
            if key.startswith(_AMONG_TEXTS)
        }
        return all(
            key in self._weights and self._weights[key].shape == shape for key, shape in own.items()
        )

    def tokenizer(self) -> PreTrainedTokenizerFast:
        """The checkpoint's."""
        found: Any = load_tokenizer(self._name, self._folder)
        return cast(PreTrainedTokenizerFast, found)

    def begin_head(self, head: Head, words: Words, model: Any) -> None:
        """Let `head` place the phrasings about where the text tower of `model` places them.

        By least squares: as well as a linear layer and an offset for each text can.
        """
        tokenizer, device = self.tokenizer(), head.offsets.device
        with torch.no_grad():
            chunks = [
                text.embed(model, tokenizer, words.texts[n : n + _AT_ONCE])
                for n in range(0, len(words.texts), _AT_ONCE)
            ]
            wanted = F.normalize(torch.cat(chunks).float(), dim=1) * head.offsets.shape[1] ** 0.5
            vectors = words.wordings.vectors.to(device)
            _fit(head.straight, vectors * vectors.shape[1] ** 0.5, wanted)
            left = wanted - head.straight(vectors * vectors.shape[1] ** 0.5)
            means = [some.mean(0) for some in left.split(words.wordings.counts.tolist())]
            head.offsets.copy_(torch.stack(means))


def _fit(layer: nn.Linear, inputs: Tensor, wanted: Tensor) -> None:
    """Make `layer` the least-squares map of (n, K) inputs to (n, D)."""
    ones = torch.cat([inputs, torch.ones_like(inputs[:, :1])], 1).double()
    square = ones.T @ ones + _RIDGE * len(ones) * torch.eye(ones.shape[1]).to(ones)
    solved = torch.linalg.solve(square, ones.T @ wanted.double()).to(layer.weight)
    layer.weight.copy_(solved[:-1].T)
    layer.bias.copy_(solved[-1])


def _fits(key: str, part: torch.Size, whole: torch.Size) -> bool:
    """Whether a weight can be taken over: only what a layer computes within may be narrower."""
    if ".mlp." not in key or len(part) != len(whole):
        return part == whole
    return all(a <= b for a, b in zip(part, whole, strict=True))


def _of_encoder(key: str) -> bool:
    return key.startswith(_PREFIX) and not key.startswith(_CODEC) and "bottleneck" not in key


def _weights(folder: Path, name: str) -> dict[str, Tensor]:
    try:
        with stored(name, folder) as tensors:
            return {key: each[:] for key, each in tensors.items() if not key.startswith(_CODEC)}
    except UnavailableError as error:
        raise UnavailableError(f"training cannot begin with {name}: {error}") from error
