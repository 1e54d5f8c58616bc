"""Sample index to UTC and back to seconds, one clock per unbroken segment."""

from __future__ import annotations

from bisect import bisect_right
from dataclasses import dataclass, field

from pe_stream.core.types import FRAME, FRAME_NS, SAMPLE_RATE
from pe_stream.core.utc import utc_moment, utc_text

_STRAIGHT_NS = 500_000
"""Points that lie closer to a straight line (ns) are left out."""

_APART = 60 * SAMPLE_RATE
"""Points are at most so far apart (samples) where there are more."""

_MOST = 4000
"""Points that are kept; no event is open for as long as that takes."""

FASTEST = 0.05
"""A sender's clock is fast or slow by this part at most, as it is followed."""


class SampleClock:
    """UTC of samples by their absolute index: straight lines between points. One thread's.

    What was said of a sample stays so, to some milliseconds.
    """

    __slots__ = ("_ns", "_samples")

    def __init__(self) -> None:
        """Begin without a point."""
        self._samples: list[int] = []
        self._ns: list[int] = []

    def pass_through(self, sample: int, utc_ns: int) -> None:
        """The next point: UTC of a sample, later than all before or the same as the last."""
        samples, ns = self._samples, self._ns
        if samples and sample <= samples[-1]:
            return
        if len(samples) > 1 and sample - samples[-2] <= _APART:
            # Where the last point lies on the way to this one, it is not needed.
            part = (samples[-1] - samples[-2]) / (sample - samples[-2])
            if abs(ns[-2] + part * (utc_ns - ns[-2]) - ns[-1]) <= _STRAIGHT_NS:
                samples[-1], ns[-1] = sample, utc_ns
                return
        samples.append(sample)
        ns.append(utc_ns)
        if len(samples) > _MOST:
            del samples[: _MOST // 2], ns[: _MOST // 2]

    def utc_ns(self, sample: int, start: int, anchor_ns: int) -> int:
        """UTC of a sample (ns); before and after all points, counted at 48 kHz.

        start, anchor_ns: a point before all others.
        """
        samples = self._samples
        after = bisect_right(samples, sample)
        if after:
            start, anchor_ns = samples[after - 1], self._ns[after - 1]
        if after == len(samples) or sample < start:
            return anchor_ns + (sample - start) * 1_000_000_000 // SAMPLE_RATE
        part = (sample - start) * (self._ns[after] - anchor_ns)
        return anchor_ns + part // (samples[after] - start)


@dataclass(frozen=True, slots=True)
class Segment:
    """A stretch of a source without a break.

    start: absolute index of its first sample; the frame grid begins there.
    anchor_ns: UTC of that sample, ns since 1970.
    first_frame: how many frames the source had before this segment.
    clock: UTC of later samples, which grows as they come; without one they are counted.
    """

    start: int
    anchor_ns: int
    first_frame: int = 0
    clock: SampleClock = field(default_factory=SampleClock)

    def sample(self, frame: int) -> int:
        """Absolute index of the first sample of a frame (frames counted over the source)."""
        return self.start + (frame - self.first_frame) * FRAME

    def seconds(self, sample: int) -> float:
        """Seconds from the start of the segment, to the millisecond."""
        return round((sample - self.start) / SAMPLE_RATE, 3)

    def utc(self, sample: int) -> str:
        """UTC of a sample as ISO 8601 with milliseconds and `Z`."""
        return utc_text(utc_moment(self.utc_ns(sample)))

    def utc_ns(self, sample: int) -> int:
        """UTC of a sample in ns since 1970."""
        return self.clock.utc_ns(sample, self.start, self.anchor_ns)


def follows(end_ns: int, start_ns: int, frames: int) -> bool:
    """Whether frames that begin at start_ns (UTC) go on where others ended, as these count them.

    frames: how many of the others there are: their sender's clock may be fast or slow.
    """
    return abs(start_ns - end_ns) <= FRAME_NS // 2 + FASTEST * frames * FRAME_NS
