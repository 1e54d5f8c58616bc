"""The sound of a source that people may listen to live: silence where it is to be withheld; pure.

What withholds a clip, a label of `never_when`, makes silence here. An event is known only some time
after its onset, so sound is held back until no such event can begin in it any more; what is not
known of in time is silence, too.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Collection, Iterator

import numpy as np

from pe_stream.core.types import SAMPLE_RATE, Samples

MARGIN = SAMPLE_RATE
"""Around an event, so much (1 s) is silence, too: scores rise a little later than the sound."""

MOST_HELD = 10 * SAMPLE_RATE
"""So much (10 s) is held back at most."""

AudibleRun = tuple[int, Samples]
"""Absolute index of the first sample, and (n,) samples without a break."""


class AudibleSound:
    """What may be heard of one source; fed every sample once, in order, after its events."""

    def __init__(self, never_when: Collection[str]) -> None:
        """never_when: labels that make silence."""
        self._never_when = frozenset(never_when)
        self._held: deque[AudibleRun] = deque()
        self._open: dict[str, int] = {}
        self._spans: list[tuple[int, int]] = []

    @property
    def never_when(self) -> frozenset[str]:
        """Labels that make silence."""
        return self._never_when

    def opened(self, label: str, onset: int) -> None:
        """An event began at the sample `onset`."""
        if label in self._never_when:
            self._open[label] = onset

    def closed(self, label: str, offset: int) -> None:
        """It ended at the sample `offset`."""
        onset = self._open.pop(label, None)
        if onset is not None:
            self._spans.append((onset - MARGIN, offset + MARGIN))

    def take(self, start: int, samples: Samples, settled: int, *, last: bool) -> list[AudibleRun]:
        """Take the next (n,) samples; returns what may be heard by now.

        settled: no event of `never_when` that is open, or still to be told, begins before this
        sample. last: the segment ends here.
        """
        end = start + len(samples)
        if not self._never_when:
            return [(start, samples)] if len(samples) else []
        self._held.append((start, samples))
        known = settled if last and not self._open else settled - MARGIN
        until = end if last or self._open else max(known, end - MOST_HELD)
        runs = [(at, self._silenced(at, piece, known)) for at, piece in self._released(until)]
        begin = self._held[0][0] if self._held else end
        self._spans = [span for span in self._spans if span[1] > begin]
        return runs

    def _released(self, until: int) -> Iterator[AudibleRun]:
        while self._held and self._held[0][0] < until:
            start, samples = self._held.popleft()
            count = until - start
            if count < len(samples):
                self._held.appendleft((until, samples[count:]))
                samples = samples[:count]
            if len(samples):
                yield start, samples

    def _silenced(self, start: int, samples: Samples, known: int) -> Samples:
        """The samples with zeros from `known` on, and around events."""
        spans = [*self._spans, (known, start + len(samples))]
        inside = [(max(0, a - start), b - start) for a, b in spans if a < start + len(samples)]
        inside = [(a, b) for a, b in inside if b > a]
        if not inside:
            return samples
        silenced = np.array(samples)
        for a, b in inside:
            silenced[a:b] = 0
        return silenced
