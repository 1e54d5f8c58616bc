"""Mixing: events over a background at a known ratio, in a room, at the level of a microphone.

The ratio (SNR, dB) compares mean powers over the event's own duration: the event, as heard in the
room, against the background alone.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from pe_stream.audio.synthesis import in_room, room_response
from pe_stream.core.types import SAMPLE_RATE, Samples
from pe_stream.workbench.manifest import Clip
from pe_stream.workbench.soundscapes.sources import Background, Sound

LEVELS_DBFS = (-45.0, -12.0)
"""Between these is the level (RMS) of a whole soundscape."""

_LARGEST = 0.9
"""No sample is beyond this; the level gives way."""

_REVERBERANT_DB = 30.0
"""A sound has ended where its reverberation is this far below its loudest 10 ms."""

_STEP = SAMPLE_RATE // 100

Track = NDArray[np.float64]
"""A signal as long as the scene, shape (n,)."""


@dataclass(frozen=True, slots=True)
class Room:
    """A room: its answer without the direct sound, and how loud (dB, energies) against that."""

    response: Samples
    wet_db: float


@dataclass(frozen=True, slots=True)
class SceneEvent:
    """One label of the truth; `start` and `end` in samples, `snr_db` against the background.

    clip: of which it is; None where it is of several. made: it is of none, but from a formula.
    """

    label: str
    start: int
    end: int
    snr_db: float
    clip: Clip | None
    made: bool = False

    @property
    def onset_s(self) -> float:
        """Start (s)."""
        return self.start / SAMPLE_RATE

    @property
    def offset_s(self) -> float:
        """End (s)."""
        return self.end / SAMPLE_RATE


@dataclass(frozen=True, slots=True)
class Soundscape:
    """A soundscape: (n,) float32 at 48 kHz, and its true events, in order of onset.

    clips: all that went into it.
    """

    samples: Samples
    background: str
    events: tuple[SceneEvent, ...]
    clips: tuple[Clip, ...]


def random_room(rng: np.random.Generator) -> Room:
    """A furnished room of a house, from a bedroom to a stairwell."""
    return Room(room_response(rng, rng.uniform(0.2, 0.8)), rng.uniform(-15, -4))


class Scene:
    """A background, and what has been placed over it so far."""

    def __init__(self, background: Background, room: Room | None = None) -> None:
        self.background = background
        self.events: list[SceneEvent] = []
        self._room = room
        self._clips = [background.clip] if background.clip else []
        self._quiet: Track = background.samples.astype(np.float64)
        self._mixed: Track = self._quiet.copy()

    def __len__(self) -> int:
        return len(self._quiet)

    def heard(self, sound: Sound) -> tuple[Samples, int]:
        """The sound in the scene's room, and at which sample of it it has ended."""
        if self._room is None:
            return sound.samples, len(sound.samples)
        heard = in_room(sound.samples, self._room.response, self._room.wet_db)
        return heard, _ended(heard, at_least=len(sound.samples))

    def place(
        self,
        sound: Sound,
        start: int,
        snr_db: float,
        *,
        against: Track | None = None,
        over: tuple[int, int] | None = None,
    ) -> Track:
        """Mix a sound in from sample `start` on, and note it; returns it as it is in the mixture.

        snr_db is against the background over the event's duration, unless something else is
        given: `against`, a track as this returns, or `over`, (start, end). What passes the
        scene's end is cut, which is where the event then ends.
        """
        heard, ended = self.heard(sound)
        end = min(start + ended, len(self))
        track = np.zeros(len(self))
        room = min(len(heard), len(self) - start)
        track[start : start + room] = heard[:room]
        window = slice(*(over or (start, end)))
        reference = _power((self._quiet if against is None else against)[window])
        track *= np.sqrt(10 ** (snr_db / 10) * reference / _power(track[window]))
        self._mixed += track
        told_db = 10 * np.log10(_power(track[start:end]) / _power(self._quiet[start:end]))
        event = SceneEvent(sound.label, start, end, float(told_db), sound.clip, sound.made)
        self.events.append(event)
        if sound.clip:
            self._clips.append(sound.clip)
        return track

    def is_free(self, label: str, start: int, end: int, apart_s: float) -> bool:
        """Whether no event of that label is nearer than `apart_s` to these samples."""
        apart = round(apart_s * SAMPLE_RATE)
        return all(
            event.label != label or end + apart <= event.start or event.end + apart <= start
            for event in self.events
        )

    def finish(self, rng: np.random.Generator, clips: tuple[Clip, ...] = ()) -> Soundscape:
        """The soundscape at a random level; `clips`: what else went into it."""
        level = 10 ** (rng.uniform(*LEVELS_DBFS) / 20)
        gain = level / np.sqrt(_power(self._mixed))
        gain = min(gain, _LARGEST / np.abs(self._mixed).max())
        return Soundscape(
            samples=np.asarray(gain * self._mixed, np.float32),
            background=self.background.label,
            events=tuple(sorted(self.events, key=lambda event: (event.start, event.label))),
            clips=tuple(dict.fromkeys((*self._clips, *clips))),
        )


def _power(signal: Track) -> float:
    # What is silent is as good as nothing, and still can be compared.
    return float(np.mean(np.square(signal))) + 1e-20


def _ended(heard: Samples, at_least: int) -> int:
    steps = heard[: len(heard) // _STEP * _STEP].reshape(-1, _STEP)
    power = np.square(steps, dtype=np.float64).mean(axis=1)
    if not len(power):
        return len(heard)
    loud = np.flatnonzero(power >= power.max() * 10 ** (-_REVERBERANT_DB / 10))
    return min(len(heard), max(at_least, int(loud[-1] + 1) * _STEP))
