"""The last half minute of every source as it was heard: what a page that is opened begins with.

Only kept here, so that it costs the scoring thread nothing; spectra are made when somebody looks.
"""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from itertools import groupby

import numpy as np

from pe_stream.core.detector import Heard
from pe_stream.core.timebase import follows
from pe_stream.core.types import FRAME, FRAME_NS, FRAME_S, FrameScores, Samples

KEPT = 825
"""Frames of a source (33 s): what the page draws. Six megabytes, nearly all of it the audio."""


@dataclass(frozen=True, slots=True)
class RecentStretch:
    """Frames of a source without a break.

    start_ns: UTC of the first; scores: (frames, labels); samples: their audio, (frames * FRAME,).
    """

    source: str
    labels: tuple[str, ...]
    start_ns: int
    scores: FrameScores
    samples: Samples


@dataclass(slots=True)
class _KeptBlock:
    pieces: deque[tuple[float, RecentStretch]] = field(default_factory=deque)
    frames: int = 0


class RecentAudio:
    """Safe to use from any thread."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        """Begin with nothing. clock: seconds, by which it is told what was long ago."""
        self._clock = clock
        self._lock = threading.Lock()
        self._kept: dict[str, _KeptBlock] = {}
        self._count = 0

    def add(self, source: str, names: Sequence[str], heard: Heard) -> int:
        """Keep the next frames of a source; returns how often that was done, of all sources."""
        piece = RecentStretch(
            source, tuple(names), heard.start_ns, heard.scores.copy(), heard.samples
        )
        with self._lock:
            kept = self._kept.setdefault(source, _KeptBlock())
            kept.pieces.append((self._clock(), piece))
            kept.frames += len(piece.scores)
            while kept.frames - len(kept.pieces[0][1].scores) >= KEPT:
                kept.frames -= len(kept.pieces.popleft()[1].scores)
            self._count += 1
            return self._count

    def all(self, source: str | None) -> tuple[int, list[RecentStretch]]:
        """What is kept of a source, or of all (None), in its order, hop by hop.

        The number is what `add` returned last: all that was added up to then was considered. What a
        source heard longer ago, that is lost since, is not lately.
        """
        with self._lock:
            oldest_s = self._clock() - KEPT * FRAME_S
            pieces = [
                piece
                for name, kept in self._kept.items()
                if source in (None, name)
                for at_s, piece in kept.pieces
                if at_s >= oldest_s
            ]
            return self._count, pieces


def joined(pieces: Sequence[RecentStretch]) -> list[RecentStretch]:
    """The same with what follows without a break put together, each KEPT frames at most."""
    runs: list[int] = []
    for number, piece in enumerate(pieces):
        follows = number > 0 and _follows(pieces[number - 1], piece)
        runs.append(runs[-1] if follows else number)
    numbered = groupby(zip(runs, pieces, strict=True), key=lambda each: each[0])
    return [_together([piece for _, piece in run]) for _, run in numbered]


def whole(samples: Samples, frames: int) -> Samples:
    """Samples filled up with zeros to whole frames."""
    return np.pad(samples, (0, frames * FRAME - len(samples)))


def _follows(before: RecentStretch, after: RecentStretch) -> bool:
    end_ns = before.start_ns + len(before.scores) * FRAME_NS
    same = (before.source, before.labels) == (after.source, after.labels)
    return same and follows(end_ns, after.start_ns, len(before.scores))


def _together(pieces: Sequence[RecentStretch]) -> RecentStretch:
    first, last = pieces[0], pieces[-1]
    scores = np.concatenate([piece.scores for piece in pieces])[-KEPT:]
    samples = [whole(piece.samples, len(piece.scores)) for piece in pieces]
    gone = sum(len(piece.scores) for piece in pieces) - len(scores)
    return RecentStretch(
        first.source,
        first.labels,
        last.start_ns - (len(scores) - len(last.scores)) * FRAME_NS,
        scores,
        np.concatenate(samples)[gone * FRAME :],
    )
