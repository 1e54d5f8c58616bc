"""What leaves the detector of a source's sound: clips, and what one may listen to; pure."""

from __future__ import annotations

from collections.abc import Collection

from pe_stream.core.audible import AudibleRun, AudibleSound
from pe_stream.core.clipper import Clipper, ClipRule, Piece
from pe_stream.core.ring import Ring
from pe_stream.core.types import Event, Phase, Samples


class Recorder:
    """Of one source; told of every event, and of all audio after its events."""

    def __init__(self, rule: ClipRule, ring: Ring) -> None:
        """ring: holds the latest audio; of the detector, which fills it."""
        self._ring = ring
        self._clipper = Clipper(rule)
        self._audible = AudibleSound(rule.never_when)
        self._pieces: list[Piece] = []

    @property
    def never_when(self) -> Collection[str]:
        """Labels whose events withhold sound."""
        return self._audible.never_when

    def event(self, event: Event, onset: int, offset: int) -> None:
        """Take a phase of an event; onset, offset: absolute samples."""
        if event.phase is Phase.START:
            self._clipper.opened(event.id, event.label, onset, self._ring)
            self._audible.opened(event.label, onset)
        elif event.phase is Phase.END:
            self._clipper.closed(event.id, offset)
            self._audible.closed(event.label, offset)

    def cut(self, settled: int | None) -> None:
        """Cut clips out of the ring.

        settled: no event still to be told begins before this sample; None: the segment ends here.
        """
        if settled is None:
            self._pieces += self._clipper.finish(self._ring)
        else:
            self._pieces += self._clipper.take(self._ring, settled)

    def clips(self) -> list[Piece]:
        """Audio of clips that was cut since the last time."""
        pieces, self._pieces = self._pieces, []
        return pieces

    def audible(
        self, start: int, samples: Samples, settled: int, *, last: bool
    ) -> list[AudibleRun]:
        """What one may listen to by now; see `AudibleSound.take`."""
        return self._audible.take(start, samples, settled, last=last)
