"""A tone that goes on and off in a known rhythm: an alarm, heard in the sound itself.

The model's scores do not tell a beep of 0.1 s from the gap after it, and at 0 dB over a background
hardly the alarm from its pauses. A tone has its energy in one narrow band, where it stands out by
10 dB and more even then. So one cycle of the rhythm is looked for in each band by itself: every
beep steady and about as loud as the others, every gap quieter than all of them, quiet before and
after. A band in which noise comes near to that once does not come near to it a period later: that
cycles follow one another in the same band tells an alarm from the rest.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from math import ceil, floor

import numpy as np
from numpy.typing import NDArray

from pe_stream.core.types import FRAME, SAMPLE_RATE, Rhythm, Samples

ROW = FRAME // 2
"""Samples that a level is of (20 ms): a fifth of T4's beep."""

ROWS = FRAME // ROW
"""Rows in a frame."""

SHORTEST_S = 0.08
"""No beep or gap may be shorter: there would be no row that lies within it for sure."""

BEEP = 0.06
"""Left out at both ends of a beep or gap, at most (s): edges need not be sharp."""

CONTRAST_DB = 7.0
"""By which gaps and pauses must be quieter than every beep: what the rows of a band differ by in
noise is as much, but seldom over half a second, and not each time that a beep should end."""

ECHO_DB, ECHO_S = 3.5, 0.3
"""The same of gaps shorter than that: a room still echoes."""

CLEAR_DB = 3.0
"""A cycle whose gaps are quieter by so much more is clear; others are faint, and count half."""

PART = 0.7
"""Part of the contrast by which a row of a gap must be quieter than the beeps."""

SPREAD_DB = 6.0
"""Difference in level that beeps may have: two sounders side by side, or reverberation."""

STEADY_DB = 6.0
"""Difference that a row of a beep may have from the usual one: no voice or bell is so steady."""

WRONG = 4
"""One of so many rows of a beep or gap may be on the wrong side: other sounds come and go."""

WRONG_IN_ALL = 6
"""One of so many rows of all beeps together may be on the wrong side."""

TONE_DB = 10.0
"""Bands at a distance that beep with the tone must be quieter than it by this."""

_APART = 4
"""Distance of those bands from the tone's, in bands: a third of an octave."""

FLOOR_DB = -90.0
"""Level (dBFS in a band) of silence and below."""

_QUIET_S = 1.5
"""Quiet asked for before and after a cycle, but no more than its pause leaves."""

_PIECE_S = 0.75
"""Longest piece of it that is judged by itself: beeps are hardly heard on the whole of it."""

_SETTLE = 10
"""Rows in which a better fit of the same cycle may still come."""

_TEMPI = 9
"""Tempi tried, from the slowest to the fastest."""

_EDGES_HZ = np.geomspace(300.0, 6000.0, 53)  # a twelfth of an octave: two harmonics never share one
_BINS_HZ = np.fft.rfftfreq(ROW, 1 / SAMPLE_RATE)
_STARTS = np.unique(np.searchsorted(_BINS_HZ, _EDGES_HZ))
_WINDOW = np.hanning(ROW).astype(np.float32)
_FULL = float(_WINDOW.sum() / 2) ** 2

Levels = NDArray[np.int64]
"""Tenths of a dBFS, (rows, bands): sums of whole numbers do not depend on how they are taken."""


