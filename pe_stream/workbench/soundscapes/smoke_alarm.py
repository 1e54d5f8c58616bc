"""The scene that matters most: a smoke alarm over speech or music, and what only sounds like one.

Alarms there are only from formulas, so what is heard of them is judged apart from other sounds.
"""

from __future__ import annotations

import numpy as np

from pe_stream.audio.activity import active
from pe_stream.audio.synthesis import room_noise
from pe_stream.audio.synthesis.alarms import temporal_three
from pe_stream.core.types import SAMPLE_RATE, Samples
from pe_stream.errors import UnavailableError
from pe_stream.workbench.manifest import Clip
from pe_stream.workbench.soundscapes.everyday import add
from pe_stream.workbench.soundscapes.scene import Scene, Soundscape, random_room
from pe_stream.workbench.soundscapes.sources import (
    LONGEST_S,
    ROOM,
    Background,
    Sound,
    SoundLibrary,
    cut,
    made,
    read,
    sounding,
    trimmed,
)

LABEL = "smoke alarm"
SPEECH, MUSIC = "speech", "music"

SNR_DB = 0.0
"""Level of the alarm above the speech or music, over the alarm's duration."""

COUNTER_EXAMPLES = ("microwave beep", "single beep")
"""Made sounds that a careless ear takes for an alarm."""

_BIRDS = frozenset({"bird", "birds", "canary", "crow", "parrot", "rooster", "seagull", "seagulls"})
"""Words of the manifest's labels."""


def compose(
    rng: np.random.Generator,
    index: int,
    sources: SoundLibrary,
    seconds: float,
    snr_db: tuple[float, float],
    *,
    over: str = SPEECH,
) -> Soundscape:
    """Even numbers: an alarm over speech, at 3.1 kHz and 520 Hz by turns. Odd: none.

    over: SPEECH, or MUSIC instead. All are in a room with its reverberation and noise. Raises
    UnavailableError where there is none of that, or naming a clip that cannot be read.
    """
    count = round(seconds * SAMPLE_RATE)
    scene = Scene(Background(ROOM, room_noise(rng, count)), random_room(rng))
    if index % 2 == 0:
        clips = _alarm_over(rng, scene, sources, over, low=index % 4 == 2, snr_db=snr_db)
        return scene.finish(rng, clips)
    for label in _mistakable(rng, sources):
        add(rng, scene, sources.draw(rng, label), rng.uniform(*snr_db))
    return scene.finish(rng)


def over_music(
    rng: np.random.Generator,
    index: int,
    sources: SoundLibrary,
    seconds: float,
    snr_db: tuple[float, float],
) -> Soundscape:
    """The same over music."""
    return compose(rng, index, sources, seconds, snr_db, over=MUSIC)


def _alarm_over(
    rng: np.random.Generator,
    scene: Scene,
    sources: SoundLibrary,
    over: str,
    *,
    low: bool,
    snr_db: tuple[float, float],
) -> tuple[Clip, ...]:
    """Place both; speech or music begins up to 2 s earlier. Returns the clips of that."""
    longest_s = min(LONGEST_S, 0.7 * len(scene) / SAMPLE_RATE)
    alarm = made(LABEL, temporal_three(rng, low=low)[: round(longest_s * SAMPLE_RATE)])
    ended = scene.heard(alarm)[1]
    start = int(rng.integers(max(1, len(scene) - ended + 1)))
    track = scene.place(alarm, start, rng.uniform(*snr_db))
    early = min(start, int(rng.integers(2 * SAMPLE_RATE)))
    drawn = _speech if over == SPEECH else _music
    other, clips = drawn(rng, sources, early + ended)
    scene.place(other, start - early, -SNR_DB, against=track, over=(start, start + ended))
    return clips


def _speech(
    rng: np.random.Generator, sources: SoundLibrary, count: int
) -> tuple[Sound, tuple[Clip, ...]]:
    """Words, one after the other with short pauses, `count` samples: one event."""
    clips = sources.clips.get(SPEECH)
    if not clips:
        raise UnavailableError(f"the scene needs clips labelled {SPEECH!r}; the manifest has none")
    used: list[Clip] = []
    pieces = []
    total = 0
    while total < count:
        clip = clips[int(rng.integers(len(clips)))]
        word = _voice(cut(rng, clip).samples)
        pause = np.zeros(int(rng.uniform(0.05, 0.3) * SAMPLE_RATE), np.float32)
        pieces += [word / np.sqrt(np.mean(np.square(word))), pause]
        total += len(word) + len(pause)
        used.append(clip)
    said = np.concatenate(pieces).astype(np.float32)[:count]
    return Sound(SPEECH, trimmed(said, len(said) / SAMPLE_RATE)), tuple(used)


def _music(
    rng: np.random.Generator, sources: SoundLibrary, count: int
) -> tuple[Sound, tuple[Clip, ...]]:
    """Music without a pause, `count` samples of one piece or, of short ones, more: one event."""
    clips = [clip for label in _of_music(sources) for clip in sources.clips[label]]
    if not clips:
        raise UnavailableError(f"the scene needs clips of {MUSIC}; the manifest has none")
    used: list[Clip] = []
    pieces = []
    total = 0
    while total < count:
        clip = clips[int(rng.integers(len(clips)))]
        piece = sounding(read(clip))
        if not len(piece):
            raise UnavailableError(f"{clip.path}: it is silent where music should be cut from it")
        first = int(rng.integers(max(1, len(piece) - (count - total) + 1)))
        piece = piece[first : first + count - total]
        pieces.append(piece / np.sqrt(np.mean(np.square(piece))))
        total += len(piece)
        used.append(clip)
    played = np.concatenate(pieces).astype(np.float32)
    return Sound(MUSIC, trimmed(played, len(played) / SAMPLE_RATE)), tuple(dict.fromkeys(used))


def _voice(samples: Samples) -> Samples:
    """Without the rumble below 100 Hz in which some speakers' microphones stood, and its pauses."""
    size = 2 * len(samples)
    hz = np.fft.rfftfreq(size, 1 / SAMPLE_RATE)
    spectrum = np.fft.rfft(samples, size) / (1 + (100 / np.maximum(hz, 1)) ** 8)
    voice = np.asarray(np.fft.irfft(spectrum, size)[: len(samples)], np.float32)
    stretches = active(voice)
    if not stretches:
        return samples  # there was nothing but rumble
    start, end = max(stretches, key=lambda span: span[1] - span[0])
    return voice[start:end]


def _mistakable(rng: np.random.Generator, sources: SoundLibrary) -> list[str]:
    """Two to five labels of one kind: music, beeps or birds."""
    music = sorted(
        {label for label, clips in sources.clips.items() if clips[0].dataset == MUSIC}
        | set(_of_music(sources))
    )
    birds = sorted(label for label in sources.clips if _BIRDS & set(label.split()))
    kinds = [kind for kind in (list(COUNTER_EXAMPLES), music, birds) if kind]
    kind = kinds[int(rng.integers(len(kinds)))]
    return [kind[int(rng.integers(len(kind)))] for _ in range(int(rng.integers(2, 6)))]


def _of_music(sources: SoundLibrary) -> list[str]:
    """The labels that say music, and not a single instrument's note."""
    return sorted(label for label in sources.clips if MUSIC in label.split())
