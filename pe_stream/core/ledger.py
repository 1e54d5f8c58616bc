"""Accounts of a source's audio: samples heard, lost, flat, clipped; its level; its state.

This is what tells a quiet room from a deaf microphone.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass
from enum import StrEnum

import numpy as np

from pe_stream.core.types import SAMPLE_RATE, Samples

BLOCK = SAMPLE_RATE // 10
"""Samples looked at together (0.1 s), on a grid of their own whatever the chunks' sizes."""

CLIPPED = 0.999
"""Magnitude from which a sample counts as clipped."""

FLAT_BLOCKS = 20
"""A state of "flat" needs this many flat blocks in a row (2 s)."""

ALIVE_BLOCKS = 5
"""And "hearing" after it this many blocks with sound (0.5 s), so that the state cannot flap."""


RECENT = 5 * 60 * SAMPLE_RATE
"""Breaks of the last five minutes make the rate."""

_MINUTE = 60 * SAMPLE_RATE


class SourceState(StrEnum):
    """State of a source."""

    STARTING = "starting"
    HEARING = "hearing"
    FLAT = "flat"
    LOST = "lost"


@dataclass(frozen=True, slots=True)
class Account:
    """Audio of a source so far. All counts are samples at 48 kHz.

    flat: samples in blocks that held one single value; clipped: samples at full scale;
    level_dbfs: RMS of the last block (dB re full scale), None before the first and where it held
    only zeros. breaks: how often the sound broke off and began again; breaks_per_minute: lately.
    """

    state: SourceState
    heard: int
    lost: int
    flat: int
    clipped: int
    level_dbfs: float | None
    breaks: int = 0
    breaks_per_minute: float = 0.0


class Ledger:
    """Keeps account of one source. It is fed every sample once, in order."""

    def __init__(self) -> None:
        """Start with nothing heard."""
        self._state = SourceState.STARTING
        self._heard = self._lost = self._flat = self._clipped = 0
        self._level_dbfs: float | None = None
        self._block = np.empty(BLOCK, np.float32)
        self._filled = 0
        self._flat_row = self._alive_row = 0
        # Where it broke off lately, and where it is, by the count of all samples.
        self._recent: deque[int] = deque(maxlen=1000)
        self._breaks = self._at = 0

    @property
    def account(self) -> Account:
        """How things stand."""
        minutes = max(_MINUTE, min(RECENT, self._at)) / _MINUTE
        recent = sum(at > self._at - RECENT for at in self._recent)
        return Account(
            self._state,
            self._heard,
            self._lost,
            self._flat,
            self._clipped,
            self._level_dbfs,
            self._breaks,
            round(recent / minutes, 1),
        )

    def hear(self, samples: Samples) -> None:
        """Count (n,) samples."""
        self._heard += len(samples)
        self._at += len(samples)
        while len(samples):
            taken = samples[: BLOCK - self._filled]
            self._block[self._filled : self._filled + len(taken)] = taken
            self._filled += len(taken)
            samples = samples[len(taken) :]
            if self._filled == BLOCK:
                self.settle()

    def settle(self) -> None:
        """Account for a last block that is not full: a segment ends here."""
        block = self._block[: self._filled]
        if not len(block):
            return
        self._filled = 0
        self._clipped += int((np.abs(block) >= CLIPPED).sum())
        power = float(np.mean(np.square(block, dtype=np.float64)))
        self._level_dbfs = round(10 * float(np.log10(power)), 1) if power > 0 else None
        if block.min() == block.max():
            self._flat += len(block)
            self._flat_row, self._alive_row = self._flat_row + 1, 0
        else:
            self._flat_row, self._alive_row = 0, self._alive_row + 1
        self._judge()

    def lose(self, count: int) -> None:
        """Count samples that never came."""
        self._lost += count
        self._at += count

    def break_off(self) -> None:
        """Count a break in what was heard."""
        self._breaks += 1
        while self._recent and self._recent[0] <= self._at - RECENT:
            self._recent.popleft()
        self._recent.append(self._at)

    def drop(self, count: int) -> None:
        """Count samples that came but could not be scored in time: lost, not heard."""
        self._heard -= count
        self._lost += count

    def silence(self) -> None:
        """The source delivers nothing any more."""
        self.settle()
        self._state = SourceState.LOST
        self._flat_row = self._alive_row = 0

    def _judge(self) -> None:
        needed = ALIVE_BLOCKS if self._state is SourceState.FLAT else 1
        if self._flat_row >= FLAT_BLOCKS:
            self._state = SourceState.FLAT
        elif self._alive_row >= needed:
            self._state = SourceState.HEARING
