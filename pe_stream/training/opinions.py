"""What another model makes of mixtures of the sounds: labels for audio that nobody labelled.

A few thousand labelled clips do not teach a transformer much. A model that was trained on millions
(YAMNet, which runs here) says of any mixture of them, second by second, what it hears; imitating it
teaches what such models know, and mixtures never come to an end.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import soxr
import torch
from torch import Tensor

from pe_stream.audio import media
from pe_stream.core.types import FRAME, SAMPLE_RATE, Samples
from pe_stream.evaluation.yamnet import RATE, WINDOW, Classify
from pe_stream.manifest import Clip
from pe_stream.synthesis import in_room, room_response
from pe_stream.synthesis.random_sounds import SOUNDS
from pe_stream.training.bank import LONGEST_S, STEPS, Renderer, faster
from pe_stream.training.frontend import BANDS

SECTION = 24
"""Frames in a section of which there is an opinion: 0.96 s, what YAMNet hears at once."""

SECTIONS = 4
"""Sections in an example."""

_LENGTH = SECTION * SECTIONS * FRAME
_MADE = 0.1
_ROOM = 0.3


@dataclass(frozen=True)
class Opinions:
    """N examples of T = SECTIONS * SECTION frames.

    outputs: (N, 96, 4 T) float16 of the filterbank. logits: (N, SECTIONS, K) float16, each class
    brought to mean 0 and variance 1.
    """

    outputs: Tensor
    logits: Tensor

    @property
    def classes(self) -> int:
        """How many classes the other model knows: K."""
        return self.logits.shape[2]

    def batch(self, number: int, count: int, seed: int) -> tuple[Tensor, Tensor]:
        """`count` examples for step `number`, each somewhat louder or softer than it was."""
        rng = np.random.default_rng([seed, number])
        picks = torch.from_numpy(rng.integers(len(self.outputs), size=count))
        gains = torch.from_numpy(10 ** (rng.uniform(-10, 10, count) / 20)).float()
        return self.outputs[picks].float() * gains[:, None, None], self.logits[picks].float()


class Listener:
    """Mixes clips as audio, and asks `classify` about the mixtures."""

    def __init__(self, clips: Sequence[Clip], classify: Classify, renderer: Renderer) -> None:
        self._classify = classify
        self._renderer = renderer
        self._clips = [_read(clip) for clip in clips]

    def collect(self, count: int, seed: int, progress: Callable[[int], None]) -> Opinions:
        """Opinions of `count` mixtures."""
        outputs = torch.empty(count, 2 * BANDS, SECTIONS * SECTION * STEPS, dtype=torch.half)
        logits = []
        for number in range(count):
            audio = self._mixture(np.random.default_rng([seed, number]))
            outputs[number] = self._renderer.outputs(audio)
            logits.append(self._opinion(audio))
            progress(number + 1)
        every = torch.from_numpy(np.stack(logits))
        spread = every.std((0, 1), correction=0).clamp(min=1e-3)
        return Opinions(outputs, ((every - every.mean((0, 1))) / spread).half())

    def _mixture(self, rng: np.random.Generator) -> Samples:
        """One to three sounds, mostly at levels at which each is heard, in a little noise."""
        mixed = rng.normal(0, 10 ** (rng.uniform(-85, -60) / 20), _LENGTH).astype(np.float32)
        for _ in range(rng.choice([1, 2, 3], p=[0.5, 0.35, 0.15])):
            mixed += self._placed(rng) * 10 ** (rng.uniform(-36, -18) / 20)
        return mixed

    def _placed(self, rng: np.random.Generator) -> Samples:
        """Some sound, of other speed and perhaps in a room, with RMS 1 where it is loud."""
        if rng.random() < _MADE:
            names = list(SOUNDS)
            samples = SOUNDS[names[rng.integers(len(names))]](rng)
        else:
            samples = self._clips[rng.integers(len(self._clips))].astype(np.float32)
        samples = samples[int(rng.integers(0, max(1, len(samples) - _LENGTH // 2))) :][:_LENGTH]
        samples = faster(samples, float(2 ** rng.uniform(-0.35, 0.35)))
        if rng.random() < _ROOM:
            response = room_response(rng, float(rng.uniform(0.15, 0.9)))
            samples = in_room(samples, response, float(rng.uniform(-18, 3)))
        start = int(rng.integers(0, max(1, _LENGTH - len(samples) // 2)))
        placed = np.zeros(_LENGTH, np.float32)
        part = samples[: _LENGTH - start]
        placed[start : start + len(part)] = part
        loudest = np.sqrt(np.mean(np.square(placed.reshape(-1, FRAME)), axis=1)).max()
        return np.asarray(placed / max(loudest, 1e-6), np.float32)

    def _opinion(self, audio: Samples) -> Samples:
        """Logits (SECTIONS, K)."""
        low = soxr.resample(audio, SAMPLE_RATE, RATE)
        step = SECTION * FRAME * RATE // SAMPLE_RATE
        padded = np.pad(low, (WINDOW - step) // 2)
        padded = np.pad(padded, (0, WINDOW))
        scores = np.stack([self._classify(padded[i * step :][:WINDOW]) for i in range(SECTIONS)])
        bounded = scores.clip(1e-6, 1 - 1e-6)
        return np.asarray(np.log(bounded / (1 - bounded)), np.float32)


def kept(path: Path, make: Callable[[], Opinions]) -> Opinions:
    """The opinions in `path`, made and saved there if they are not yet."""
    if not path.exists():
        made = make()
        torch.save((made.outputs, made.logits), path.with_suffix(".part"))
        path.with_suffix(".part").replace(path)
    outputs, logits = torch.load(path, weights_only=True, mmap=True)
    return Opinions(outputs, logits)


def _read(clip: Clip) -> Samples:
    """As float16: all clips are in memory at once."""
    parts = [chunk.samples for chunk in media.read(str(clip.path))]
    return np.concatenate(parts)[: round(LONGEST_S * SAMPLE_RATE)].astype(np.float16)
