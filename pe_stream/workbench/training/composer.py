"""Mixtures to train on: sounds over backgrounds in rooms, with what is heard in each frame.

A mixture is audio, because a teacher is to hear it too. Beside it stand the sounds that it was
made of: which frames each sounds in, and where it is loud enough to be told from the rest. So
the teacher says what is heard, and the mixture itself knows when.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import soxr
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional as F  # noqa: N812 - as everywhere

from pe_stream.audio.activity import active
from pe_stream.audio.synthesis import in_room, room_noise, room_response
from pe_stream.audio.synthesis.random_sounds import SOUNDS
from pe_stream.core.types import FRAME, SAMPLE_RATE, Samples
from pe_stream.workbench.training.frontend import HOP, kernel
from pe_stream.workbench.training.recordings import DecodedClip, DecodedClips

FRAMES = 250
"""Of a mixture: 10 s."""

STEPS = FRAME // HOP
"""Filterbank outputs in a frame of the model."""

MOST_SOUNDS = 8
"""In a mixture, background included."""

_COUNT = FRAMES * FRAME

LEVEL_DBFS = -24.0
"""RMS of a mixture, if its peaks allow: a level at which the teacher hears well."""

_LARGEST = 0.95
_NOISE_DBFS = (-95.0, -62.0)
"""RMS of the microphone's own noise."""

_FLOOR_DB = -28.0
"""What is this far below a sound's loudest frame is not heard as part of it."""

_GROUPS = 8
"""Bands are compared in groups when one sound may hide another."""

_TEXTURE = 0.9
"""A recording that sounds this much of the time can be a background."""

_SHORTEST_TEXTURE_S = 3.0

_CROSSFADE_S = 0.25

_ALARMS = ("smoke alarm", "carbon monoxide alarm")
_BEHIND_ALARMS = ("speech", "music")

_MADE = 0.2
"""How often a formula stands for a label that has recordings too: real ones are the aim."""

_MANY = 24
"""Recordings past this many make a label no likelier."""

_ONLY_MADE = 12
"""A label that only a formula has is as likely as one with so many recordings."""


@dataclass(frozen=True, slots=True)
class Part:
    """One sound of a mixture.

    label: as the manifest or the formula has it. sounding: (FRAMES,) bool, frames in which it is
    there. heard: (FRAMES,) bool, those of them in which it stands out of the rest.
    """

    label: str
    sounding: NDArray[np.bool_]
    heard: NDArray[np.bool_]


@dataclass(frozen=True, slots=True)
class Mixture:
    """10 s of audio and what is in it.

    samples: (FRAMES * FRAME,) float32 at 48 kHz. outputs: (96, 4 * FRAMES) of the filterbank.
    single: whether one sound is alone in it, with nothing but noise behind.
    """

    samples: Samples
    outputs: Tensor
    parts: tuple[Part, ...]
    single: bool


