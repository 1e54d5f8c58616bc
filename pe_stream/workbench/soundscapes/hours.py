"""Hours of one house that have no recording in common, to calibrate on some and judge on others.

Every clip sounds once, in one hour, in a random scene of it. Behind it is a room or an ambience:
the same ones in all hours, and of an ambience another part in each.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np

from pe_stream.audio.synthesis import room_noise
from pe_stream.core.types import SAMPLE_RATE, Samples
from pe_stream.errors import UnavailableError
from pe_stream.workbench.manifest import Clip
from pe_stream.workbench.soundscapes.everyday import add
from pe_stream.workbench.soundscapes.scene import Scene, Soundscape, random_room
from pe_stream.workbench.soundscapes.sources import ROOM, Background, behind, cut, read, sounding

SCENE_S = 30.0
SCENES = 120
"""Scenes of an hour."""

SNR_DB = (0.0, 20.0)

_MADE_SHARE = 0.2
_ROOMS = 0.5
"""How many of the scenes are in a room with reverberation."""

_SHORTEST_S = 4.0
"""An ambience of which an hour would have less is left out."""


class Hours:
    """So many hours, at least two; the same clips, count and seed make the same."""

    def __init__(
        self, clips: Sequence[Clip], ambiences: Sequence[Clip], count: int, seed: int
    ) -> None:
        """Share out the recordings; raises UnavailableError where an hour would have none."""
        recordings = sorted({clip.recording for clip in clips})
        if len(recordings) < count:
            raise UnavailableError(f"{len(recordings)} recordings are too few for {count} hours")
        np.random.default_rng(seed).shuffle(recordings)
        turns = {recording: turn % count for turn, recording in enumerate(recordings)}
        self._clips = [[c for c in clips if turns[c.recording] == n] for n in range(count)]
        self._ambiences, self._seed = ambiences, seed

    def scenes(self, hour: int) -> Iterator[Soundscape]:
        """The scenes of that hour, from 0; raises UnavailableError naming a clip that is no use."""
        rng = np.random.default_rng([self._seed, hour])
        clips = self._clips[hour]
        places = rng.integers(SCENES, size=len(clips))
        parts = [(clip, self._part(clip, hour)) for clip in self._ambiences]
        parts = [each for each in parts if len(each[1]) >= _SHORTEST_S * SAMPLE_RATE]
        for index in range(SCENES):
            background = _background(rng, parts)
            scene = Scene(background, random_room(rng) if rng.random() < _ROOMS else None)
            for clip, place in zip(clips, places, strict=True):
                if place == index:
                    add(rng, scene, cut(rng, clip), rng.uniform(*SNR_DB))
            yield scene.finish(rng)

    def _part(self, clip: Clip, hour: int) -> Samples:
        samples = sounding(read(clip))
        size = len(samples) // len(self._clips)
        return samples[hour * size : (hour + 1) * size]


def _background(rng: np.random.Generator, parts: Sequence[tuple[Clip, Samples]]) -> Background:
    count = round(SCENE_S * SAMPLE_RATE)
    if not parts or rng.random() < _MADE_SHARE:
        return Background(ROOM, room_noise(rng, count))
    clip, samples = parts[int(rng.integers(len(parts)))]
    return behind(rng, clip, samples, count)
