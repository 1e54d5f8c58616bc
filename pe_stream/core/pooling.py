"""Embeddings of frames to few bytes, for keeping: the mean of 0.4 s, a byte a dimension.

A logit is linear in the embedding, so that the score of a row is the score at the mean of its
frames' logits: a sound much shorter than a row scores lower than in its best frame.

Measured on the embedded checkpoint and the demo recording, 11 labels: a scale for each row errs by
0.009 of a score at most, and by 0.0006 on average; one for each dimension would err by 0.003, but
would have to be known before anything was heard.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from pe_stream.core.timebase import follows
from pe_stream.core.types import FRAME_NS, FrameEmbeddings

POOL = 10
"""Frames of a row: 0.4 s."""

_LARGEST = 127
_BLOCK = 2**17
"""Numbers that are multiplied at once: they stay in the cache, and on this thread."""

Rows = NDArray[np.void]
"""Rows (n,) of `row_type`."""


def row_type(width: int) -> np.dtype[np.void]:
    """Type of a row on disk: a mean is `scale` times `code`.

    start_ns: UTC of its first frame. frames: 1 to POOL, fewer where a break came.
    width: dimensions of an embedding.
    """
    fields = [("start_ns", "<i8"), ("scale", "<f4"), ("frames", "<u4"), ("code", "i1", (width,))]
    return np.dtype(fields)


@dataclass(frozen=True, slots=True, eq=False)
class Probe:
    """A text to compare with: the logit of an embedding is `embedding @ row + bias`.

    row: (D,) float32. identity: of the checkpoint that embedded it; compares with no other's.
    """

    row: NDArray[np.float32]
    bias: float
    identity: str

    def logits(self, rows: Rows) -> NDArray[np.float32]:
        """Logits (n,) of rows."""
        found = np.empty(len(rows), np.float32)
        count = max(1, _BLOCK // len(self.row))
        numbers = np.empty((count, len(self.row)), np.float32)
        for first in range(0, len(rows), count):
            codes = rows["code"][first : first + count]
            numbers[: len(codes)] = codes
            np.matmul(numbers[: len(codes)], self.row, out=found[first : first + len(codes)])
        logits: NDArray[np.float32] = found * rows["scale"] + np.float32(self.bias)
        return logits


class Pool:
    """Frames of one source to rows, as they come."""

    def __init__(self) -> None:
        """Begin with nothing."""
        self._start_ns = self._end_ns = 0
        self._last = 0
        self._left: list[NDArray[np.float32]] = []
        self._frames = 0

    def add(self, start_ns: int, embeddings: FrameEmbeddings) -> list[Rows]:
        """Take the next frames (n, D); returns the rows that are complete.

        A break, or other dimensions, cuts the row before it short.
        """
        rows: list[Rows] = []
        frames = np.nan_to_num(embeddings.astype(np.float32))
        goes_on = follows(self._end_ns, start_ns, self._last)
        if self._frames and not (goes_on and self._left[0].shape[1] == frames.shape[1]):
            rows += self.flush()
        self._start_ns = start_ns - self._frames * FRAME_NS
        self._last, self._end_ns = len(frames), start_ns + len(frames) * FRAME_NS
        while len(frames):
            piece = frames[: POOL - self._frames]
            self._left.append(piece)
            self._frames += len(piece)
            frames = frames[len(piece) :]
            if self._frames == POOL:
                end_ns = self._start_ns + POOL * FRAME_NS
                rows += self.flush()
                self._start_ns = end_ns
        return rows

    def flush(self) -> list[Rows]:
        """The remaining frames, as a shorter row."""
        if not self._frames:
            return []
        mean = np.concatenate(self._left).mean(axis=0)
        row = encode([self._start_ns], [self._frames], mean[None])
        self._left, self._frames = [], 0
        return [row]


def encode(starts_ns: Sequence[int], frames: Sequence[int], means: NDArray[np.float32]) -> Rows:
    """Means (n, D) to rows."""
    rows = np.zeros(len(means), row_type(means.shape[1]))
    scale = np.abs(means).max(axis=1) / _LARGEST
    scale[scale == 0] = 1.0
    rows["start_ns"], rows["frames"], rows["scale"] = starts_ns, frames, scale
    rows["code"] = np.rint(means / rows["scale"][:, None]).clip(-_LARGEST, _LARGEST)
    return rows


def sound(rows: Rows) -> NDArray[np.bool_]:
    """Which rows can be what `encode` made; a disk that lost power may hold others."""
    scale, frames = rows["scale"], rows["frames"]
    right: NDArray[np.bool_] = np.isfinite(scale) & (scale > 0) & (frames > 0) & (frames <= POOL)
    return right
