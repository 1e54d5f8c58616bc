"""Sample index to UTC and back to seconds, one anchor per unbroken segment."""

from __future__ import annotations

from dataclasses import dataclass

from pe_stream.core.types import FRAME, SAMPLE_RATE
from pe_stream.core.utc import utc_moment, utc_text


@dataclass(frozen=True, slots=True)
class Segment:
    """A stretch of a source without a break.

    start: absolute index of its first sample; the frame grid begins there.
    anchor_ns: UTC of that sample, ns since 1970.
    first_frame: how many frames the source had before this segment.
    """

    start: int
    anchor_ns: int
    first_frame: int = 0

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
        """UTC of a sample in ns since 1970, from the anchor and the sample count alone."""
        return self.anchor_ns + (sample - self.start) * 1_000_000_000 // SAMPLE_RATE
