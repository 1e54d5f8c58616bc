"""Scores of the last days: gathered in memory, written each minute, read back as unbroken runs.

    add (scoring thread)  ->  a chunk a source  ->  the waiting ones  ->  this thread: encode, write

A kill costs what is in memory: up to a minute of each source. Scores that other prompts, or another
checkpoint, made of a label are never mixed with those of today: see `relabel`.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from pe_stream.config import HistorySettings
from pe_stream.core.detector import Heard
from pe_stream.core.listener import LabelsOf, Listener
from pe_stream.core.scorecode import encode
from pe_stream.core.store_status import StoreStatus
from pe_stream.core.timebase import follows
from pe_stream.core.types import FRAME_NS, FrameScores, ScoreRun
from pe_stream.storage.scores_db import CHUNK, Row, ScoresDb, default_path, stored
from pe_stream.storage.write_queue import WriteQueue

_DRIFT_NS = 60_000_000
"""Times of a chunk's frames are right to this: the clock of a source may be fast or slow."""

_MEET_NS = 100_000_000
"""Chunks that lie closer together were one stretch of sound."""

_ASTRAY_NS = 500_000_000
"""Times of a run's frames are right to this."""


def path_of(settings: HistorySettings) -> Path:
    """Database of scores under these settings."""
    return Path(settings.path) if settings.path else default_path()


def read_runs(
    path: Path, source: str, label: str, since_ns: int, until_ns: int, *, key: str | None = None
) -> list[ScoreRun]:
    """Stored scores of frames that begin in since_ns..until_ns (UTC), also beside a daemon.

    source, label: as configured, or as in topics. key: what made the scores, see
    `labels.prepare.PreparedLabels`; None is what made the newest. Raises UnavailableError where
    there is no such database.
    """
    return _joined(stored(path, source, label, since_ns, until_ns, key=key), since_ns, until_ns)


@dataclass(slots=True)
class _Chunk:
    """Up to CHUNK frames of a source, without a break; `pieces` are (frames, labels), and final."""

    source: str
    labels: tuple[str, ...]
    keys: tuple[str, ...]
    start_ns: int
    pieces: list[FrameScores] = field(default_factory=list)
    frames: int = 0
    end_ns: int = 0

    def add(self, start_ns: int, piece: FrameScores) -> None:
        """Take frames that begin there."""
        self.pieces.append(piece)
        self.frames += len(piece)
        self.end_ns = start_ns + len(piece) * FRAME_NS

    def follows(self, labels: tuple[str, ...], start_ns: int) -> bool:
        """Whether scores of these labels that begin there go on where it ends."""
        counted_ns = self.start_ns + self.frames * FRAME_NS
        goes_on = follows(self.end_ns, start_ns, len(self.pieces[-1]))
        return labels == self.labels and goes_on and abs(start_ns - counted_ns) <= _DRIFT_NS

    def rows(self) -> list[Row]:
        scores = np.concatenate(self.pieces)
        columns = zip(self.labels, self.keys, scores.T, strict=True)
        return [
            Row(self.source, label, key, self.start_ns, encode(column))
            for label, key, column in columns
        ]


