"""Recordings that teach a label its sound: read, looked over, embedded; once, then from a cache."""

from __future__ import annotations

import hashlib
import logging
import os
import tempfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from zipfile import BadZipFile

import numpy as np
from numpy.typing import NDArray
from platformdirs import user_cache_dir

from pe_stream import synthesis
from pe_stream.assets import DEMO_RECORDING
from pe_stream.audio import media
from pe_stream.config import LabelSettings
from pe_stream.core.types import FRAME, FRAME_S, SAMPLE_RATE, FrameEmbeddings, Samples, Window
from pe_stream.errors import PeStreamError, UnavailableError
from pe_stream.fingerprint import METHOD, digest
from pe_stream.model.checkpoint import Checkpoint
from pe_stream.model.codec import Stream
from pe_stream.model.engine import Engine
from pe_stream.model.enrolment import Learned, learn, space_of, with_learned
from pe_stream.model.prompts import LabelEmbeddings, LabelPrompts, embed_labels

log = logging.getLogger(__name__)

LONGEST_S = 60.0
"""Longer recordings are no example of one sound."""

SHORTEST_S = 0.12
"""Less of a sound than this is too little to learn from: three frames."""

QUIET_DBFS = -60.0
"""A frame below this level holds no sound."""

FAINT_DBFS, STANDS_OUT_DB = -45.0, 10.0
"""What is fainter than this all through has to stand out of the room's noise by so much."""

RANGE_DB = 20.0
"""A frame is active within this of the recording's loudest frame."""

_WINDOW = 250
"""Frames embedded at once at most: the default window."""

_KEPT = 500
"""Files in the cache at most: those used longest ago go."""

_SEED = 5
_SOUND_S, _NOISE_S = 3.0, 2.0


@dataclass(frozen=True, slots=True, eq=False)
class Example:
    """A recording of the sound.

    embeddings: (frames, D) of all of it; active: (frames,) bool, where the sound is.
    """

    name: str
    embeddings: FrameEmbeddings
    active: NDArray[np.bool_]

    @property
    def sound(self) -> FrameEmbeddings:
        """The active frames' embeddings."""
        return self.embeddings[self.active]


def read(path: str) -> Samples:
    """Samples (n,) of a recording. Raises UnavailableError naming it: unreadable, or too long."""
    recording = media.read(path)
    pieces: list[Samples] = []
    for chunk in recording:
        pieces.append(chunk.samples)
        if chunk.start + len(chunk.samples) > LONGEST_S * SAMPLE_RATE:
            raise UnavailableError(
                f"{path}: longer than {LONGEST_S:g} s: cut it to the sound that it is to teach"
            )
    return np.concatenate(pieces)


def active_part(samples: Samples, name: str) -> NDArray[np.bool_]:
    """In which frames of (n,) samples the sound is, (frames,); the last frame may be incomplete.

    Those within RANGE_DB of the loudest and not below QUIET_DBFS: a steady sound is all active.
    Raises UnavailableError, calling the recording `name`, where that is less than SHORTEST_S, and
    where there is only silence or the noise of a room.
    """
    framed = _framed(samples)
    levels = 10 * np.log10(np.mean(framed.astype(np.float64) ** 2, axis=1) + 1e-12)
    loudest = float(levels.max(initial=-np.inf))
    if loudest < QUIET_DBFS:
        heard = "-inf" if loudest <= -119 else f"{loudest:.0f}"
        raise UnavailableError(
            f"{name}: silent: nothing in it is above {QUIET_DBFS:g} dBFS (loudest: {heard} dBFS)"
        )
    if loudest < FAINT_DBFS and loudest - float(np.median(levels)) < STANDS_OUT_DB:
        raise UnavailableError(
            f"{name}: nothing stands out of the room's noise (loudest: {loudest:.0f} dBFS): "
            "record the sound from nearer"
        )
    active: NDArray[np.bool_] = levels >= max(loudest - RANGE_DB, QUIET_DBFS)
    if active.sum() * FRAME_S < SHORTEST_S - 1e-9:
        raise UnavailableError(
            f"{name}: too short: {active.sum() * FRAME_S:.2f} s of sound, "
            f"{SHORTEST_S:g} s are needed"
        )
    return active


