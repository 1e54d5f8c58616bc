"""Mixtures to train on: sounds over backgrounds in rooms, with what is heard in each frame.

A mixture is audio, because a teacher is to hear it too. Beside it stand the sounds that it was
made of: which frames each sounds in, and where it is loud enough to be told from the rest. So
the teacher says what is heard, and the mixture itself knows when.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional as F  # noqa: N812 - as everywhere

from pe_stream.audio.activity import active
from pe_stream.audio.crossfade import repeated
from pe_stream.audio.synthesis import in_room, room_noise, room_response
from pe_stream.audio.synthesis.random_sounds import BACKGROUNDS, SOUNDS
from pe_stream.core.types import FRAME, SAMPLE_RATE, Samples
from pe_stream.workbench.training import placement
from pe_stream.workbench.training.frontend import HOP, kernel
from pe_stream.workbench.training.mixture import FRAMES, MOST_SOUNDS, STEPS, Mixture, Part
from pe_stream.workbench.training.placement import COUNT, Placed, mean_square
from pe_stream.workbench.training.recordings import DecodedClip, DecodedClips

LEVEL_DBFS = -24.0
"""RMS of a mixture, if its peaks allow: a level at which the teacher hears well."""

_LARGEST = 0.95
_NOISE_DBFS = (-95.0, -62.0)
"""RMS of the microphone's own noise."""

_FLOOR_DB = -28.0
"""Level below a sound's loudest frame at which a frame no longer counts as part of it."""

_GROUPS = 8
"""Bands are compared in groups when one sound may hide another."""

_TEXTURE = 0.9
"""A recording that sounds this much of the time can be a background."""

_SHORTEST_TEXTURE_S = 3.0

_FORMULAS = {**SOUNDS, **BACKGROUNDS}

_ALARMS = ("smoke alarm", "carbon monoxide alarm")
_BEHIND_ALARMS = ("speech", "music")

_MADE = 0.2
"""How often a formula stands for a label that has recordings too: real ones are the aim."""

_MADE_BACKGROUND = 0.2
"""How often a background is a formula: there are few recordings of what sounds all day."""

_MANY = 24
"""Recordings past this many make a label no likelier."""

_ONLY_MADE = 12
"""A label that only a formula has is as likely as one with so many recordings."""