class ScoreStore(Listener):
    """Keeps scores and gives them back; safe to use from any thread."""

    def __init__(
        self,
        settings: HistorySettings,
        *,
        clock: Callable[[], float] = time.time,
        on_failure: Callable[[BaseException], None] = lambda _: None,
    ) -> None:
        """Prepare; nothing is written before `start`.

        clock: UTC (s) that ages are counted from. on_failure: called with what ended the thread, if
        that was an error of ours.
        """
        self._settings = settings
        self._clock = clock
        self._keys: dict[str, str] = {}
        self._of: LabelsOf = {}
        self._lock = threading.Lock()
        self._gathered: dict[str, _Chunk] = {}
        self._queue = WriteQueue[_Chunk]("scores", "chunks of scores", _size, on_failure)

    @property
    def unavailable_reason(self) -> str | None:
        """Why nothing can be written at present, in words; None while it can."""
        return self._queue.unavailable_reason

    @property
    def lost(self) -> int:
        """Chunks (of up to a minute of a source) that could not be kept."""
        return self._queue.lost

    def status(self) -> StoreStatus:
        """How it does."""
        return StoreStatus(self.unavailable_reason, self.lost)

    def start(self) -> None:
        """Open the database and begin to write; does not fail: see `unavailable_reason`."""
        settings = self._settings
        if settings.enabled:
            store = ScoresDb(
                path_of(settings),
                keep_days=settings.keep_days,
                max_gb=settings.max_gb,
                clock=self._clock,
            )
            self._queue.start(store, lambda chunk: store.keep(chunk.rows()))

    def stop(self) -> None:
        """Write all there is, for a while; what the disk does not take then is lost."""
        with self._lock:
            for source in list(self._gathered):
                self._close(source)
        self._queue.stop()

    def labels(self, of: LabelsOf, keys: Mapping[str, str]) -> None:
        """Keep the scores of these from now on."""
        self.relabel(keys)
        self._of = of

    def scores(self, source: str, names: Sequence[str], heard: Heard) -> None:
        """Keep those of the labels that the source is listened to for."""
        self.add(source, names, self._of[source], heard.start_ns, heard.scores)

    def relabel(self, keys: Mapping[str, str]) -> None:
        """Say what makes the scores of each label from now on; other labels are not kept.

        keys: fingerprints by label, see `labels.prepare.PreparedLabels`.
        """
        with self._lock:
            for source in list(self._gathered):
                self._close(source)
            self._keys = dict(keys)

    def add(
        self,
        source: str,
        names: Sequence[str],
        wanted: Collection[str],
        start_ns: int,
        scores: FrameScores,
    ) -> None:
        """Take frames of a source that are final. Never waits for the disk.

        names: of the columns of `scores`, (frames, labels). wanted: those to be kept.
        start_ns: UTC of the first frame.
        """
        if not self._settings.enabled:
            return
        kept = frozenset(wanted)
        with self._lock:
            columns = [i for i, name in enumerate(names) if name in kept and name in self._keys]
            labels = tuple(names[i] for i in columns)
            left = scores[:, columns] if columns else scores[:0]  # a copy: nobody changes it
            while len(left):
                chunk = self._chunk(source, labels, start_ns)
                piece = left[: CHUNK - chunk.frames]
                chunk.add(start_ns, piece)
                if chunk.frames == CHUNK:
                    self._close(source)
                left = left[len(piece) :]
                start_ns += len(piece) * FRAME_NS

    def runs(self, source: str, label: str, since_ns: int, until_ns: int) -> list[ScoreRun]:
        """Scores of frames that begin in since_ns..until_ns (UTC), in order, also unwritten ones.

        Only what the label's present prompts and checkpoint made. While there is
        `unavailable_reason`, only what is in memory; raises UnavailableError where the database
        turns out unreadable here.
        """
        with self._lock:
            key = self._keys.get(label)
            held = [
                (chunk, list(chunk.pieces))
                for chunk in (*self._queue.waiting, *self._gathered.values())
                if chunk.source == source and label in chunk.labels
            ]
        if key is None:
            return []
        found = {}
        for chunk, pieces in held:
            column = chunk.labels.index(label)
            if chunk.keys[column] == key:
                found[chunk.start_ns] = np.concatenate([piece[:, column] for piece in pieces])
        # After memory: what was written between the two is there twice, and nothing is left out.
        if self._queue.writes:
            path = path_of(self._settings)
            found |= stored(path, source, label, since_ns, until_ns, key=key)
        return _joined(found, since_ns, until_ns)

    def _chunk(self, source: str, labels: tuple[str, ...], start_ns: int) -> _Chunk:
        """What frames that begin there are to be added to."""
        chunk = self._gathered.get(source)
        if chunk is None or not chunk.follows(labels, start_ns):
            self._close(source)
            keys = tuple(self._keys[label] for label in labels)
            chunk = self._gathered[source] = _Chunk(source, labels, keys, start_ns)
        return chunk

    def _close(self, source: str) -> None:
        """Have what was gathered of a source written."""
        if (chunk := self._gathered.pop(source, None)) is not None:
            self._queue.put(chunk)


def _size(chunk: _Chunk) -> int:
    """Bytes of its scores."""
    return chunk.frames * len(chunk.labels) * np.dtype(np.float32).itemsize


def _joined(
    chunks: Mapping[int, NDArray[np.float32]], since_ns: int, until_ns: int
) -> list[ScoreRun]:
    """Runs of what follows without a break, of frames that begin in since_ns..until_ns.

    A run ends, too, where its frames as they are counted have gone astray of their times.
    """
    runs: list[tuple[int, list[NDArray[np.float32]]]] = []
    end_ns = counted_ns = 0
    for at_ns, scores in sorted(chunks.items()):
        # -(-a // b) rounds up: the first frame that does not begin before.
        first = max(0, -((at_ns - since_ns) // FRAME_NS))
        piece = scores[first : max(0, -((at_ns - until_ns) // FRAME_NS))]
        if not len(piece):
            continue
        start_ns = at_ns + first * FRAME_NS
        meets = abs(start_ns - end_ns) <= _MEET_NS and abs(start_ns - counted_ns) <= _ASTRAY_NS
        if not runs or not meets:
            runs.append((start_ns, []))
            counted_ns = start_ns
        runs[-1][1].append(piece)
        end_ns = start_ns + len(piece) * FRAME_NS
        counted_ns += len(piece) * FRAME_NS
    return [ScoreRun(start_ns, np.concatenate(pieces)) for start_ns, pieces in runs]
