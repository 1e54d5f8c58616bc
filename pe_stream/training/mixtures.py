"""Training examples: sounds mixed on the filterbank's outputs, with what is heard in each frame."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields

import numpy as np
import torch
from torch import Tensor

from pe_stream.training.bank import STEPS, Sound, Variant
from pe_stream.training.concepts import Concept
from pe_stream.training.frontend import BANDS

LENGTHS = (50, 100, 250)
"""Frames of an example: 2, 4 and 10 s, so that the model knows short windows too."""

_SHARES = (0.4, 0.45, 0.15)
"""How often each: more short examples are more different sounds in a batch."""

LEVEL_DB = (-48.0, -12.0)
"""Energy of the sounds, all bands together, dBFS."""

NOISE_DB = (-100.0, -76.0)
"""Energy of the microphone's noise in each channel, dBFS."""

COLOUR_DB = 5.0
"""How far a microphone's response goes up and down."""

_FRAMES = 1000
"""Frames in a batch, whatever the length of its examples."""

_MADE = 0.25
"""How often a made sound stands for a concept that has recorded ones too: real ones are the aim."""

_OTHER = 0.5
"""How far the teacher is believed about other concepts than a clip's own label."""

_SHIFT = 2
"""Bands by which a sound is moved up or down, at most."""

_STRETCH = 0.2
"""Octaves by which it is played faster or slower, without another pitch, at most."""

_PAUSE = 50
"""Frames without the sound that part one event from the next: 2 s."""

_GROUPS = 8
"""Bands are compared in groups when one sound may hide another."""


@dataclass(frozen=True)
class Batch:
    """B examples of T frames.

    outputs: (B, 96, 4 T) of the filterbank, at the level of a microphone.
    target: (B, T, C) probability that each concept is heard.
    weight: (B, T, C) of each target in the loss; 0 where nobody knows.
    single: (B,) the concept of an example with one sound; -1 for the others.
    sounding: (B, T) frames in which that one is heard.
    taught: (B, K) what the teacher makes of that one in these frames: its logits, each class
        brought to mean 0 and variance 1 over all sounds; NaN where it did not hear it.
    number: of the batch.
    """

    outputs: Tensor
    target: Tensor
    weight: Tensor
    single: Tensor
    sounding: Tensor
    taught: Tensor
    number: int

    def to(self, device: torch.device) -> Batch:
        """The same on `device`."""
        tensors = {field.name: getattr(self, field.name) for field in fields(self)}
        number = tensors.pop("number")
        return Batch(number=number, **{name: x.to(device) for name, x in tensors.items()})