class Filterbank:
    """The codec's linear half as one convolution."""

    def __init__(self) -> None:
        self._kernel, self._padding = kernel()

    def __call__(self, samples: Samples) -> Tensor:
        """(n,) samples, a whole number of frames, to the outputs (96, 4 T)."""
        padded = F.pad(
            torch.from_numpy(samples)[None, None],
            (self._padding, self._kernel.shape[-1] - self._padding),
        )
        return F.conv1d(padded, self._kernel, stride=HOP)[0, :, : len(samples) // HOP]


class Composer:
    """Makes mixtures of `recordings` and formulas; those of one seed and number are the same."""

    def __init__(
        self, recordings: DecodedClips, seed: int, concept_of: Mapping[str, str] | None = None
    ) -> None:
        """Take recordings; `concept_of`: labels that mean the same come up as often as one."""
        self._recordings = recordings
        self._seed = seed
        self._filterbank = Filterbank()
        self._by_label: dict[str, list[DecodedClip]] = {}
        for recording in recordings.all:
            self._by_label.setdefault(recording.label, []).append(recording)
        self.labels: tuple[str, ...] = tuple(sorted({*self._by_label, *_FORMULAS}))
        self._shares = self._labels_shares(concept_of or {})
        textures: dict[str, list[DecodedClip]] = {}
        for recording in recordings.all:
            long = recording.count >= _SHORTEST_TEXTURE_S * SAMPLE_RATE
            if long and recording.sounding >= _TEXTURE:
                textures.setdefault(recording.label, []).append(recording)
        self._textures = textures
        self._texture_labels = sorted(textures)
        weights = np.array([min(len(textures[x]), _MANY) for x in self._texture_labels], float)
        self._texture_shares = weights**0.6 / (weights**0.6).sum() if len(weights) else weights

    def _labels_shares(self, concept_of: Mapping[str, str]) -> NDArray[np.float64]:
        """How likely each label is: all concepts about equally, whatever they have of recordings.

        Within a concept, a label is as likely as it has recordings, up to some.
        """
        counts = np.array(
            [min(len(self._by_label.get(label, ())), _MANY) or _ONLY_MADE for label in self.labels],
            float,
        )
        groups = [concept_of.get(label, label) for label in self.labels]
        totals: dict[str, float] = {}
        for group, count in zip(groups, counts, strict=True):
            totals[group] = totals.get(group, 0.0) + count
        whole = np.array([totals[group] for group in groups])
        shares = np.minimum(whole, _MANY) ** 0.6 * counts / whole
        return np.asarray(shares / shares.sum(), np.float64)

    def mixture(self, number: int) -> Mixture:
        """The mixture of that number."""
        rng = np.random.default_rng([self._seed, number])
        kind = rng.choice(4, p=[0.34, 0.46, 0.12, 0.08])
        room = _room(rng)
        single = kind == 0
        if kind == 0:
            placed = [self._event(rng, self._draw_label(rng), room, alone=True)]
        elif kind == 1:
            placed = self._scene(rng, room)
        elif kind == 2:
            placed = self._alarm_scene(rng, room)
        else:
            placed = [self._background(rng)]
        return self._mixed(rng, placed, single=single)

    def _scene(self, rng: np.random.Generator, room: Samples | None) -> list[Placed]:
        """A background, and one to four events at -8 to 25 dB over it."""
        background = self._background(rng)
        level = mean_square(background.samples)
        placed = [background]
        for _ in range(int(rng.choice([1, 2, 3, 4], p=[0.35, 0.35, 0.2, 0.1]))):
            event = self._event(rng, self._draw_label(rng), room, alone=False)
            placed.append(placement.against(event, level, float(rng.uniform(-8, 25))))
        return placed

    def _alarm_scene(self, rng: np.random.Generator, room: Samples | None) -> list[Placed]:
        """An alarm, or something that only sounds like one, while people speak or music plays.

        The alarm is at -12 to 15 dB against what is behind it.
        """
        behind = [label for label in _BEHIND_ALARMS if label in self._by_label]
        alike = [label for label in SOUNDS if label not in _ALARMS]
        wanted = _ALARMS if rng.random() < 0.6 else alike
        background = (
            self._talk(rng, behind[int(rng.integers(len(behind)))], room)
            if behind
            else self._background(rng)
        )
        level = mean_square(background.samples[np.repeat(background.sounding, FRAME)])
        placed = [background]
        for _ in range(int(rng.choice([1, 2], p=[0.8, 0.2]))):
            label = wanted[int(rng.integers(len(wanted)))]
            event = self._made(rng, label, room)
            placed.append(placement.against(event, level, float(rng.uniform(-12, 15))))
        return placed

    def _talk(self, rng: np.random.Generator, label: str, room: Samples | None) -> Placed:
        """Clips of one label one after the other, with short pauses, for the whole mixture."""
        samples = np.zeros(COUNT, np.float32)
        sounding = np.zeros(FRAMES, bool)
        at = int(rng.integers(0, SAMPLE_RATE))
        while at < COUNT:
            said, spans = self._recorded(rng, label, COUNT)
            scale = 1 / max(1e-6, float(np.sqrt(mean_square(said))))
            piece = said[: COUNT - at] * scale
            samples[at : at + len(piece)] += piece
            placement.mark(sounding, [(at + start, at + end) for start, end in spans])
            at += len(piece) + int(rng.uniform(0.05, 0.6) * SAMPLE_RATE)
        if room is not None:
            samples = in_room(samples, room, float(rng.uniform(-18, 0)))[:COUNT]
        return Placed(label, samples, sounding)

    def _background(self, rng: np.random.Generator) -> Placed:
        """Something that sounds throughout; where there is no such recording, a room's noise."""
        if not self._texture_labels or rng.random() < 0.15:
            return Placed("", room_noise(rng, COUNT), np.zeros(FRAMES, bool))
        if rng.random() < _MADE_BACKGROUND:
            label = list(BACKGROUNDS)[int(rng.integers(len(BACKGROUNDS)))]
            samples = BACKGROUNDS[label](rng)
            return Placed(label, samples[:COUNT], np.ones(FRAMES, bool))
        if rng.random() < 0.3:
            behind = [label for label in _BEHIND_ALARMS if label in self._by_label]
            if behind:
                return self._talk(rng, behind[int(rng.integers(len(behind)))], _room(rng))
        label = self._texture_labels[
            int(rng.choice(len(self._texture_labels), p=self._texture_shares))
        ]
        some = self._textures[label]
        recording = some[int(rng.integers(len(some)))]
        samples, _ = placement.at_other_speed(
            rng, self._recordings.read(recording), recording.spans
        )
        first = int(rng.integers(len(samples)))
        looped = repeated(samples, first + COUNT)[first : first + COUNT]
        return Placed(label, looped, np.ones(FRAMES, bool))

    def _event(
        self, rng: np.random.Generator, label: str, room: Samples | None, *, alone: bool
    ) -> Placed:
        """A sound somewhere in the mixture; `alone`, at times again and again."""
        recorded = label in self._by_label and not (label in _FORMULAS and rng.random() < _MADE)
        if not recorded:
            return self._made(rng, label, room)
        samples, spans = self._recorded(rng, label, COUNT)
        if alone and len(samples) < COUNT and rng.random() < 0.4:
            return placement.again_and_again(label, samples, spans)
        return placement.place(rng, label, samples, spans, room)

    def _made(self, rng: np.random.Generator, label: str, room: Samples | None) -> Placed:
        samples = _FORMULAS[label](rng)
        # The pauses of what has a rhythm are part of it.
        stretches = active(samples)
        return placement.place(rng, label, samples, [(stretches[0][0], stretches[-1][1])], room)

    def _recorded(
        self, rng: np.random.Generator, label: str, longest: int
    ) -> tuple[Samples, list[tuple[int, int]]]:
        """A recording of `label`, or a stretch of one, and where it sounds."""
        some = self._by_label[label]
        recording = some[int(rng.integers(len(some)))]
        samples = self._recordings.read(recording)
        samples, spans = placement.at_other_speed(rng, samples, recording.spans)
        if rng.random() < 0.5:
            start, end = spans[int(rng.integers(len(spans)))]
            samples, spans = placement.faded(samples[start:end]), [(0, end - start)]
        if len(samples) > longest:
            first = int(rng.integers(len(samples) - longest))
            if not placement.within(spans, first, longest):
                first = min(spans[0][0], len(samples) - longest)
            spans = placement.within(spans, first, longest)
            samples = placement.faded(samples[first : first + longest])
        return samples, spans

    def _draw_label(self, rng: np.random.Generator) -> str:
        return self.labels[int(rng.choice(len(self.labels), p=self._shares))]

    def _mixed(
        self, rng: np.random.Generator, placed: Sequence[Placed], *, single: bool
    ) -> Mixture:
        total = np.zeros(COUNT, np.float32)
        for part in placed:
            total += part.samples
        gain = 10 ** (LEVEL_DBFS / 20) / max(1e-9, float(np.sqrt(mean_square(total))))
        gain = min(gain, _LARGEST / max(1e-9, float(np.abs(total).max())))
        noise = rng.normal(0, 10 ** (rng.uniform(*_NOISE_DBFS) / 20), COUNT).astype(np.float32)
        outputs = self._filterbank(noise)
        energies = [_energy(outputs)]
        for part in placed:
            own = self._filterbank(np.asarray(gain * part.samples, np.float32))
            energies.append(_energy(own))
            outputs = outputs + own
        everything = np.sum(energies, axis=0)
        parts = tuple(
            Part(part.label, part.sounding, part.sounding & _audible(energy, everything - energy))
            for part, energy in zip(placed, energies[1:], strict=True)
            if part.label
        )
        return Mixture(gain * total + noise, outputs, parts[:MOST_SOUNDS], single)


def _room(rng: np.random.Generator) -> Samples | None:
    if rng.random() < 0.45:
        return None
    return room_response(rng, float(rng.uniform(0.15, 0.9)))


def _energy(outputs: Tensor) -> NDArray[np.float64]:
    """Energy by frame and group of bands: (96, 4 T) to (T, 8)."""
    squares = outputs.double().square().reshape(_GROUPS, -1, FRAMES, STEPS)
    return np.asarray(squares.sum((1, 3)).T.numpy(), np.float64)


def _audible(energy: NDArray[np.float64], rest: NDArray[np.float64]) -> NDArray[np.bool_]:
    """Frames (T,) in which a sound stands out of the rest in some group of bands."""
    loud = energy > 10 ** (_FLOOR_DB / 10) * energy.max()
    return np.asarray(((energy > rest) & loud).any(1), np.bool_)
