"""The sounds to train on, as outputs of the filterbank: computed once, mixed many times.

The front end is linear, so gain, equalisation and mixing of its outputs are those of the audio.
What is not linear in its outputs is done to the audio before: each sound is kept in several
variants, of other speed and pitch, and in rooms.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import soxr
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional as F  # noqa: N812 - as everywhere

from pe_stream.activity import active
from pe_stream.audio import media
from pe_stream.core.types import FRAME, SAMPLE_RATE, Samples
from pe_stream.manifest import Clip
from pe_stream.synthesis import in_room, room_response
from pe_stream.synthesis.random_sounds import SOUNDS
from pe_stream.training.concepts import Concept
from pe_stream.training.frontend import HOP, kernel

STEPS = FRAME // HOP
"""Filterbank outputs in a frame of the model."""

LONGEST_S = 30.0
"""Longer clips are cut: they are backgrounds, which do not change much."""


@dataclass(frozen=True)
class Variant:
    """One rendering of a sound.

    outputs: (96, 4 T) float16, filterbank outputs, brought to energy 1 while it sounds.
    active: (T,) bool, frames in which the sound is there.
    seconds: (T,) of the clip as it is recorded, for each frame.
    """

    outputs: Tensor
    active: Tensor
    seconds: Tensor


@dataclass(frozen=True)
class Taught:
    """What another model makes of a clip, window by window; window i covers i/2 to i/2 + 1 s.

    logits: (n, K) of its K classes.
    scores: (n, C) probabilities by concept; NaN where it knows no such class.
    """

    logits: Tensor
    scores: Tensor

    def windows(self, seconds: Tensor) -> Tensor:
        """The window whose middle is nearest to each of `seconds` (T,)."""
        return (seconds / 0.5 - 1).round().long().clamp(0, len(self.logits) - 1)


@dataclass(frozen=True)
class Sound:
    """A labelled sound: index of its concept, its variants, and whether a formula made it.

    taught: what the teacher makes of it, if it heard it.
    """

    concept: int
    variants: tuple[Variant, ...]
    made: bool = False
    taught: Taught | None = None


class Teacher:
    """AudioSet scores of another model for the clips: arrays by the clips' keys.

    Files (.npz) hold logits (windows, 527). Classes are named, in order, by
    `audioset_classes.csv` (index,display_name).
    """

    def __init__(
        self, files: Iterable[Path], classes: Sequence[str], concepts: Sequence[Concept]
    ) -> None:
        self._logits: dict[str, NDArray[Any]] = {}
        for file in files:
            with np.load(file) as arrays:
                self._logits |= {key: arrays[key] for key in arrays.files}
        index = {name: i for i, name in enumerate(classes)}
        self._groups = [
            [index[name] for name in concept.audioset if name in index] for concept in concepts
        ]

    def __call__(self, key: str) -> Taught | None:
        """What it made of the clip of this key, if it heard it."""
        if key not in self._logits:
            return None
        logits = torch.from_numpy(self._logits[key]).float()
        scores = torch.full((len(logits), len(self._groups)), float("nan"))
        for concept, group in enumerate(self._groups):
            if group:
                scores[:, concept] = logits[:, group].amax(1).sigmoid()
        return Taught(logits, scores)


class Renderer:
    """Makes variants. One per process: it holds the filterbank's kernel."""

    def __init__(self, variants: int, seed: int) -> None:
        self._kernel, self._padding = kernel()
        self._variants = variants
        self._seed = seed

    def clip(self, clip: Clip, concept: int, teacher: Teacher) -> Sound:
        """A clip of the manifest in all variants; the first is the clip as it is."""
        parts = [chunk.samples for chunk in media.read(str(clip.path))]
        samples = np.concatenate(parts)[: round(LONGEST_S * SAMPLE_RATE)]
        return replace(self.sound(samples, concept, clip.key), taught=teacher(clip.key))

    def sound(self, samples: Samples, concept: int, key: str) -> Sound:
        """`samples` (48 kHz) in all variants. `key` seeds what is random."""
        rng = np.random.default_rng([self._seed, *key.encode()])
        spans = active(samples)
        made = []
        for index in range(self._variants):
            speed = 1.0 if index == 0 else float(2 ** rng.uniform(-0.35, 0.35))
            audio = samples if index == 0 else faster(samples, speed)
            if index and rng.random() < 0.45:
                audio = _in_room(audio, rng)
            variant = self._variant(audio, spans, speed)
            if variant is not None:
                made.append(variant)
        return Sound(concept, tuple(made))

    def outputs(self, audio: Samples) -> Tensor:
        """The filterbank's outputs (96, 4 T) for whole frames of audio, at least one."""
        frames = max(1, len(audio) // FRAME)
        padded = torch.zeros(frames * FRAME)
        count = min(len(audio), frames * FRAME)
        padded[:count] = torch.from_numpy(audio[:count])
        return F.conv1d(
            F.pad(padded[None, None], (self._padding, self._kernel.shape[-1] - self._padding)),
            self._kernel,
            stride=HOP,
        )[0, :, : frames * STEPS]

    def _variant(
        self,
        audio: Samples,
        spans: Sequence[tuple[int, int]],
        speed: float,
    ) -> Variant | None:
        outputs = self.outputs(audio)
        frames = outputs.shape[1] // STEPS
        sounding = torch.zeros(frames, dtype=torch.bool)
        for start, end in spans:
            first, last = start / speed / FRAME, end / speed / FRAME
            sounding[round(first) : max(round(last), round(first) + 1)] = True
        if not sounding.any():
            return None
        energy = outputs.square().sum(0)[sounding.repeat_interleave(STEPS)].mean()
        if energy <= 0:
            return None
        seconds = (torch.arange(frames) + 0.5) * (FRAME / SAMPLE_RATE * speed)
        return Variant((outputs / energy.sqrt()).half(), sounding, seconds)


def collect(
    clips: Sequence[Clip],
    concepts: Sequence[Concept],
    teacher: Teacher,
    renderer: Renderer,
    *,
    synthesised: int,
    seed: int,
    progress: Callable[[int], None],
) -> list[Sound]:
    """All `clips` whose label is a concept's, and `synthesised` instances of each made sound."""
    of_label = {label: i for i, concept in enumerate(concepts) for label in concept.labels}
    sounds = []
    for clip in clips:
        if clip.label in of_label:
            sounds.append(renderer.clip(clip, of_label[clip.label], teacher))
            progress(len(sounds))
    for label, make in SOUNDS.items():
        if label not in of_label:
            continue
        for index in range(synthesised):
            key = f"{label} {index}"
            samples = make(np.random.default_rng([seed, *key.encode()]))
            sounds.append(replace(renderer.sound(samples, of_label[label], key), made=True))
            progress(len(sounds))
    return [sound for sound in sounds if sound.variants]


def faster(samples: Samples, speed: float) -> Samples:
    """Played at `speed` times the speed, so higher by the same ratio."""
    out = soxr.resample(samples, SAMPLE_RATE * speed, SAMPLE_RATE, quality="MQ")
    return np.asarray(out, np.float32)


def _in_room(samples: Samples, rng: np.random.Generator) -> Samples:
    """With the reverberation of a room, more or less of it; as long as before."""
    response = room_response(rng, float(rng.uniform(0.15, 0.9)))
    return in_room(samples, response, float(rng.uniform(-18, 3)))[: len(samples)]
