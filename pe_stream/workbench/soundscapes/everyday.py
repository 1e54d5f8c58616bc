"""Everyday soundscapes: some sounds, at random times, some of them at once."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from pe_stream.core.types import SAMPLE_RATE
from pe_stream.workbench.soundscapes.scene import Scene, Soundscape, random_room
from pe_stream.workbench.soundscapes.sources import Sound, SoundLibrary, trimmed

_EMPTY_EVERY = 5
"""One soundscape in this many has a background and nothing else."""

_SECONDS_AN_EVENT = 6.0
_ROOMS = 0.5
"""How many of the soundscapes are in a room with reverberation."""

_APART_S = 0.5
"""Two events of one label are at least this far apart, or nobody could tell them apart."""

_TRIES = 20


def compose(
    rng: np.random.Generator,
    index: int,
    sources: SoundLibrary,
    seconds: float,
    snr_db: tuple[float, float],
) -> Soundscape:
    """The soundscape of that number: one to about `seconds` / 6 events; none in every fifth.

    Raises UnavailableError naming a clip that cannot be read.
    """
    count = round(seconds * SAMPLE_RATE)
    background = sources.draw_background(rng, count)
    room = random_room(rng) if rng.random() < _ROOMS else None
    scene = Scene(background, room)
    if index % _EMPTY_EVERY != _EMPTY_EVERY - 1:
        most = max(1, round(seconds / _SECONDS_AN_EVENT))
        for _ in range(int(rng.integers(1, most + 1))):
            label = sources.draw_label(rng, unlike=background.label)
            if label is not None:
                add(rng, scene, sources.draw(rng, label), rng.uniform(*snr_db))
    return scene.finish(rng)


def add(rng: np.random.Generator, scene: Scene, sound: Sound, snr_db: float) -> bool:
    """Place a sound where it fits and no other of its label is near; False where nowhere does.

    What is longer than the scene is cut to it.
    """
    longest_s = len(scene) / SAMPLE_RATE
    sound = replace(sound, samples=trimmed(sound.samples, longest_s))
    ended = scene.heard(sound)[1]
    for _ in range(_TRIES):
        start = int(rng.integers(max(1, len(scene) - ended + 1)))
        if scene.is_free(sound.label, start, start + ended, _APART_S):
            scene.place(sound, start, snr_db)
            return True
    return False
