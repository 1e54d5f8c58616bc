"""A centred mean of one label's scores over time, and where the sound in it begins and ends.

The mean of a frame is over the frames that exist, up to `half` on either side of it: fewer at the
beginning and end of a segment, none beyond a break. It is therefore known `half` frames after the
frame, or at the end.

A mean rises before a sound and falls after it. So it says that something sounds, and the scores
themselves when: of the frames that it is over, the first and the last at or above the threshold
asked for (`Raw.span`). If the mean reaches that, one of them does.

Scores are summed in whole steps of 2**-40, finer than float32's between 2**-16 and 1: such sums do
not depend on their order, so a mean is the same to the bit frame by frame and over a whole day.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Protocol, Self

import numpy as np
from numpy.typing import NDArray

from pe_stream.core.types import ScoreRun

_STEPS = 1 << 40


class Raw(Protocol):
    """The scores that means were made of."""

    def span(self, frame: int, least: float) -> tuple[int, int]:
        """Of the frames that the mean of `frame` is over, those at or above `least`.

        The first, and one past the last; of `frame` alone where there is none.
        """


class Smoother:
    """Scores in, means out, each `half` frames later. Frames must be given in order."""

    def __init__(self, width: int) -> None:
        """width: frames that a mean is over, odd; 1 leaves scores as they are."""
        self._half = width // 2
        self._scores: deque[float] = deque()
        self._first = 0
        """Number of the first frame that is kept."""
        self._next = 0
        """Number of the frame whose mean comes next."""
        self._sum, self._from, self._until = 0, 0, 0
        """Sum, in steps, of the frames from `_from` until before `_until`."""

    @property
    def half(self) -> int:
        """Frames by which a mean comes later than its score."""
        return self._half

    @property
    def next(self) -> int:
        """The frame whose mean comes next."""
        return self._next

    @property
    def earliest(self) -> int | None:
        """No frame before is in a mean still to come; None where nothing is kept."""
        return max(self._first, self._next - self._half) if self._scores else None

    def change(self, width: int) -> None:
        """Go on with another width; a greater one is over the frames that are still known."""
        self._half = width // 2
        self._sum = 0
        self._from = self._until = max(self._first, self._next - self._half)

    def step(self, frame: int, score: float) -> Iterator[tuple[int, float]]:
        """Take a score; yields frames and their means. `span` is of the one yielded last."""
        if not self._scores:
            self._first = self._next = self._from = self._until = frame
            self._sum = 0
        self._scores.append(score)
        yield from self._due(frame - self._half)
        while self._first < self._from:
            self._scores.popleft()
            self._first += 1

    def close(self) -> Iterator[tuple[int, float]]:
        """No more scores come: yields what is left, and forgets them."""
        yield from self._due(self._end - 1)
        self._scores.clear()

    def span(self, frame: int, least: float) -> tuple[int, int]:
        """See `Raw`."""
        begin, end = self._around(frame)
        loud = [n for n in range(begin, end) if self._scores[n - self._first] >= least]
        return (loud[0], loud[-1] + 1) if loud else (frame, frame + 1)

    def _due(self, last: int) -> Iterator[tuple[int, float]]:
        while self._next <= last:
            frame = self._next
            yield frame, self._mean(frame)
            self._next = frame + 1

    def _mean(self, frame: int) -> float:
        begin, end = self._around(frame)
        self._sum += sum(map(self._whole, range(self._until, end)))
        self._sum -= sum(map(self._whole, range(self._from, begin)))
        self._from, self._until = begin, end
        if end - begin == 1:
            return self._scores[begin - self._first]
        return self._sum / ((end - begin) * _STEPS)

    def _whole(self, frame: int) -> int:
        return int(self._scores[frame - self._first] * _STEPS)

    def _around(self, frame: int) -> tuple[int, int]:
        return max(self._first, frame - self._half), min(self._end, frame + self._half + 1)

    @property
    def _end(self) -> int:
        return self._first + len(self._scores)


@dataclass(frozen=True, slots=True, eq=False)
class SmoothRun(ScoreRun):
    """Scores without a break, and their means over `width` frames: (n,) float64."""

    width: int
    means: NDArray[np.float64]

    @classmethod
    def of(cls, run: ScoreRun, width: int) -> Self:
        """The run with its means; one that has them already is returned as it is."""
        if isinstance(run, cls) and run.width == width:
            return run
        return cls(run.start_ns, run.scores, width, smoothed(run.scores, width))


@dataclass(frozen=True, slots=True, eq=False)
class Known:
    """Scores (n,) that are all known, of frames from `first` on; see `Raw`."""

    scores: NDArray[np.floating]
    width: int
    first: int = 0

    def span(self, frame: int, least: float) -> tuple[int, int]:
        """See `Raw`."""
        at, half = frame - self.first, self.width // 2
        begin = max(0, at - half)
        around = self.scores[begin : at + half + 1].tolist()  # float64, as `least` is
        loud = [n for n, score in enumerate(around) if score >= least]
        shift = self.first + begin
        return (shift + loud[0], shift + loud[-1] + 1) if loud else (frame, frame + 1)


def smoothed(scores: NDArray[np.floating], width: int) -> NDArray[np.float64]:
    """The means of scores (n,) that are all known, (n,): the same to the bit as a Smoother's."""
    exact = scores.astype(np.float64)
    half, size = width // 2, len(scores)
    if not half or size < 2:
        return exact
    sums = np.zeros(size + 1, np.int64)
    np.cumsum((exact * _STEPS).astype(np.int64), out=sums[1:])  # differences survive an overflow
    frames = np.arange(size)
    begin, end = np.maximum(frames - half, 0), np.minimum(frames + half + 1, size)
    means: NDArray[np.float64] = (sums[end] - sums[begin]) / ((end - begin) * float(_STEPS))
    return means
