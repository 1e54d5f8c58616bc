"""The last seconds of a source, addressed by absolute sample index."""

from __future__ import annotations

import numpy as np

from pe_stream.core.types import Samples


class OverwrittenError(LookupError):
    """The samples asked for were here once and are gone."""


class NotYetError(LookupError):
    """The samples asked for have not arrived."""


class Ring:
    """A ring buffer of `capacity` samples that knows which absolute indices it holds."""

    def __init__(self, capacity: int) -> None:
        """Make an empty ring that begins at index 0."""
        self._buffer = np.zeros(capacity, np.float32)
        self._begin = 0
        self._end = 0

    @property
    def start(self) -> int:
        """Absolute index of the oldest sample still held."""
        return max(self._begin, self._end - len(self._buffer))

    @property
    def end(self) -> int:
        """Absolute index one past the newest sample."""
        return self._end

    def restart(self, at: int) -> None:
        """Forget everything; the next sample appended has absolute index `at`."""
        self._begin = self._end = at

    def append(self, samples: Samples) -> None:
        """Add (n,) samples; of more than the capacity only the newest are kept."""
        size = len(self._buffer)
        kept = samples[-size:]
        first = (self._end + len(samples) - len(kept)) % size
        head = min(len(kept), size - first)
        self._buffer[first : first + head] = kept[:head]
        self._buffer[: len(kept) - head] = kept[head:]
        self._end += len(samples)

    def read(self, start: int, end: int) -> Samples:
        """Copy of the samples from `start` up to `end`, shape (end - start,).

        Raises OverwrittenError or NotYetError where not all of them are held.
        """
        if start < self.start:
            msg = f"samples from {start} are asked for; the oldest held is {self.start}"
            raise OverwrittenError(msg)
        if end > self._end:
            raise NotYetError(f"samples up to {end} are asked for; {self._end} have arrived")
        size = len(self._buffer)
        first, count = start % size, end - start
        head = min(count, size - first)
        return np.concatenate([self._buffer[first : first + head], self._buffer[: count - head]])