def embed(checkpoint: Checkpoint, samples: Samples) -> FrameEmbeddings:
    """Embeddings (frames, D) of (n,) samples, in windows of at most 10 s that do not overlap."""
    engine = Engine(checkpoint, embed_labels(checkpoint, {"": LabelPrompts(("sound",))}))
    framed = _framed(samples)
    windows = np.array_split(framed, -(-len(framed) // _WINDOW))
    parts = []
    for window in windows:
        ((_, embeddings),) = engine.hear_and_embed([Stream()], [Window(0, window.ravel())])
        assert embeddings is not None  # noqa: S101 - they were asked for
        parts.append(embeddings)
    return np.concatenate(parts)


def load(checkpoint: Checkpoint, path: str) -> Example:
    """An example, from the cache where its content was embedded before.

    Raises UnavailableError naming the file: unreadable, silent, too short, too long.
    """
    key = f"{digest(path)}-{checkpoint.identity}"

    def compute() -> dict[str, NDArray[np.generic]]:
        samples = read(path)
        active = active_part(samples, path)
        return {"embeddings": embed(checkpoint, samples), "active": active}

    made = _cached(key, compute)
    return Example(path, made["embeddings"].astype(np.float16), made["active"].astype(np.bool_))


def background(checkpoint: Checkpoint) -> dict[str, FrameEmbeddings]:
    """Sounds that are something else, by what they are: (frames, D) each.

    The demo recording, one of each synthesised sound, and noise of four colours, loud and soft: two
    minutes, computed once for a checkpoint.
    """

    def compute() -> dict[str, NDArray[np.generic]]:
        log.info("embedding the background that examples are set against, once per checkpoint")
        return {name: embed(checkpoint, samples) for name, samples in _background_sounds()}

    made = _cached(f"background{METHOD}-{checkpoint.identity}", compute)
    return {name: each.astype(np.float16) for name, each in made.items()}


def teach(
    checkpoint: Checkpoint, embeddings: LabelEmbeddings, labels: Mapping[str, LabelSettings]
) -> LabelEmbeddings:
    """The labels' embeddings, those with examples learned from them too.

    Raises UnavailableError naming the label and the file.
    """
    taught = {name: label.examples for name, label in labels.items() if label.examples}
    if not taught:
        return embeddings
    others = list(background(checkpoint).values())
    space = space_of(checkpoint)
    learned: dict[str, Learned] = {}
    for name, paths in taught.items():
        words = words_of(embeddings, name)
        sounds = [_of_label(checkpoint, name, path).sound for path in paths]
        learned[name] = learn(words, sounds, others, space)
    return with_learned(embeddings, learned)


def words_of(embeddings: LabelEmbeddings, name: str) -> NDArray[np.float64]:
    """A label's row (D,)."""
    row: NDArray[np.float64] = embeddings.rows[embeddings.names.index(name)].double().cpu().numpy()
    return row


def _of_label(checkpoint: Checkpoint, name: str, path: str) -> Example:
    try:
        return load(checkpoint, path)
    except PeStreamError as error:
        raise UnavailableError(f"labels.{name}.examples: {error}") from error


def _framed(samples: Samples) -> Samples:
    """(frames, FRAME), the last filled up with zeros."""
    count = max(1, -(-len(samples) // FRAME))
    return np.pad(samples, (0, count * FRAME - len(samples))).reshape(count, FRAME)


def _background_sounds() -> Iterator[tuple[str, Samples]]:
    rng = np.random.default_rng(_SEED)
    yield "a demo of a house", np.concatenate([c.samples for c in media.read(str(DEMO_RECORDING))])
    for name, make in synthesis.SOUNDS.items():
        yield name, make(rng)[: round(_SOUND_S * SAMPLE_RATE)] * np.float32(0.3)
    count = round(_NOISE_S * SAMPLE_RATE)
    for colour, slope in {"white": 0.0, "bright": 0.5, "pink": 1.0, "brown": 1.5}.items():
        yield f"{colour} noise", _noise(rng, count, slope, 0.1)
        yield f"soft {colour} noise", _noise(rng, count, slope, 0.001)


def _noise(rng: np.random.Generator, count: int, slope: float, rms: float) -> Samples:
    spectrum = np.fft.rfft(rng.normal(size=count))
    hertz = np.maximum(np.fft.rfftfreq(count, 1 / SAMPLE_RATE), 20.0)
    noise = np.fft.irfft(spectrum / hertz**slope, count)
    scaled: Samples = (noise * (rms / np.sqrt(np.mean(noise**2)))).astype(np.float32)
    return scaled


def _folder() -> Path:
    return Path(user_cache_dir("pe-stream")) / "embeddings"


Arrays = Mapping[str, NDArray[np.generic]]


def _cached(key: str, compute: Callable[[], Arrays]) -> Arrays:
    """What was computed before, or now, and then kept where that is possible."""
    path = _folder() / f"{hashlib.sha256(key.encode()).hexdigest()[:32]}.npz"
    with suppress(OSError, ValueError, EOFError, BadZipFile):  # damaged: computed anew
        with path.open("rb") as file, np.load(file) as saved:
            found = {name: saved[name] for name in saved.files}
        os.utime(path)
        return found
    made = compute()
    try:
        _keep(path, made)
    except OSError as error:
        log.warning("%s: embeddings are not kept for the next start: %s", path, error.strerror)
    return made


def _keep(path: Path, made: Arrays) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, name = tempfile.mkstemp(dir=path.parent, suffix=".part")
    try:
        with os.fdopen(handle, "wb") as file:
            np.savez(file, allow_pickle=False, **made)
        Path(name).replace(path)
    except OSError:
        Path(name).unlink(missing_ok=True)
        raise
    kept = sorted(path.parent.glob("*.npz"), key=lambda each: each.stat().st_mtime)
    for old in kept[:-_KEPT]:
        old.unlink(missing_ok=True)
