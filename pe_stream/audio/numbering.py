"""Position of live audio in time: absolute sample indices and segments, across breaks."""

from __future__ import annotations

from pe_stream.core.types import SAMPLE_RATE, AudioChunk, Samples

_STRAY_S = 0.5

_STRAY_BLOCKS = 8
"""As often in a row; a single block may just have been held up."""


class Numbering:
    """Numbers the samples of a live source; single-threaded.

    Call `begin` before the first sample and at every break, `chunk` for every run of samples.

    begun: whether a segment has begun.
    """

    def __init__(self, first_sample: int, at_s: float | None = None) -> None:
        """at_s: when the first sample would have been captured (monotonic), if that is known."""
        self.begun = False
        self._next = first_sample
        self._origin = first_sample
        self._origin_s = at_s
        self._origin_ns = 0
        self._announced = False
        self._astray = 0

    def waits(self, since_s: float) -> None:
        """Nothing has come since then (monotonic), if nothing has come at all: that is lost."""
        if self._origin_s is None:
            self._origin_s = since_s

    def begin(self, at_s: float, utc_ns: int, *, lost: bool) -> None:
        """A segment begins with the next sample, captured at `at_s` (monotonic) and `utc_ns`.

        lost: samples are missing before it; the index advances by as many as the time since the
        segment before began has room for, and at the very first, the time since `at_s`.
        """
        if lost and self._origin_s is not None:
            expected = self._origin + round((at_s - self._origin_s) * SAMPLE_RATE)
            self._next = max(self._next, expected)
        self._origin, self._origin_s, self._origin_ns = self._next, at_s, utc_ns
        self._astray = 0
        self._announced, self.begun = False, True

    def strayed(self, utc_ns: int) -> bool:
        """Whether UTC counted in samples is off by more than 0.5 s, as asked 8 times in a row.

        utc_ns: when the next sample was captured.

        The wall clock was set (a machine without a battery-backed clock has just heard from a
        time server), or the source's clock has drifted away over hours.
        """
        astray = abs(utc_ns - self._counted_ns) > _STRAY_S * 1e9
        self._astray = self._astray + 1 if astray else 0
        return self._astray >= _STRAY_BLOCKS

    def ahead(self, utc_ns: int) -> bool:
        """Whether samples were counted into the future, by more than 0.5 s, as `strayed` has it."""
        return self._counted_ns - utc_ns > _STRAY_S * 1e9

    def chunk(self, samples: Samples, captured_s: float) -> AudioChunk:
        """The next samples, the last of which was captured at `captured_s` (monotonic)."""
        anchor_ns = None if self._announced else self._origin_ns
        chunk = AudioChunk(self._next, samples, anchor_ns, captured_s)
        self._next = chunk.end
        self._announced = True
        return chunk

    @property
    def _counted_ns(self) -> int:
        return self._origin_ns + (self._next - self._origin) * 1_000_000_000 // SAMPLE_RATE
