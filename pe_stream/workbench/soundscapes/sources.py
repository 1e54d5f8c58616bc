"""Material of soundscapes: events cut from clips, synthesised sounds, backgrounds."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import dataclass

import numpy as np

from pe_stream.audio import media
from pe_stream.audio.activity import active
from pe_stream.audio.crossfade import repeated
from pe_stream.audio.synthesis import SOUNDS, room_noise
from pe_stream.core.types import SAMPLE_RATE, Samples
from pe_stream.errors import UnavailableError
from pe_stream.workbench.manifest import Clip

LONGEST_S = 10.0
"""Events are cut to this length."""

BACKGROUNDS = frozenset({"crackling fire", "rain", "sea waves", "wind"})
"""Labels whose clips are a background too, besides all of the data set `background`."""

ROOM = "quiet room"
"""The name of the background that is made and not recorded."""

AMBIENCES = "background"
"""The data set whose clips are backgrounds, and no events."""

_MADE_SHARE = 0.2
_WEIGHT = 8
"""Clips past this many make a label no likelier, or one of hundreds would crowd out the rest."""

_LOUD_DB = 12.0
"""A stretch of a clip that stays this far below its loudest is no good example of its label."""

_SHORTEST_BACKGROUND_S = 1.0
_EDGE_S = 0.004


@dataclass(frozen=True, slots=True)
class Sound:
    """One event by itself: (n,) float32 at 48 kHz, audible from its first to its last sample.

    clip: where it was cut from, if from one. made: from a formula.
    """

    label: str
    samples: Samples
    clip: Clip | None = None
    made: bool = False


@dataclass(frozen=True, slots=True)
class Background:
    """A background: (n,) float32 at 48 kHz, standard deviation 1."""

    label: str
    samples: Samples
    clip: Clip | None = None


class SoundLibrary:
    """The sounds and backgrounds there are; each is read when drawn.

    made: labels of `synthesis.SOUNDS` to mix in. wanted: labels that events may have, all where
    it is empty; a background is of none of them. related: labels too near to those to be a
    background, though nobody wants them. behind: labels whose clips are backgrounds too, besides
    BACKGROUNDS. A clip in which something that is wanted sounds besides its label is left out:
    nobody could tell when.

    Raises UnavailableError where no sound is left.
    """

    def __init__(
        self,
        clips: Iterable[Clip],
        made: Iterable[str],
        wanted: Collection[str] = (),
        related: Collection[str] = (),
        behind: Collection[str] = (),
    ) -> None:
        self.clips: dict[str, list[Clip]] = {}
        self._backgrounds: list[Clip] = []
        quiet = {*BACKGROUNDS, *behind, ""}
        for clip in clips:
            ambient = clip.dataset == AMBIENCES or clip.label in quiet
            heard = any(
                name in related or any(_alike(name, label) for label in wanted)
                for name in (clip.label, *clip.also)
            )
            if ambient and not heard:
                self._backgrounds.append(clip)
            mixed = any(name in wanted or name in related for name in clip.also)
            if clip.label and clip.dataset != AMBIENCES and not mixed:
                self.clips.setdefault(clip.label, []).append(clip)
        self.made = frozenset(made)
        chosen = [label for label in (*self.clips, *self.made) if not wanted or label in wanted]
        self.labels: tuple[str, ...] = tuple(sorted(set(chosen)))
        if not self.labels:
            raise UnavailableError("there is no sound of any label wanted, neither clip nor made")

    def draw_label(self, rng: np.random.Generator, unlike: str) -> str | None:
        """A label with no word in common with `unlike`; None where there is none."""
        able = [label for label in self.labels if not _alike(label, unlike)]
        if not able:
            return None
        weights = np.array([min(len(self._takes(label)), _WEIGHT) for label in able], float)
        return able[int(rng.choice(len(able), p=weights / weights.sum()))]

    def draw(self, rng: np.random.Generator, label: str) -> Sound:
        """One sound of that label, cut from a clip or made.

        Raises UnavailableError naming a clip that cannot be read or is silent.
        """
        takes = self._takes(label)
        return _taken(rng, label, takes[int(rng.integers(len(takes)))])

    def draw_background(self, rng: np.random.Generator, count: int) -> Background:
        """`count` samples of a clip, repeated where it is shorter, or of a made room.

        Raises UnavailableError naming a clip that cannot be read.
        """
        if not self._backgrounds or rng.random() < _MADE_SHARE:
            return Background(ROOM, room_noise(rng, count))
        by_label: dict[str, list[Clip]] = {}
        for clip in self._backgrounds:
            by_label.setdefault(clip.label, []).append(clip)
        clips = by_label[sorted(by_label)[int(rng.integers(len(by_label)))]]
        clip = clips[int(rng.integers(len(clips)))]
        samples = sounding(read(clip))
        if len(samples) < _SHORTEST_BACKGROUND_S * SAMPLE_RATE:
            return Background(ROOM, room_noise(rng, count))
        return behind(rng, clip, samples, count)

    def _takes(self, label: str) -> Sequence[Clip | Callable[[np.random.Generator], Samples]]:
        made = [SOUNDS[label]] * _WEIGHT if label in self.made else []
        return [*self.clips.get(label, ()), *made]


def read(clip: Clip) -> Samples:
    """The whole clip, (n,) at 48 kHz; raises UnavailableError naming the file."""
    return np.concatenate([chunk.samples for chunk in media.read(str(clip.path))])


def sounding(samples: Samples) -> Samples:
    """The longest stretch that is not silence."""
    stretches = active(samples)
    start, end = max(stretches, key=lambda span: span[1] - span[0], default=(0, 0))
    return samples[start:end]


def behind(rng: np.random.Generator, clip: Clip, samples: Samples, count: int) -> Background:
    """`count` samples of a background, of which there are some, (n,): begun anywhere, repeated."""
    samples = repeated(samples, count + int(rng.integers(len(samples))))[-count:]
    level = np.sqrt(np.mean(np.square(samples, dtype=np.float64)))
    return Background(clip.label, np.asarray(samples / level, np.float32), clip)


def cut(rng: np.random.Generator, clip: Clip) -> Sound:
    """One event of a clip, at most 10 s: its strong label, or a stretch of what is loud in it.

    Raises UnavailableError naming a clip that cannot be read or is silent.
    """
    samples = read(clip)
    if clip.onset_s is not None and clip.offset_s is not None:
        stretches = [(round(clip.onset_s * SAMPLE_RATE), round(clip.offset_s * SAMPLE_RATE))]
    else:
        stretches = _loud(samples, active(samples))
    if not stretches or not np.any(samples[slice(*stretches[0])]):
        raise UnavailableError(f"{clip.path}: it is silent where an event should be cut from it")
    start, end = stretches[int(rng.integers(len(stretches)))]
    return Sound(clip.label, trimmed(samples[start:end], LONGEST_S), clip)


def made(label: str, samples: Samples) -> Sound:
    """A sound from a formula as one event, pauses and all, without silence before and after."""
    stretches = active(samples)
    whole = samples[stretches[0][0] : stretches[-1][1]]
    return Sound(label, trimmed(whole, LONGEST_S), made=True)


def trimmed(samples: Samples, longest_s: float) -> Samples:
    """The first `longest_s`, with ends that do not click."""
    out = samples[: round(longest_s * SAMPLE_RATE)].copy()
    edge = min(round(_EDGE_S * SAMPLE_RATE), len(out) // 4)
    ramp = np.linspace(0, 1, edge, endpoint=False, dtype=np.float32)
    out[:edge] *= ramp
    out[len(out) - edge :] *= ramp[::-1]
    return out


def _taken(
    rng: np.random.Generator, label: str, take: Clip | Callable[[np.random.Generator], Samples]
) -> Sound:
    if isinstance(take, Clip):
        return cut(rng, take)
    return made(label, take(rng))


def _loud(samples: Samples, stretches: Sequence[tuple[int, int]]) -> list[tuple[int, int]]:
    """The stretches that come near to the loudest."""
    peaks = [float(np.abs(samples[start:end]).max()) for start, end in stretches]
    least = max(peaks, default=0.0) * 10 ** (-_LOUD_DB / 20)
    return [span for span, peak in zip(stretches, peaks, strict=True) if peak >= least]


def _alike(label: str, other: str) -> bool:
    return label == other or bool(set(label.split()) & set(other.split()) - {"and", "of", "on"})
