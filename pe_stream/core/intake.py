"""The audio of one segment on its way from its source to the ring."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass, field

from pe_stream.core.timebase import SampleClock
from pe_stream.core.types import AudioChunk, Reason, Samples


@dataclass(slots=True)
class Intake:
    """Arrived and not yet in the ring.

    start, end: absolute sample indices of the whole segment so far; anchor_ns: UTC of `start`.
    ended: no more will come; what is open then is closed with `reason`.
    captured: (absolute end of a chunk, when it was captured), for the latency. clock: of the
    segment.
    """

    start: int
    anchor_ns: int
    end: int
    chunks: deque[Samples] = field(default_factory=deque)
    captured: deque[tuple[int, float]] = field(default_factory=deque)
    clock: SampleClock = field(default_factory=SampleClock)
    ended: bool = False
    reason: Reason | None = None

    def add(self, chunk: AudioChunk) -> None:
        """Take the next chunk."""
        self.chunks.append(chunk.samples)
        self.captured.append((chunk.end, chunk.captured_s))
        self.end = chunk.end
        if chunk.mark is not None:
            self.clock.pass_through(*chunk.mark)

    def take(self, count: int) -> Iterator[Samples]:
        """Remove the oldest `count` samples, in pieces."""
        while count > 0:
            piece = self.chunks.popleft()
            if len(piece) > count:
                self.chunks.appendleft(piece[count:])
                piece = piece[:count]
            count -= len(piece)
            yield piece

    def captured_s(self, sample: int) -> float:
        """When the sample before index `sample` was captured; not of what was forgotten."""
        times = (captured_s for end, captured_s in self.captured if end >= sample)
        return next(times, self.captured[-1][1])

    def forget(self, sample: int) -> None:
        """Nobody will ask for an index below `sample` any more."""
        while len(self.captured) > 1 and self.captured[0][0] < sample:
            self.captured.popleft()