@dataclass(frozen=True, slots=True)
class _Placed:
    label: str
    samples: Samples
    sounding: NDArray[np.bool_]


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
        self.labels: tuple[str, ...] = tuple(sorted({*self._by_label, *SOUNDS}))
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

    def _scene(self, rng: np.random.Generator, room: Samples | None) -> list[_Placed]:
        """A background, and one to four events at -8 to 25 dB over it."""
        background = self._background(rng)
        level = _power(background.samples)
        placed = [background]
        for _ in range(int(rng.choice([1, 2, 3, 4], p=[0.35, 0.35, 0.2, 0.1]))):
            event = self._event(rng, self._draw_label(rng), room, alone=False)
            placed.append(_against(event, level, float(rng.uniform(-8, 25))))
        return placed

    def _alarm_scene(self, rng: np.random.Generator, room: Samples | None) -> list[_Placed]:
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
        level = _power(background.samples[np.repeat(background.sounding, FRAME)])
        placed = [background]
        for _ in range(int(rng.choice([1, 2], p=[0.8, 0.2]))):
            label = wanted[int(rng.integers(len(wanted)))]
            event = self._made(rng, label, room)
            placed.append(_against(event, level, float(rng.uniform(-12, 15))))
        return placed

    def _talk(self, rng: np.random.Generator, label: str, room: Samples | None) -> _Placed:
        """Clips of one label one after the other, with short pauses, for the whole mixture."""
        samples = np.zeros(_COUNT, np.float32)
        sounding = np.zeros(FRAMES, bool)
        at = int(rng.integers(0, SAMPLE_RATE))
        while at < _COUNT:
            said, spans = self._recorded(rng, label, _COUNT)
            scale = 1 / max(1e-6, float(np.sqrt(_power(said))))
            piece = said[: _COUNT - at] * scale
            samples[at : at + len(piece)] += piece
            _mark(sounding, [(at + start, at + end) for start, end in spans])
            at += len(piece) + int(rng.uniform(0.05, 0.6) * SAMPLE_RATE)
        if room is not None:
            samples = in_room(samples, room, float(rng.uniform(-18, 0)))[:_COUNT]
        return _Placed(label, samples, sounding)

    def _background(self, rng: np.random.Generator) -> _Placed:
        """Something that sounds throughout; where there is no such recording, a room's noise."""
        if not self._texture_labels or rng.random() < 0.15:
            return _Placed("", room_noise(rng, _COUNT), np.zeros(FRAMES, bool))
        if rng.random() < 0.3:
            behind = [label for label in _BEHIND_ALARMS if label in self._by_label]
            if behind:
                return self._talk(rng, behind[int(rng.integers(len(behind)))], _room(rng))
        label = self._texture_labels[
            int(rng.choice(len(self._texture_labels), p=self._texture_shares))
        ]
        some = self._textures[label]
        recording = some[int(rng.integers(len(some)))]
        samples, _ = _faster(rng, self._recordings.read(recording), recording.spans)
        first = int(rng.integers(len(samples)))
        looped = _repeated(samples, first + _COUNT)[first : first + _COUNT]
        return _Placed(label, looped, np.ones(FRAMES, bool))

    def _event(
        self, rng: np.random.Generator, label: str, room: Samples | None, *, alone: bool
    ) -> _Placed:
        """A sound somewhere in the mixture; `alone`, at times again and again."""
        recorded = label in self._by_label and not (label in SOUNDS and rng.random() < _MADE)
        if not recorded:
            return self._made(rng, label, room)
        samples, spans = self._recorded(rng, label, _COUNT)
        if alone and len(samples) < _COUNT and rng.random() < 0.4:
            return _again_and_again(label, samples, spans)
        return _placed(rng, label, samples, spans, room)

    def _made(self, rng: np.random.Generator, label: str, room: Samples | None) -> _Placed:
        samples = SOUNDS[label](rng)
        # The pauses of what has a rhythm are part of it.
        stretches = active(samples)
        return _placed(rng, label, samples, [(stretches[0][0], stretches[-1][1])], room)

    def _recorded(
        self, rng: np.random.Generator, label: str, longest: int
    ) -> tuple[Samples, list[tuple[int, int]]]:
        """A recording of `label`, or a stretch of one, and where it sounds."""
        some = self._by_label[label]
        recording = some[int(rng.integers(len(some)))]
        samples = self._recordings.read(recording)
        samples, spans = _faster(rng, samples, recording.spans)
        if rng.random() < 0.5:
            start, end = spans[int(rng.integers(len(spans)))]
            samples, spans = _faded(samples[start:end]), [(0, end - start)]
        if len(samples) > longest:
            first = int(rng.integers(len(samples) - longest))
            if not _within(spans, first, longest):
                first = min(spans[0][0], len(samples) - longest)
            spans = _within(spans, first, longest)
            samples = _faded(samples[first : first + longest])
        return samples, spans

    def _draw_label(self, rng: np.random.Generator) -> str:
        return self.labels[int(rng.choice(len(self.labels), p=self._shares))]

    def _mixed(
        self, rng: np.random.Generator, placed: Sequence[_Placed], *, single: bool
    ) -> Mixture:
        total = np.zeros(_COUNT, np.float32)
        for part in placed:
            total += part.samples
        gain = 10 ** (LEVEL_DBFS / 20) / max(1e-9, float(np.sqrt(_power(total))))
        gain = min(gain, _LARGEST / max(1e-9, float(np.abs(total).max())))
        noise = rng.normal(0, 10 ** (rng.uniform(*_NOISE_DBFS) / 20), _COUNT).astype(np.float32)
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


def bridged(heard: NDArray[np.bool_], pause: int) -> NDArray[np.bool_]:
    """Frames (T,) with gaps of up to `pause` frames filled: pauses belong to the event."""
    at = np.flatnonzero(heard)
    filled = heard.copy()
    for before, after in pairwise(at.tolist()):
        if 1 < after - before <= pause + 1:
            filled[before:after] = True
    return filled


def _room(rng: np.random.Generator) -> Samples | None:
    if rng.random() < 0.45:
        return None
    return room_response(rng, float(rng.uniform(0.15, 0.9)))


def _placed(
    rng: np.random.Generator,
    label: str,
    samples: Samples,
    spans: Sequence[tuple[int, int]],
    room: Samples | None,
) -> _Placed:
    """A sound somewhere in the mixture, at the most a third of it outside."""
    if room is not None:
        samples = in_room(samples, room, float(rng.uniform(-18, 3)))
    third = len(samples) // 3
    start = int(rng.integers(-third, max(1, _COUNT - len(samples) + third)))
    out = np.zeros(_COUNT, np.float32)
    first, last = max(0, start), min(_COUNT, start + len(samples))
    out[first:last] = samples[first - start : last - start]
    sounding = np.zeros(FRAMES, bool)
    _mark(sounding, [(start + a, start + b) for a, b in spans])
    return _Placed(label, out, sounding)


