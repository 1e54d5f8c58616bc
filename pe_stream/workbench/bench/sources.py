"""Microphones made of noise, each with its detector, in the middle of their audio."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Protocol
from uuid import uuid4

import numpy as np

from pe_stream.core.detector import Detector, Heard
from pe_stream.core.event_builder import Origin
from pe_stream.core.types import (
    FRAME,
    SAMPLE_RATE,
    AudioChunk,
    FrameScores,
    LabelRule,
    Samples,
    Window,
)
from pe_stream.core.windows import Framing
from pe_stream.model.codec import Stream

LEVEL = 0.05
"""RMS of the noise: that of a room in which someone speaks."""

_PRIMED_AT_ONCE = 16

_APART = 977  # samples; a prime, so that no two sources hear the same


class Hears(Protocol):
    """The measured engine: `Engine`, or its stand-in."""

    def hear(self, streams: Sequence[Stream], windows: Sequence[Window]) -> list[FrameScores]:
        """Score the next window of each stream."""


def rules(names: Sequence[str], threshold: float = 0.9) -> list[LabelRule]:
    """A rule for each label, as the defaults of the configuration make them."""
    return [LabelRule(name, threshold, 0.8 * threshold, 5, 10) for name in names]


def noise(samples: int, seed: int = 0) -> Samples:
    """White noise (samples,) at LEVEL."""
    drawn = np.random.default_rng(seed).standard_normal(samples, np.float32)
    return drawn * np.float32(LEVEL)


class SteppedSources:
    """Sources that deliver a hop at a time, when told to; what `Live` does, without its threads.

    block: frames in a chunk; default: a whole hop. told: gets what every scored window brought.
    """

    def __init__(
        self,
        engine: Hears,
        framing: Framing,
        names: Sequence[str],
        *,
        block: int | None = None,
        told: Callable[[Heard], object] = lambda _: None,
    ) -> None:
        self._engine = engine
        self._framing = framing
        self._rules = rules(names)
        self._block = (block or framing.hop) * FRAME
        self._told = told
        # A stretch of noise that repeats, so that any piece of it lies in one array.
        self._period = (framing.window + framing.hop) * FRAME
        stretch = noise(self._period)
        self._noise = np.concatenate([stretch, stretch])
        self.detectors: list[Detector] = []
        self.streams: list[Stream] = []
        self._next: list[int] = []

    def prime(self, count: int) -> None:
        """Have at least `count` sources, each with a full window behind it."""
        before = len(self.detectors)
        for first in range(before, count, _PRIMED_AT_ONCE):
            fresh = range(first, min(count, first + _PRIMED_AT_ONCE))
            for i in fresh:
                origin = Origin("bench", f"source_{i}", "bench")
                new_id = lambda: str(uuid4())  # noqa: E731
                self.detectors.append(
                    Detector(origin, self._framing, self._rules, live=True, new_id=new_id)
                )
                self.streams.append(Stream())
                self._next.append(0)
                self._deliver(i, self._framing.window // self._framing.hop, 0.0)
            self.score(fresh, lambda: 0.0)
            for i in fresh:
                self.feed(i, 0.0)
            self.score(fresh, lambda: 0.0)

    def feed(self, index: int, captured_s: float) -> None:
        """Let a source deliver its next hop, captured then."""
        self._deliver(index, 1, captured_s)

    def score(self, indices: Sequence[int], now_s: Callable[[], float]) -> int:
        """Score whatever is due of these sources, together; returns how many windows that was."""
        asked = [(i, self.detectors[i].next_window()) for i in indices]
        due = [(i, window) for i, window in asked if window is not None]
        if due:
            heard = self._engine.hear([self.streams[i] for i, _ in due], [w for _, w in due])
            done_s = now_s()
            for (i, window), scores in zip(due, heard, strict=True):
                self._told(self.detectors[i].accept(window, scores, done_s))
        return len(due)

    def stretched(self, count: int) -> int:
        """Windows that the first `count` sources left out so far."""
        return sum(detector.stretched for detector in self.detectors[:count])

    def lost(self, count: int) -> int:
        """Samples that they lost so far."""
        return sum(detector.account.lost for detector in self.detectors[:count])

    def _deliver(self, index: int, hops: int, captured_s: float) -> None:
        end = self._next[index] + hops * self._framing.hop * FRAME
        while self._next[index] < end:
            start = self._next[index]
            size = min(self._block, end - start)
            place = (start + index * _APART) % self._period
            samples = self._noise[place : place + size]
            captured = captured_s - (end - start - size) / SAMPLE_RATE
            anchor_ns = None if start else 0
            self.detectors[index].feed(AudioChunk(start, samples, anchor_ns, captured))
            self._next[index] = start + size