def levels(samples: Samples) -> Levels:
    """The loudest bin of each band, a row every 20 ms; a last part of a row is left out."""
    rows = samples[: len(samples) // ROW * ROW].reshape(-1, ROW) * _WINDOW
    power = np.abs(np.fft.rfft(rows)[:, : _STARTS[-1]]) ** 2
    loudest = np.maximum.reduceat(power, _STARTS[:-1], axis=1) / _FULL
    decibels = 10 * np.log10(np.maximum(loudest, 10 ** (FLOOR_DB / 10)))
    return np.round(10 * decibels).astype(np.int64)


@dataclass(frozen=True, slots=True)
class Cycle:
    """One cycle that was heard, in rows: its first beep's onset, one past its last beep.

    margin: by which the loudest of its gaps was quieter than it must be (dB). bands: those in which
    it was heard, a bit each.
    """

    onset: int
    offset: int
    margin: float
    bands: int

    @property
    def clear(self) -> bool:
        """Whether it stood out well."""
        return self.margin >= CLEAR_DB


@dataclass(frozen=True, slots=True)
class _Beat:
    """Rows start..stop of a template that belong to one beep or one gap. required: dB of a gap."""

    on: bool
    start: int
    stop: int
    required: float


class RhythmFinder:
    """Looks for single cycles of one rhythm. Rows must be given in order, without a break."""

    def __init__(self, rhythm: Rhythm, row: int) -> None:
        """`row` is the number of the first row to come."""
        tempi = np.linspace(1 - rhythm.tolerance, 1 + rhythm.tolerance, _TEMPI)
        self._templates = [_template(rhythm, float(tempo)) for tempo in tempi]
        self.reach = max(beats[-1].stop for beats in self._templates) + _SETTLE + 1
        """Rows from a cycle's onset until it is told, at most."""
        self._span = max(beats[-1].stop - beats[0].start for beats in self._templates)
        quiet = max(-beats[0].start for beats in self._templates)  # as if it had been, until now
        self._held: Levels = np.full((quiet, len(_STARTS) - 1), round(10 * FLOOR_DB), np.int64)
        self._next = row
        self._pending: tuple[int, Cycle] | None = None

    def hear(self, rows: Levels) -> list[tuple[int, Cycle]]:
        """Cycles that these rows complete, each with the row after which it was certain."""
        begin = self._next - len(self._held)
        self._held = np.concatenate([self._held, rows])
        told: list[tuple[int, Cycle]] = []
        for end, cycle in self._fits(begin, len(rows)):
            self._settle(end, told)
            if self._pending is None:
                self._pending = (end, cycle)
            else:
                settled, was = self._pending
                settled = end if cycle.margin > was.margin else settled
                self._pending = (settled, _together(was, cycle))
        self._next += len(rows)
        self._settle(self._next - 1, told)
        self._held = self._held[-self._span :]
        return told

    def _settle(self, row: int, told: list[tuple[int, Cycle]]) -> None:
        if self._pending is not None and row >= self._pending[0] + _SETTLE:
            (end, cycle), self._pending = self._pending, None
            told.append((end + _SETTLE, cycle))

    def _fits(self, begin: int, new: int) -> list[tuple[int, Cycle]]:
        """The best fit, if there is one, that ends with each of the `new` rows; `begin`: held's."""
        held = self._held
        sums = np.concatenate([np.zeros((1, held.shape[1]), np.int64), np.cumsum(held, axis=0)])
        best: dict[int, Cycle] = {}
        for beats in self._templates:
            back = beats[-1].stop  # rows from onset to the end of the template
            first = max(len(held) - new + 1 - back, -beats[0].start)
            count = len(held) + 1 - back - first
            if count <= 0:
                continue
            margin = _margin(sums, beats, first, count)
            shifts, bands = np.nonzero(margin >= 0)
            if not len(shifts):
                continue  # as nearly always: what follows is slow, for nothing
            steady = _throughout(held, beats, first + shifts, bands)
            offset = next(beat.stop for beat in reversed(beats) if beat.on)
            for shift, band in zip(shifts[steady].tolist(), bands[steady].tolist(), strict=True):
                at, fit = first + shift, margin.item(shift, band)
                if _tone(held, beats, at, band):
                    cycle = Cycle(begin + at, begin + at + offset, fit, 1 << band)
                    end = begin + at + back - 1
                    best[end] = _together(best[end], cycle) if end in best else cycle
        return sorted(best.items())


def _together(one: Cycle, other: Cycle) -> Cycle:
    """The better fit of the two, with the bands of both."""
    return replace(max(one, other, key=lambda cycle: cycle.margin), bands=one.bands | other.bands)


def _margin(sums: Levels, beats: Sequence[_Beat], first: int, count: int) -> NDArray[np.float64]:
    """Margin (dB) by which each onset passes, (count, bands); below 0: not at all."""
    shape = (count, sums.shape[1])
    low, high, quiet = np.full(shape, np.inf), np.full(shape, -np.inf), np.full(shape, -np.inf)
    for beat in beats:
        start, stop = first + beat.start, first + beat.stop
        total = sums[stop : stop + count] - sums[start : start + count]
        mean = total / (10.0 * (stop - start))
        if beat.on:
            low, high = np.minimum(low, mean), np.maximum(high, mean)
        else:
            quiet = np.maximum(quiet, mean + beat.required)
    margin: NDArray[np.float64] = low - quiet
    margin[high - low > SPREAD_DB] = -1.0
    return margin


def _throughout(
    held: Levels, beats: Sequence[_Beat], at: NDArray[np.int64], bands: NDArray[np.int64]
) -> NDArray[np.bool_]:
    """Whether beeps are steady and gaps quiet in nearly all their rows, not on average alone.

    at: (n,) rows of onsets; bands: (n,), one for each. Returns (n,).
    """
    rows = [held[at[:, None] + np.arange(beat.start, beat.stop), bands[:, None]] for beat in beats]
    loud = np.hstack([each for beat, each in zip(beats, rows, strict=True) if beat.on])
    usual = np.median(loud, axis=1, keepdims=True)
    wrong = np.abs(loud - usual) > 10 * STEADY_DB
    fine: NDArray[np.bool_] = np.count_nonzero(wrong, axis=1) * WRONG_IN_ALL <= loud.shape[1]
    for beat, each in zip(beats, rows, strict=True):
        if beat.on:
            wrong = np.abs(each - usual) > 10 * STEADY_DB
        else:
            wrong = each > usual - 10 * PART * beat.required
        fine &= np.count_nonzero(wrong, axis=1) <= max(1, each.shape[1] // WRONG)
    return fine


def _tone(held: Levels, beats: Sequence[_Beat], at: int, band: int) -> bool:
    """Whether the beeps are of one pitch: bands at some distance are quieter, or do not beep."""

    def level(number: int, *, on: bool) -> float:
        rows = [held[at + beat.start : at + beat.stop, number] for beat in beats if beat.on is on]
        return float(np.concatenate(rows).mean()) / 10

    beep = level(band, on=True)
    for other in (band - _APART, band + _APART):
        if 0 <= other < held.shape[1]:
            there = level(other, on=True)
            if there > beep - TONE_DB and there > level(other, on=False) + ECHO_DB:
                return False
    return True


def _template(rhythm: Rhythm, tempo: float) -> list[_Beat]:
    """Quiet, a cycle without its pause, quiet; row 0 is its onset."""
    inner, pause = rhythm.beats_s[:-1], rhythm.beats_s[-1]
    guard = min(BEEP, 0.2 * min(rhythm.beats_s))
    quiet = min((1 - rhythm.tolerance) * pause, max(2 * max(inner) + BEEP, _QUIET_S))
    near = min(2 * max(inner) + BEEP, quiet)  # the gap and the beep that would come next
    far = np.linspace(near, quiet, ceil((quiet - near) / _PIECE_S) + 1).tolist()
    beats = [_beat(-stop, -start, 0.0, on=False) for start, stop in pairwise(far)][::-1]
    beats.append(_beat(-near, 0.0, guard, on=False))
    at = 0.0
    for number, beat in enumerate(inner):
        beats.append(_beat(at, at + tempo * beat, guard, on=number % 2 == 0))
        at += tempo * beat
    beats.append(_beat(at, at + near, guard, on=False))
    return [*beats, *(_beat(at + start, at + stop, 0.0, on=False) for start, stop in pairwise(far))]


def _beat(start_s: float, stop_s: float, guard: float, *, on: bool) -> _Beat:
    rate = SAMPLE_RATE / ROW
    start = ceil(round((start_s + guard) * rate, 6))
    stop = max(start + 1, floor(round((stop_s - guard) * rate, 6)))
    echo = not on and stop_s - start_s < ECHO_S
    return _Beat(on, start, stop, ECHO_DB if echo else CONTRAST_DB)
