"""Position of live audio in time: absolute sample indices and segments, across breaks."""

from __future__ import annotations

from collections import deque
from typing import NamedTuple

from pe_stream.core.stream_clock import Arrival, PlacedAudio, StreamClock
from pe_stream.core.types import SAMPLE_RATE, AudioChunk, Samples


class _Stretch(NamedTuple):
    """The position of a segment's first sample, its absolute index, and its UTC (ns)."""

    position: int
    sample: int
    anchor_ns: int


class Numbering:
    """Numbers the samples of one connection to a live source, as its clock has them.

    Single-threaded. Samples are never changed; what an earlier connection has brought already is
    left out. Chunks come as soon as it is known when their samples were made: see `StreamClock`.
    """

    def __init__(self, first_sample: int, at_s: float | None = None) -> None:
        """first_sample: index of the first sample, or of one before by as much as is lost.

        at_s: when the sample before it was captured (monotonic), if there was one.
        """
        self._clock = StreamClock(at_s)
        self._next = first_sample
        # Samples that are not numbered yet, each piece with its position: samples since the first.
        self._waiting: deque[tuple[int, Samples]] = deque()
        self._end = 0
        self._first = 0  # what is before it was heard on an earlier connection
        self._stretch = _Stretch(0, first_sample, 0)
        self._announced = False
        self._captured_s = at_s or 0.0

    @property
    def due_s(self) -> float | None:
        """When to call `settle` if nothing comes (monotonic); None where nothing waits for it."""
        return self._clock.due_s

    @property
    def numbered(self) -> int:
        """Position, in samples since the first that came, before which all is numbered."""
        return self._waiting[0][0] if self._waiting else self._end

    def sample_at(self, position: int) -> int | None:
        """Absolute index of what came at a position; None where that is before the segment."""
        before = self._stretch
        return None if position < before.position else before.sample + position - before.position

    def waits(self, since_s: float) -> None:
        """Nothing has come since then (monotonic), if nothing has come at all: that is lost."""
        self._clock.waits(since_s)

    def add(self, samples: Samples, arrival: Arrival) -> list[AudioChunk]:
        """Take the audio of an arrival; returns the chunks that can be numbered by now.

        samples: (n,) at 48 kHz, what a resampler makes of it by now: it may hold some back for the
        next time.
        """
        if arrival.broken:  # resampling began anew, with what the clock has counted
            self._end = round(self._clock.count_s * SAMPLE_RATE)
        placed = self._clock.add(arrival)
        self.rest(samples)
        return self._numbered(placed)

    def rest(self, samples: Samples) -> None:
        """Take what a resampler has held back of the audio before."""
        if len(samples):
            self._waiting.append((self._end, samples))
            self._end += len(samples)

    def settle(self) -> list[AudioChunk]:
        """The chunks that wait, as no more comes for now."""
        return self._numbered(self._clock.settle())

    def finish(self) -> list[AudioChunk]:
        """Everything that is left, as no more comes at all."""
        return self.settle() + self._cut(self._end, None)

    def _numbered(self, placed: list[PlacedAudio]) -> list[AudioChunk]:
        chunks: list[AudioChunk] = []
        for each in placed:
            if each.begins:
                chunks += self._cut(round(each.begin_s * SAMPLE_RATE), None)
            if each.begins or each.heard_s:
                self._begin(each)
            chunks += self._cut(round(each.end_s * SAMPLE_RATE), each)
        return chunks

    def _begin(self, placed: PlacedAudio) -> None:
        """A segment begins with what of this run was not there before."""
        position = round((placed.begin_s + placed.heard_s) * SAMPLE_RATE)
        part = placed.heard_s / (placed.end_s - placed.begin_s)
        anchor_ns = placed.start_ns + round(part * (placed.end_ns - placed.start_ns))
        comes = self._waiting[0][0] if self._waiting else self._end
        if placed.heard_s:
            self._first = position
        elif comes < position:  # a resampler still had it
            anchor_ns -= (position - comes) * 1_000_000_000 // SAMPLE_RATE
            position = comes
        else:
            before = self._stretch
            self._next = max(self._next, before.sample + position - before.position)
        self._next += round(placed.lost_s * SAMPLE_RATE)
        self._stretch = _Stretch(position, self._next, anchor_ns)
        self._announced = False

    def _cut(self, position: int, placed: PlacedAudio | None) -> list[AudioChunk]:
        """What waits before a position, as chunks."""
        mark = None
        if placed is not None:
            self._captured_s = placed.captured_s
            mark = self._stretch.sample + position - self._stretch.position, placed.end_ns
        chunks: list[AudioChunk] = []
        while self._waiting and self._waiting[0][0] < position:
            at, samples = self._waiting.popleft()
            if at + len(samples) > position:
                self._waiting.appendleft((position, samples[position - at :]))
                samples = samples[: position - at]
            samples = samples[max(0, self._first - at) :]
            if len(samples):
                anchor_ns = None if self._announced else self._stretch.anchor_ns
                chunks.append(AudioChunk(self._next, samples, anchor_ns, self._captured_s, mark))
                self._next, self._announced = chunks[-1].end, True
        return chunks