def _again_and_again(label: str, samples: Samples, spans: Sequence[tuple[int, int]]) -> _Placed:
    out = np.resize(samples, _COUNT)
    sounding = np.zeros(FRAMES, bool)
    for at in range(0, _COUNT, len(samples)):
        _mark(sounding, [(at + a, at + b) for a, b in spans])
    return _Placed(label, out, sounding)


def _within(spans: Sequence[tuple[int, int]], first: int, count: int) -> list[tuple[int, int]]:
    """What of `spans` lies in `count` samples from `first`, counted from there."""
    return [
        (max(0, start - first), min(count, end - first))
        for start, end in spans
        if end > first and start < first + count
    ]


def _mark(sounding: NDArray[np.bool_], spans: Sequence[tuple[int, int]]) -> None:
    """Set the frames whose middle lies in one of `spans` (samples), of each span at least one."""
    for start, end in spans:
        first, last = round(start / FRAME), max(round(end / FRAME), round(start / FRAME) + 1)
        sounding[max(0, first) : max(0, last)] = True


def _against(part: _Placed, power: float, ratio_db: float) -> _Placed:
    """The part at `ratio_db` over `power`, by its own power while it sounds.

    Nothing, where its sound fell outside of the mixture: what is left is its silence.
    """
    if not part.sounding.any():
        return _Placed(part.label, np.zeros_like(part.samples), part.sounding)
    own = _power(part.samples[np.repeat(part.sounding, FRAME)])
    gain = np.sqrt(10 ** (ratio_db / 10) * max(power, 1e-12) / max(own, 1e-12))
    return _Placed(part.label, np.asarray(gain * part.samples, np.float32), part.sounding)


def _faster(
    rng: np.random.Generator, samples: Samples, spans: Sequence[tuple[int, int]]
) -> tuple[Samples, list[tuple[int, int]]]:
    """Somewhat faster and higher, or slower and lower, six times in ten."""
    if rng.random() < 0.4:
        return samples, list(spans)
    speed = float(2 ** rng.uniform(-0.35, 0.35))
    out = np.asarray(
        soxr.resample(samples, SAMPLE_RATE * speed, SAMPLE_RATE, quality="MQ"), np.float32
    )
    moved = [(round(a / speed), min(len(out), round(b / speed))) for a, b in spans]
    return out, [(a, b) for a, b in moved if b > a] or [(0, len(out))]


def _faded(samples: Samples, seconds: float = 0.004) -> Samples:
    """With ends that do not click."""
    out = samples.copy()
    edge = min(round(seconds * SAMPLE_RATE), len(out) // 4)
    ramp = np.linspace(0, 1, edge, endpoint=False, dtype=np.float32)
    out[:edge] *= ramp
    out[len(out) - edge :] *= ramp[::-1]
    return out


def _repeated(samples: Samples, count: int) -> Samples:
    """At least `count` samples, every repetition crossfaded into the next at constant power."""
    fade = min(round(_CROSSFADE_S * SAMPLE_RATE), len(samples) // 3)
    step = len(samples) - fade
    times = 1 + max(0, -(-(count - len(samples)) // step))
    out = np.zeros(len(samples) + (times - 1) * step, np.float32)
    angle = np.linspace(0, np.pi / 2, fade, dtype=np.float32)
    for n in range(times):
        piece = samples.copy()
        if n > 0:
            piece[:fade] *= np.sin(angle)
        if n < times - 1:
            piece[len(piece) - fade :] *= np.cos(angle)
        out[n * step : n * step + len(piece)] += piece
    return out[:count]


def _power(samples: Samples) -> float:
    return float(np.mean(np.square(samples, dtype=np.float64))) if len(samples) else 0.0


def _energy(outputs: Tensor) -> NDArray[np.float64]:
    """Energy by frame and group of bands: (96, 4 T) to (T, 8)."""
    squares = outputs.double().square().reshape(_GROUPS, -1, FRAMES, STEPS)
    return np.asarray(squares.sum((1, 3)).T.numpy(), np.float64)


def _audible(energy: NDArray[np.float64], rest: NDArray[np.float64]) -> NDArray[np.bool_]:
    """Frames (T,) in which a sound stands out of the rest in some group of bands."""
    loud = energy > 10 ** (_FLOOR_DB / 10) * energy.max()
    return np.asarray(((energy > rest) & loud).any(1), np.bool_)
