"""What came of a stream, and when its sounds were, as it says."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from pe_stream.core.timebase import Segment
from pe_stream.core.types import AudioChunk


@dataclass
class Heard:
    """What came of a stream. chunks: in order; describe: what it said of itself."""

    chunks: list[AudioChunk] = field(default_factory=list)
    describe: str = ""

    @property
    def segments(self) -> int:
        return sum(chunk.anchor_ns is not None for chunk in self.chunks)

    @property
    def lost_s(self) -> float:
        ends = [0, *(chunk.end for chunk in self.chunks)]
        gaps = [chunk.start - end for chunk, end in zip(self.chunks, ends, strict=False)]
        return sum(gaps[1:]) / 48_000

    @property
    def ticks_s(self) -> list[float]:
        """UTC (s) of the tones' onsets."""
        found: list[float] = []
        segment = Segment(0, 0)
        for chunk in self.chunks:
            if chunk.anchor_ns is not None:
                segment = Segment(chunk.start, chunk.anchor_ns)
            if chunk.mark is not None:
                segment.clock.pass_through(*chunk.mark)
            for at in np.flatnonzero(np.abs(chunk.samples) > 0.2):
                utc_s = segment.utc_ns(chunk.start + int(at)) / 1e9
                if not found or utc_s - found[-1] > 0.3:
                    found.append(utc_s)
        return found
