"""The level of a source, second by second: its mean and its peak, as it is and A-weighted.

Levels are in dBFS: a sample of magnitude 1 is a peak of 0 dBFS, and a mean square of 1 is 0 dBFS,
so that a sine at full scale has -3.0. How many dB(A) that is in the room depends on the microphone.
Digital silence has no logarithm: FLOOR_DBFS stands for it, and for all that is below.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from pe_stream.core.a_weighting import AWeighting
from pe_stream.core.timebase import Segment
from pe_stream.core.types import SAMPLE_RATE, AudioChunk
from pe_stream.core.utc import utc_moment, utc_text

FLOOR_DBFS = -120.0
"""The lowest level that is told: 22 dB below the noise of 16 bits."""


@dataclass(frozen=True, slots=True)
class SoundLevel:
    """The level of a stretch of sound, a second or several.

    samples: how many it is of. power, peak: mean square and greatest magnitude, 1 is full scale;
    a_power, a_peak: the same A-weighted. end_ns: UTC of its end (ns). last: the segment ends there.
    """

    samples: int
    power: float
    peak: float
    a_power: float
    a_peak: float
    end_ns: int = 0
    last: bool = False

    @property
    def mean_dbfs(self) -> float:
        """RMS level, or equivalent level."""
        return dbfs(self.power)

    @property
    def peak_dbfs(self) -> float:
        """Level of the greatest sample."""
        return dbfs(self.peak**2)

    @property
    def a_mean_dbfs(self) -> float:
        """A-weighted equivalent level."""
        return dbfs(self.a_power)

    @property
    def a_peak_dbfs(self) -> float:
        """Level of the greatest A-weighted sample."""
        return dbfs(self.a_peak**2)

    def to_dict(self) -> dict[str, Any]:
        """UTC of its end, its length (s), and the four levels (dBFS), as MQTT and the API tell."""
        return {
            "at": utc_text(utc_moment(self.end_ns)),
            "seconds": round(self.samples / SAMPLE_RATE, 3),
            "mean_dbfs": self.mean_dbfs,
            "peak_dbfs": self.peak_dbfs,
            "a_mean_dbfs": self.a_mean_dbfs,
            "a_peak_dbfs": self.a_peak_dbfs,
        }


class LevelMeter:
    """Measures one source. It is fed every chunk once, in order.

    Seconds begin with their segment, however sound is cut into chunks; the last of a segment may be
    shorter. A break resets the filter: no level has sound of before and after.
    """

    def __init__(self) -> None:
        """Begin with nothing heard."""
        self._second = np.empty(SAMPLE_RATE, np.float32)
        self._filled = 0
        self._begin(Segment(0, 0))
        self._done: list[SoundLevel] = []

    def hear(self, chunk: AudioChunk) -> None:
        """Take the next sound; one with an anchor begins a segment."""
        if chunk.anchor_ns is not None:
            self.end()
            self._begin(Segment(chunk.start, chunk.anchor_ns))
        if chunk.mark is not None:
            self._segment.clock.pass_through(*chunk.mark)
        samples = chunk.samples
        while len(samples):
            if self._filled == SAMPLE_RATE:  # not before, as it might have been the last
                self._measure(last=False)
            taken = samples[: SAMPLE_RATE - self._filled]
            self._second[self._filled : self._filled + len(taken)] = taken
            self._filled += len(taken)
            samples = samples[len(taken) :]

    def end(self) -> None:
        """The segment ends here."""
        if self._filled:
            self._measure(last=True)

    def take(self) -> list[SoundLevel]:
        """The seconds that were completed since the last time, in order."""
        done, self._done = self._done, []
        return done

    def _begin(self, segment: Segment) -> None:
        self._segment, self._heard = segment, 0
        self._filter = AWeighting()

    def _measure(self, *, last: bool) -> None:
        second, self._filled = self._second[: self._filled], 0
        weighted = self._filter.filter(second)
        self._heard += len(second)
        self._done.append(
            SoundLevel(
                len(second),
                float(np.square(second, dtype=np.float64).mean()),
                float(np.abs(second).max()),
                float(np.square(weighted).mean()),
                float(np.abs(weighted).max()),
                self._segment.utc_ns(self._segment.start + self._heard),
                last,
            )
        )


def together(levels: Sequence[SoundLevel]) -> SoundLevel:
    """The level of several stretches as of one: powers averaged, peaks the highest."""
    samples = sum(level.samples for level in levels)
    return SoundLevel(
        samples,
        sum(level.power * level.samples for level in levels) / samples,
        max(level.peak for level in levels),
        sum(level.a_power * level.samples for level in levels) / samples,
        max(level.a_peak for level in levels),
        levels[-1].end_ns,
        levels[-1].last,
    )


def dbfs(power: float) -> float:
    """Level of a mean square (dBFS, to a tenth), no lower than FLOOR_DBFS."""
    return max(FLOOR_DBFS, round(10 * float(np.log10(power)), 1)) if power > 0 else FLOOR_DBFS
