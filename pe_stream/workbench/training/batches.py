"""Training examples: stretches of stored mixtures, as another microphone would have heard them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields, replace

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional as F  # noqa: N812 - as everywhere

from pe_stream.workbench.training.concepts import Concept, named
from pe_stream.workbench.training.frontend import BANDS
from pe_stream.workbench.training.mixture import FRAMES, STEPS, bridged
from pe_stream.workbench.training.shards import HOP_FRAMES, Shards, Stored

LENGTHS = (38, 50, 100, 150, 250)
"""Frames of an example: 1.5 to 10 s, so that the model knows short windows too."""

_SHARES = (0.08, 0.12, 0.25, 0.2, 0.35)
"""How often each."""

GAIN_DB = (-28.0, 10.0)
"""Gain of an example: mixtures are stored at about -24 dBFS."""

NOISE_DBFS = (-104.0, -74.0)
"""Energy of the microphone's noise in each channel."""

COLOUR_DB = 6.0
"""How far a microphone's response goes up and down."""

_SHIFT = 2
"""Bands by which everything is moved up or down, at most."""

_TOGETHER = 0.25
"""How often two mixtures sound at once."""

_PAUSE = 50
"""Frames without the sound that part one event from the next: 2 s."""

_NEAR = 6
"""Frames around a sound in which nobody knows exactly whether it is still there."""

_HELD_OUT = 50
"""One mixture in so many is not trained on."""

_GROUPS = 8
"""Bands are compared in groups when one mixture may hide another."""


@dataclass(frozen=True)
class Batch:
    """B examples of T frames, S = T // HOP_FRAMES answers of the teacher for each.

    outputs: (B, 96, 4 T) of the filterbank, at the level of a microphone.
    target: (B, T, L) 1 where a concept is heard, of those that mixtures are made of. weight:
        (B, T, L) of each target in the loss; 0 where nobody knows.
    single: (B,) which of the L is alone in an example; -1 in the others, and where its label
        names several.
    heard: (B, T) frames in which that one is heard.
    taught: (B, S, K) the teacher's logits, of its classes and then of concepts.
    number: of the batch.
    """

    outputs: Tensor
    target: Tensor
    weight: Tensor
    single: Tensor
    heard: Tensor
    taught: Tensor
    number: int

    def to(self, device: torch.device) -> Batch:
        """The same on `device`."""
        tensors = {field.name: getattr(self, field.name) for field in fields(self)}
        number = tensors.pop("number")
        return Batch(number=number, **{name: x.to(device) for name, x in tensors.items()})


