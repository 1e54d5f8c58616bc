"""Which window of a segment is due, and what gives way when scoring falls behind.

All numbers are frames counted from the start of the segment. Windows end on multiples of the
hop, whatever the sizes in which audio arrives, so that the same sound always gets the same
scores. The first windows are short: they begin at the segment's start.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from pe_stream.core.ring import Ring
from pe_stream.core.types import FRAME, Window


@dataclass(frozen=True, slots=True)
class Framing:
    """Lengths in frames: the window, the hop between scorings, the lookahead of a final score."""

    window: int
    hop: int
    lookahead: int

    def __post_init__(self) -> None:
        """Refuse lengths with which some frame would never be final inside a window."""
        if self.hop < 1 or self.lookahead < 0 or self.hop + self.lookahead > self.window:
            msg = f"hop >= 1, lookahead >= 0, hop + lookahead <= window needed, not {self}"
            raise ValueError(msg)

    def in_bulk(self) -> Framing:
        """With as few windows as will do where nobody waits for scores.

        A frame still has its lookahead after it, and a fifth of a window before it unless the
        recording begins there. Training scores every frame of its windows, so that the model knows
        less context than that; but scores then differ more from live ones.
        """
        return replace(self, hop=max(self.hop, self.window - self.lookahead - self.window // 5))

    def due(self, scored: int, available: int, *, stretch: bool) -> int | None:
        """End of the next window; None where it has not arrived.

        scored: end of the last window; available: whole frames that have arrived. With
        `stretch`, the newest multiple of the hop is taken and those between are left out.
        """
        end = (scored // self.hop + 1) * self.hop
        if end > available:
            return None
        return available // self.hop * self.hop if stretch else end

    def begin(self, end: int) -> int:
        """Start of the window that ends at `end`."""
        return max(0, end - self.window)

    def lost(self, final: int, available: int) -> int:
        """How many of the oldest frames no window can reach any more, with `final` frames done.

        While this is 0, stretching the hop loses nothing.
        """
        return max(0, available - self.window - final)


def cut(ring: Ring, oldest: int, begin: int, end: int, *, last: bool, done: int) -> Window:
    """The window from `begin` up to `end` (absolute samples), with what is held before it.

    oldest: audio before this sample is not wanted, a whole number of frames before `begin`. A last
    partial frame is filled up as PeAudioFeatureExtractor does.
    """
    missing = max(0, ring.start - oldest)
    first = min(begin, oldest + -(-missing // FRAME) * FRAME)
    audio = ring.read(first, end)
    if partial := -(end - begin) % FRAME:
        before, own = audio[: begin - first], audio[begin - first :]
        audio = np.concatenate([before, np.pad(own, (0, partial), "reflect")])
    return Window(begin, audio, last=last, done=done, before=begin - first)