class Mixer:
    """Makes batches. Sounds of all concepts come up about equally often, whatever their number."""

    def __init__(self, sounds: Sequence[Sound], concepts: Sequence[Concept], seed: int) -> None:
        self._seed = seed
        self._rng = np.random.default_rng(seed)
        self._concepts = len(concepts)
        self._by_concept: dict[int, list[Sound]] = {}
        for sound in sounds:
            self._by_concept.setdefault(sound.concept, []).append(sound)
        self._order = sorted(self._by_concept)
        counts = np.array([self._count(concept) for concept in self._order])
        shares = np.minimum(counts, 24) ** 0.6
        self._shares = shares / shares.sum()
        self._background = [
            sound for sound in sounds if sound.variants[0].active.float().mean() > 0.9
        ]
        known = torch.tensor([bool(concept.audioset) for concept in concepts])
        labelled = torch.zeros(len(concepts), dtype=torch.bool)
        labelled[self._order] = True
        self._labelled = labelled
        self._default = torch.where(labelled | known, 1.0, 0.0)
        logits = [sound.taught.logits for sound in sounds if sound.taught]
        self._centre = self._spread = torch.zeros(0)
        if logits:
            every = torch.cat(logits)
            self._centre = every.mean(0)
            self._spread = every.std(0, correction=0).clamp(min=1e-3)

    @property
    def classes(self) -> int:
        """How many classes the teacher knows: K of a Batch."""
        return len(self._centre)

    def batch(self, number: int) -> Batch:
        """The examples of step `number`, all of one length; always the same for one seed."""
        self._rng = np.random.default_rng([self._seed, number])
        frames = int(self._rng.choice(LENGTHS, p=_SHARES))
        made = [self._example(frames) for _ in range(_FRAMES // frames)]
        return Batch(
            torch.stack([example[0] for example in made]),
            torch.stack([example[1] for example in made]),
            torch.stack([example[2] for example in made]),
            torch.tensor([example[3] for example in made]),
            torch.stack([example[4] for example in made]),
            torch.stack([example[5] for example in made]),
            number,
        )

    def _example(self, frames: int) -> tuple[Tensor, Tensor, Tensor, int, Tensor, Tensor]:
        rng = self._rng
        kind = rng.random()
        parts: list[_Placed] = []
        level = rng.uniform(*LEVEL_DB)
        single = kind < 0.5
        repeated = single and rng.random() < 0.4
        if kind < 0.95:
            count = 1 if single else int(rng.choice([1, 2, 3, 4], p=[0.4, 0.3, 0.2, 0.1]))
            levels = level + rng.uniform(-8, 8, count)
            parts = [self._placed(self._pick(), frames, at, whole=repeated) for at in levels]
        if self._background and not single and rng.random() < 0.8:
            behind = self._background[rng.integers(len(self._background))]
            ratio = rng.uniform(-3, 30) if parts else rng.uniform(0, 30)
            parts.append(self._placed(behind, frames, level - ratio, whole=True))
        outputs = self._noise(frames, rng.uniform(*NOISE_DB))
        energies = [_energy(part.waves) for part in parts]
        total = sum(energies, _energy(outputs))
        target = torch.zeros(frames, self._concepts)
        weight = self._default.expand(frames, -1).clone()
        heard = torch.zeros(frames, dtype=torch.bool)
        taught = torch.full((self.classes,), float("nan"))
        for part, energy in zip(parts, energies, strict=True):
            outputs = outputs + part.waves
            audible = _audible(energy, total - energy)
            near = _widened(part.active)
            concept, teacher = part.sound.concept, part.sound.taught
            heard = part.active & audible
            if teacher is not None:
                windows = teacher.windows(part.seconds)
                score = _OTHER * torch.nan_to_num(teacher.scores[windows])
                target = torch.maximum(target, score * (near & audible)[:, None])
                if single and heard.any():
                    logits = teacher.logits[windows[heard]].mean(0)
                    taught = (logits - self._centre) / self._spread
            else:
                # Made sounds and those the teacher never heard: nothing is known of the concepts
                # that only the teacher knows.
                weight[near] *= torch.where(self._labelled, 1.0, 0.0)
            # The pauses of an alarm, or between two barks, belong to the event.
            target[bridged(heard), concept] = 1.0
            weight[part.active & ~audible & (target[:, concept] < 1), concept] = 0.0
            weight[near & ~part.active & (target[:, concept] < 1), concept] *= 0.3
        outputs = outputs * self._colour()
        concept = parts[0].sound.concept if single and parts else -1
        return outputs, target, weight, concept, heard, taught

    def _pick(self) -> Sound:
        concept = self._rng.choice(len(self._order), p=self._shares)
        some = self._by_concept[self._order[concept]]
        made = [sound for sound in some if sound.made]
        recorded = [sound for sound in some if not sound.made]
        if made and recorded:
            some = made if self._rng.random() < _MADE else recorded
        return some[self._rng.integers(len(some))]

    def _count(self, concept: int) -> int:
        """How many sounds the concept has; as many made ones as there may be count little."""
        some = self._by_concept[concept]
        made = sum(sound.made for sound in some)
        return len(some) - made + min(made, 8)

    def _placed(self, sound: Sound, frames: int, level_db: float, *, whole: bool) -> _Placed:
        """The sound somewhere in `frames`, at `level_db`; repeated if `whole`.

        At most some percent faster or slower and, apart from that, higher or lower than its
        variant: the model has no other means to learn that neither changes what a sound is.
        """
        rng = self._rng
        variant: Variant = sound.variants[rng.integers(len(sound.variants))]
        speed = float(2 ** rng.uniform(-_STRETCH, _STRETCH))
        count = variant.outputs.shape[1]
        length = int(count / speed / STEPS)
        if length >= frames:
            start = -int(rng.integers(0, length - frames + 1))
        else:
            start = int(rng.integers(-(length // 3), max(1, frames - 2 * length // 3)))
        steps = ((torch.arange(frames * STEPS) - start * STEPS) * speed).floor().long()
        inside = (steps >= 0) & (steps < count)
        if whole:
            steps, inside = steps % count, torch.ones_like(inside)
        steps = steps.clamp(0, count - 1)
        gain = 10 ** (level_db / 20)
        waves = variant.outputs[:, steps].float() * (gain * inside)
        waves = _shifted(waves, int(rng.integers(-_SHIFT, _SHIFT + 1)))
        middle = slice(STEPS // 2, None, STEPS)
        index = steps[middle] // STEPS
        return _Placed(sound, waves, variant.active[index] & inside[middle], variant.seconds[index])

    def _noise(self, frames: int, level_db: float) -> Tensor:
        generator = torch.Generator().manual_seed(int(self._rng.integers(2**62)))
        noise = torch.randn(2 * BANDS, frames * STEPS, generator=generator)
        tilt = torch.linspace(0, self._rng.uniform(-12, 6), BANDS).repeat_interleave(2)
        return noise * (10 ** ((level_db + tilt) / 20))[:, None]

    def _colour(self) -> Tensor:
        """A microphone's: gains by band (96, 1); at times band-limited, or with a band gone."""
        rng = self._rng
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


@dataclass(frozen=True)
class _Placed:
    """A sound in an example: (96, 4 T) of it alone, its frames (T,), their seconds (T,)."""

    sound: Sound
    waves: Tensor
    active: Tensor
    seconds: Tensor


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


def _energy(outputs: Tensor) -> Tensor:
    """Energy by frame and group of bands: (96, 4 T) to (T, 8)."""
    frames = outputs.shape[1] // STEPS
    squares = outputs.square().reshape(_GROUPS, -1, frames, STEPS)
    return squares.sum((1, 3)).T


def _audible(energy: Tensor, rest: Tensor) -> Tensor:
    """Frames (T,) in which a sound stands out of the rest in some group of bands by 0 dB."""
    loud = energy > 10**-2.5 * energy.max()
    return ((energy > rest) & loud).any(1)


def bridged(heard: Tensor, pause: int = _PAUSE) -> Tensor:
    """Frames (T,) with gaps of up to `pause` frames filled."""
    frames = torch.arange(len(heard))
    before = torch.where(heard, frames, -pause - 1).cummax(0).values
    after = torch.where(heard, frames, len(heard) + pause).flip(0).cummin(0).values.flip(0)
    return after - before <= pause + 1


def _widened(active: Tensor, frames: int = 6) -> Tensor:
    grown = torch.nn.functional.max_pool1d(
        active.float()[None, None], 2 * frames + 1, stride=1, padding=frames
    )
    return grown[0, 0] > 0