class Batches:
    """Draws batches of about `frames` frames from `shards`; those of a number are the same.

    classes: the teacher's, in the order of its logits. What it says of a concept is the highest
    of the concept's classes.

    labelled, taught: indices of the concepts that mixtures are made of (L), and of those that the
    teacher has classes for. held_out: numbers of the mixtures that nothing is drawn from.
    """

    def __init__(
        self,
        shards: Shards,
        concepts: Sequence[Concept],
        classes: Sequence[str],
        *,
        frames: int,
        seed: int,
    ) -> None:
        self._shards = shards
        self.held_out = range(0, len(shards), _HELD_OUT) if len(shards) > _HELD_OUT else range(0)
        held = set(self.held_out)
        self._drawn = [number for number in range(len(shards)) if number not in held]
        self._frames = frames
        self._seed = seed
        of_label: dict[str, int] = {
            label: i for i, concept in enumerate(concepts) for label in concept.labels
        }
        meant = [
            [of_label[part] for part in named(label) if part in of_label] for label in shards.labels
        ]
        self.labelled = tuple(sorted({concept for some in meant for concept in some}))
        column = {concept: i for i, concept in enumerate(self.labelled)}
        self._columns = [tuple(column[concept] for concept in some) for some in meant]
        index = {name: i for i, name in enumerate(classes)}
        groups = [[index[n] for n in concept.audioset if n in index] for concept in concepts]
        self.taught = tuple(i for i, group in enumerate(groups) if group)
        most = max((len(group) for group in groups), default=0)
        self._groups = torch.tensor(
            [(groups[i] * most)[:most] for i in self.taught], dtype=torch.long
        ).reshape(len(self.taught), most)

    def logits(self, taught: NDArray[np.float16]) -> Tensor:
        """The teacher's (..., classes) with those of concepts appended: (..., K)."""
        own = torch.from_numpy(taught.astype(np.float32))
        if not len(self._groups):
            return own
        return torch.cat([own, own[..., self._groups].amax(-1)], -1)

    def batch(self, number: int) -> Batch:
        """The examples of step `number`, all of one length."""
        rng = np.random.default_rng([self._seed, number])
        length = int(rng.choice(LENGTHS, p=_SHARES))
        made = [self._example(rng, length) for _ in range(max(1, self._frames // length))]
        return Batch(
            torch.stack([example.outputs for example in made]),
            torch.stack([example.target for example in made]),
            torch.stack([example.weight for example in made]),
            torch.tensor([example.single for example in made]),
            torch.stack([example.heard for example in made]),
            torch.stack([example.taught for example in made]),
            number,
        )

    def whole(self, number: int) -> Batch:
        """A batch of one mixture from beginning to end, as it is stored."""
        example = self._cut(self._shards[number], 0, FRAMES)
        return Batch(
            example.outputs[None],
            example.target[None],
            example.weight[None],
            torch.tensor([example.single]),
            example.heard[None],
            example.taught[None],
            number,
        )

    def _example(self, rng: np.random.Generator, length: int) -> _TrainingExample:
        example = self._stretch(rng, length)
        if rng.random() < _TOGETHER:
            example = _together(example, self._stretch(rng, length), float(rng.uniform(-15, 3)))
        outputs = example.outputs * 10 ** (rng.uniform(*GAIN_DB) / 20)
        outputs = _shifted(outputs, int(rng.integers(-_SHIFT, _SHIFT + 1)))
        outputs = (outputs + _noise(rng, outputs.shape[1])) * _colour(rng)
        if rng.random() < 0.2:
            at = int(rng.integers(outputs.shape[1]))
            outputs[:, at : at + int(rng.integers(4, 40))] *= 1e-3
        return replace(example, outputs=outputs)

    def _stretch(self, rng: np.random.Generator, length: int) -> _TrainingExample:
        stored = self._shards[self._drawn[int(rng.integers(len(self._drawn)))]]
        places = (FRAMES - length) // HOP_FRAMES + 1
        first = HOP_FRAMES * int(rng.integers(places))
        if stored.single and not stored.heard[:, first : first + length].any():
            first = HOP_FRAMES * min(places - 1, int(stored.heard.any(0).argmax()) // HOP_FRAMES)
        return self._cut(stored, first, length)

    def _cut(self, stored: Stored, first: int, length: int) -> _TrainingExample:
        frames = slice(first, first + length)
        outputs = torch.from_numpy(
            stored.outputs[:, STEPS * first : STEPS * (first + length)].astype(np.float32)
        )
        answers = slice(first // HOP_FRAMES, first // HOP_FRAMES + max(1, length // HOP_FRAMES))
        target = torch.zeros(length, len(self.labelled))
        weight = torch.ones_like(target)
        alone, heard = -1, torch.zeros(length, dtype=torch.bool)
        for label, sounding, audible in zip(
            stored.labels, stored.sounding, stored.heard, strict=True
        ):
            if label < 0:
                break
            there = torch.from_numpy(sounding[frames].copy())
            told = torch.from_numpy(bridged(audible, _PAUSE)[frames].copy())
            near = _widened(torch.from_numpy(sounding))[frames]
            for column in self._columns[label]:
                target[told, column] = 1.0
                weight[told, column] = 1.0  # whatever another of the same kind is unsure of
                unsure = target[:, column] < 1
                weight[there & ~told & unsure, column] = 0.0
                weight[near & ~there & unsure, column] *= 0.3
            if stored.single and len(self._columns[label]) == 1:
                (alone,) = self._columns[label]
                heard = torch.from_numpy(audible[frames].copy())
        taught = self.logits(stored.logits[answers])
        return _TrainingExample(outputs, target, weight, alone, heard, taught)


@dataclass(frozen=True)
class _TrainingExample:
    """One of a Batch, without the first dimension."""

    outputs: Tensor
    target: Tensor
    weight: Tensor
    single: int
    heard: Tensor
    taught: Tensor


def _together(
    louder: _TrainingExample, other: _TrainingExample, ratio_db: float
) -> _TrainingExample:
    """Both at once, the other at `ratio_db` to the first; where it is drowned, nobody knows it."""
    moved = other.outputs * 10 ** (ratio_db / 20)
    own, added = _energy(louder.outputs), _energy(moved)
    hidden_other = ~(added > own).any(1)
    hidden_own = ~(own > added).any(1)
    weight = torch.minimum(
        torch.where(hidden_own[:, None] & (louder.target > 0), 0.0, louder.weight),
        torch.where(hidden_other[:, None] & (other.target > 0), 0.0, other.weight),
    )
    target = torch.maximum(
        louder.target * ~hidden_own[:, None], other.target * ~hidden_other[:, None]
    )
    # What one of them surely has, it has whatever the other is unsure of.
    weight = torch.where(target > 0, 1.0, weight)
    softer = max(0.0, -ratio_db) / 6
    taught = torch.maximum(louder.taught - max(0.0, ratio_db) / 6, other.taught - softer)
    return _TrainingExample(
        louder.outputs + moved, target, weight, -1, torch.zeros_like(louder.heard), taught
    )


def _shifted(waves: Tensor, bands: int) -> Tensor:
    """(96, n) higher by so many bands; what is new at the border is silence."""
    if bands == 0:
        return waves
    moved = torch.zeros_like(waves)
    if bands > 0:
        moved[2 * bands :] = waves[: -2 * bands]
    else:
        moved[: 2 * bands] = waves[-2 * bands :]
    return moved


def _noise(rng: np.random.Generator, steps: int) -> Tensor:
    generator = torch.Generator().manual_seed(int(rng.integers(2**62)))
    noise = torch.randn(2 * BANDS, steps, generator=generator)
    tilt = torch.linspace(0, float(rng.uniform(-12, 6)), BANDS).repeat_interleave(2)
    return noise * (10 ** ((rng.uniform(*NOISE_DBFS) + tilt) / 20))[:, None]


def _colour(rng: np.random.Generator) -> Tensor:
    """A microphone's: gains by band (96, 1); at times band-limited, or with bands gone."""
    knots = rng.uniform(-COLOUR_DB, COLOUR_DB, 5)
    curve = np.interp(np.linspace(0, 4, BANDS), np.arange(5), knots)
    band = np.arange(BANDS)
    if rng.random() < 0.25:
        curve = curve - np.clip((band - rng.uniform(24, 46)) * 6, 0, 40)
    if rng.random() < 0.2:
        curve = curve - np.clip((rng.uniform(0, 10) - band) * 6, 0, 40)
    for chance in (0.3, 0.1):
        if rng.random() < chance:
            width = rng.integers(2, 9)
            low = rng.integers(0, BANDS - width)
            curve[low : low + width] -= 40
    gains = torch.from_numpy(10 ** (curve / 20)).float()
    return gains.repeat_interleave(2)[:, None]


def _energy(outputs: Tensor) -> Tensor:
    """Energy by frame and group of bands: (96, 4 T) to (T, 8)."""
    squares = outputs.square().reshape(_GROUPS, -1, outputs.shape[1] // STEPS, STEPS)
    return squares.sum((1, 3)).T


def _widened(active: Tensor) -> Tensor:
    grown = F.max_pool1d(active.float()[None, None], 2 * _NEAR + 1, stride=1, padding=_NEAR)
    return grown[0, 0] > 0
