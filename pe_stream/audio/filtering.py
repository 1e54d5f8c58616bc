"""The sound of a source as it was set, before anybody hears it: high-pass, low-pass and gain.

Filters are Butterworth's of second order (12 dB an octave), in double precision: in single, the
poles of a high-pass at 20 Hz are too near the unit circle. They are FFmpeg's, in the form that
gives the same samples whatever the chunks' sizes. They delay nothing: what they change in phase is
at most 0.3 periods of their own frequency (15 ms at 20 Hz, 0.3 ms at 1 kHz).
"""

from __future__ import annotations

import logging
import math
from dataclasses import replace
from typing import Protocol

import av
import numpy as np
from av.filter import Graph
from numpy.typing import NDArray

from pe_stream.core.types import SAMPLE_RATE, AudioChunk, Samples

log = logging.getLogger(__name__)

_PRIME_S = 1.0
"""So long the first value is taken to have been there before a segment, so that an offset of the
converter is no click; the slowest filter has settled by then."""

_NOTHING = 1e-9
"""What a filter leaves below that (-180 dBFS) is nothing: a dead input stays exact zeros."""

_TOLD_PART = 0.001
"""Part of a minute that a gain may clip before it is said."""

_MINUTE = 60 * SAMPLE_RATE

_QUIET_MINUTES = 60
"""It is said again after that."""


_Values = tuple[float, float | None, float | None]
"""gain_db, highpass_hz, lowpass_hz."""

_AS_IT_COMES: _Values = (0.0, None, None)


class FilterSpec(Protocol):
    """Settings of what is done to the sound of a source."""

    @property
    def gain_db(self) -> float:
        """By how much it is made louder (dB)."""

    @property
    def highpass_hz(self) -> float | None:
        """What is below is taken away (Hz)."""

    @property
    def lowpass_hz(self) -> float | None:
        """What is above is taken away (Hz)."""


class SoundFilter:
    """Filters and gain of one source, over all its connections, with the filters' state.

    `set` is for any thread, `apply` for the one that reads the source.
    """

    def __init__(self, name: str, spec: FilterSpec) -> None:
        """name: of the source, for the log."""
        self._name = name
        self._wanted = _values(spec)
        self._used = _AS_IT_COMES
        self._graph: _Filters | None = None
        self._before: Samples | None = None  # the last chunk as it came
        self._heard = self._clipped = 0
        self._quiet_minutes = 0

    def __str__(self) -> str:
        """What is set, in words; empty where the sound is left as it comes."""
        gain_db, highpass_hz, lowpass_hz = self._wanted
        parts = [
            highpass_hz is not None and f"high-pass {highpass_hz:g} Hz",
            lowpass_hz is not None and f"low-pass {lowpass_hz:g} Hz",
            gain_db != 0 and f"gain {gain_db:+g} dB",
        ]
        return ", ".join(part for part in parts if part)

    def set(self, spec: FilterSpec) -> None:
        """Go on with other settings from the next chunk on, without a break."""
        if _values(spec) != self._wanted:
            self._wanted = _values(spec)
            how = f"with {self}" if str(self) else "as it comes"
            log.info("%s: the sound is now taken %s", self._name, how)

    def apply(self, chunk: AudioChunk) -> AudioChunk:
        """The same chunk with its sound as set; filters begin anew where a segment does.

        What a gain takes beyond -1..1 is clipped. The first chunk with other settings says so.
        """
        wanted = self._wanted
        if not len(chunk.samples):
            return chunk
        if self._before is not None and wanted != self._used:
            chunk = replace(chunk, refiltered=True)
        if wanted == _AS_IT_COMES:
            self._used, self._graph, self._before = wanted, None, chunk.samples
            return chunk
        samples = chunk.samples
        if chunk.anchor_ns is not None or self._before is None:
            self._begin(wanted, samples[:1])
        elif wanted != self._used:
            self._begin(wanted, self._before)
        self._before = samples
        if self._graph is not None:
            samples = self._graph.run(samples)
        gain_db = wanted[0]
        if gain_db:
            samples = samples * np.float32(10 ** (gain_db / 20))
        over = int(np.count_nonzero(np.abs(samples) > 1))
        if over:
            samples = samples.clip(-1, 1)
        if gain_db > 0:
            self._count(len(samples), over, gain_db)
        return replace(chunk, samples=samples)

    def _begin(self, wanted: _Values, before: Samples) -> None:
        """Begin filters anew. before: what was heard last; ahead of it, nothing changed."""
        if wanted != self._used:
            self._heard = self._clipped = self._quiet_minutes = 0
        self._used = wanted
        _, highpass_hz, lowpass_hz = wanted
        self._graph = None
        if highpass_hz is not None or lowpass_hz is not None:
            self._graph = _Filters(highpass_hz, lowpass_hz)
            self._graph.run(np.full(round(_PRIME_S * SAMPLE_RATE), before[0], np.float32))
            self._graph.run(before)

    def _count(self, heard: int, clipped: int, gain_db: float) -> None:
        """Say where a gain clips more than now and then, once an hour."""
        self._heard += heard
        self._clipped += clipped
        if self._clipped > _TOLD_PART * _MINUTE and not self._quiet_minutes:
            self._quiet_minutes = _QUIET_MINUTES
            log.warning(
                "%s: gain_db %g clips %.1f %% of the sound: set less",
                self._name,
                gain_db,
                100 * self._clipped / self._heard,
            )
        if self._heard >= _MINUTE:
            self._heard = self._clipped = 0
            self._quiet_minutes = max(0, self._quiet_minutes - 1)


def _values(spec: FilterSpec) -> _Values:
    return float(spec.gain_db), spec.highpass_hz, spec.lowpass_hz


class _Filters:
    """FFmpeg's filters, one after the other, with their state."""

    def __init__(self, highpass_hz: float | None, lowpass_hz: float | None) -> None:
        graph = Graph()
        graph.threads = 1  # they run on the caller's
        last = graph.add_abuffer(sample_rate=SAMPLE_RATE, format="dbl", layout="mono")
        for kind, corner_hz in (("highpass", highpass_hz), ("lowpass", lowpass_hz)):
            if corner_hz is not None:
                # tdii: other forms depend on where a chunk begins, in the last bits
                how = f"f={corner_hz!r}:p=2:t=q:w={math.sqrt(0.5)!r}:r=f64:a=tdii"
                last.link_to(made := graph.add(kind, how))
                last = made
        last.link_to(graph.add("abuffersink"))
        graph.configure()
        self._graph = graph
        self._given = 0

    def run(self, samples: Samples) -> Samples:
        """As many samples as it is given."""
        frame = av.AudioFrame.from_ndarray(
            samples[np.newaxis].astype(np.float64), format="dbl", layout="mono"
        )
        frame.sample_rate = SAMPLE_RATE
        frame.pts = self._given
        self._given += len(samples)
        self._graph.push(frame)
        pieces: list[NDArray[np.float64]] = []
        while sum(map(len, pieces)) < len(samples):
            pieces.append(self._graph.pull().to_ndarray()[0])
        filtered = np.concatenate(pieces)
        filtered[np.abs(filtered) < _NOTHING] = 0
        return filtered.astype(np.float32)
