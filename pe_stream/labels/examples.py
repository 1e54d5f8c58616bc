"""Recordings that teach a label its sound: read, looked over, embedded; once, then from a cache."""

from __future__ import annotations

import hashlib
import logging
import os
import tempfile
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import cached_property
from math import inf
from pathlib import Path
from zipfile import BadZipFile

import numpy as np
from numpy.typing import NDArray

from pe_stream.audio import media
from pe_stream.config.paths import cache_folder
from pe_stream.core.types import FRAME, FRAME_S, SAMPLE_RATE, FrameEmbeddings, Samples, Window
from pe_stream.errors import UnavailableError
from pe_stream.labels.duplicate_audio import same_recording, trace
from pe_stream.labels.fingerprint import digest
from pe_stream.model.checkpoint import Checkpoint
from pe_stream.model.codec import Stream
from pe_stream.model.engine import Engine
from pe_stream.model.no_model import no_words

log = logging.getLogger(__name__)

LONGEST_S = 60.0
"""Longer recordings are no example of one sound."""

SHORTEST_S = 0.12
"""Less of a sound than this is too little to learn from: three frames."""

QUIET_DBFS = -60.0
"""A frame below this level holds no sound."""

FAINT_DBFS, STANDS_OUT_DB = -45.0, 10.0
"""A sound fainter than this throughout must stand out of the room's noise by so much."""

RANGE_DB = 20.0
"""A frame is active within this of the recording's loudest frame."""

_WINDOW = 250
"""Frames embedded at once at most: the default window."""

_KEPT = 500
"""Files in the cache at most: those used longest ago go."""


@dataclass(frozen=True, slots=True, eq=False)
class Example:
    """A recording of the sound.

    embeddings: (frames, D) of all of it; active: (frames,) bool, where the sound is; trace: by
        which it is known again.
    """

    name: str
    embeddings: FrameEmbeddings
    active: NDArray[np.bool_]
    trace: Samples

    @property
    def sound(self) -> FrameEmbeddings:
        """The active frames' embeddings."""
        return self.embeddings[self.active]


def read(path: str, begin_s: float = 0.0, end_s: float = inf) -> Samples:
    """Samples (n,) of a recording, or of a part of it.

    Raises UnavailableError naming the recording: unreadable, or too long.
    """
    begin, end = round(begin_s * SAMPLE_RATE), end_s * SAMPLE_RATE
    recording = media.read(path)
    pieces: list[Samples] = []
    for chunk in recording:
        piece = chunk.samples[max(0, begin - chunk.start) :]
        if chunk.start + len(chunk.samples) >= end:
            pieces.append(piece[: max(0, round(end) - max(begin, chunk.start))])
            break
        pieces.append(piece)
        if chunk.start + len(chunk.samples) - begin > LONGEST_S * SAMPLE_RATE:
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
    levels = levels_dbfs(samples)
    loudest = require_sound(levels, name)
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


def levels_dbfs(samples: Samples) -> NDArray[np.float64]:
    """Levels (frames,) of (n,) samples; -120 dBFS is digital silence."""
    framed = _framed(samples).astype(np.float64)
    levels: NDArray[np.float64] = 10 * np.log10(np.mean(framed**2, axis=1) + 1e-12)
    return levels


def require_sound(levels: NDArray[np.float64], name: str) -> float:
    """The highest of the levels (frames,). Raises UnavailableError if it is below QUIET_DBFS."""
    loudest = float(levels.max(initial=-np.inf))
    if loudest < QUIET_DBFS:
        heard = "-inf" if loudest <= -119 else f"{loudest:.0f}"
        raise UnavailableError(
            f"{name}: silent: nothing in it is above {QUIET_DBFS:g} dBFS (loudest: {heard} dBFS)"
        )
    return loudest


class Embedder:
    """Embeds recordings with one engine: that copies the codec, so it is made once for many.

    It is made when something is embedded at all: mostly, all is in the cache. For one thread.
    """

    def __init__(self, checkpoint: Checkpoint) -> None:
        """Take the checkpoint; nothing is made yet."""
        self.checkpoint = checkpoint

    def embed(self, samples: Samples) -> FrameEmbeddings:
        """Embeddings (frames, D) of (n,) samples, in windows of at most 10 s, without overlap."""
        framed = _framed(samples)
        windows = np.array_split(framed, -(-len(framed) // _WINDOW))
        parts = []
        for window in windows:
            heard = self._engine.hear_and_embed([Stream()], [Window(0, window.ravel())])
            ((_, embeddings),) = heard
            assert embeddings is not None  # noqa: S101 - they were asked for
            parts.append(embeddings)
        return np.concatenate(parts)

    @cached_property
    def _engine(self) -> Engine:
        return Engine(self.checkpoint, no_words(self.checkpoint))


def load(embedder: Embedder, path: str) -> Example:
    """An example, from the cache where its content was embedded before.

    Raises UnavailableError naming the file: unreadable, silent, too short, too long.
    """
    key = f"example-{digest(path)}-{embedder.checkpoint.identity}"

    def compute() -> dict[str, NDArray[np.generic]]:
        samples = read(path)
        active = active_part(samples, path)
        kept = {"active": active, "trace": trace(samples)}
        return {"embeddings": embedder.embed(samples), **kept}

    made = cached(key, compute)
    return Example(
        path,
        made["embeddings"].astype(np.float16),
        made["active"].astype(np.bool_),
        made["trace"].astype(np.float32),
    )


def distinct(loaded: Sequence[Example]) -> tuple[list[Example], list[tuple[Example, Example]]]:
    """Each recording once; and those that are left out, each with the one that it repeats."""
    kept: list[Example] = []
    repeated: list[tuple[Example, Example]] = []
    for each in loaded:
        first = next((other for other in kept if same_recording(each.trace, other.trace)), None)
        if first is None:
            kept.append(each)
        else:
            repeated.append((each, first))
    return kept, repeated


Arrays = Mapping[str, NDArray[np.generic]]


def cached(key: str, compute: Callable[[], Arrays]) -> Arrays:
    """The cached arrays, or those computed now, which are then cached where possible."""
    path = _folder() / f"{hashlib.sha256(key.encode()).hexdigest()[:32]}.npz"
    with suppress(OSError, ValueError, EOFError, BadZipFile):  # damaged: computed again
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


def _framed(samples: Samples) -> Samples:
    """(frames, FRAME), the last filled up with zeros."""
    count = max(1, -(-len(samples) // FRAME))
    return np.pad(samples, (0, count * FRAME - len(samples))).reshape(count, FRAME)


def _folder() -> Path:
    return cache_folder() / "embeddings"


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
