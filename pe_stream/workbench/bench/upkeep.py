"""What runs beside the model: processor time of everything else, and memory over hours."""

from __future__ import annotations

import resource
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from torch import Tensor

from pe_stream.core.detector import Heard
from pe_stream.core.messages import StateBoard, Topics
from pe_stream.core.types import FRAME, FRAME_S, FrameScores, Window
from pe_stream.core.windows import Framing
from pe_stream.model.codec import Stream
from pe_stream.workbench.bench import live
from pe_stream.workbench.bench.figures import growth_percent
from pe_stream.workbench.bench.sources import Hears, SteppedSources

HOUR_S = 3600.0

_STATM = Path("/proc/self/statm")
_SLICES = 200
"""Parts of the simulated hour; memory is read after each."""

_FEWEST = 10
"""Parts without which no growth can be told; they are played however long they take."""

_EVERY, _LASTS = 750, 25
"""Known scores: each label is on for so many frames (1 s) in every so many (30 s)."""


class KnownScores:
    """In the place of the engine: scores that cost nothing, with events in them."""

    def __init__(self, labels: int) -> None:
        frames = np.arange(_EVERY)[:, None] - np.arange(labels)[None] * (_EVERY // labels)
        track = np.where(frames % _EVERY < _LASTS, 0.95, 0.05).astype(np.float32)
        self._track = np.concatenate([track, track, track])

    def hear(self, streams: Sequence[Stream], windows: Sequence[Window]) -> list[FrameScores]:
        """Look them up; a window is at most 60 s long."""
        del streams
        firsts = [window.start // FRAME % _EVERY for window in windows]
        ends = [first + window.frames for first, window in zip(firsts, windows, strict=True)]
        return [self._track[first:end] for first, end in zip(firsts, ends, strict=True)]


class Desk:
    """Turns events into messages, as the daemon does, and counts them."""

    def __init__(self, names: Sequence[str]) -> None:
        self.events = self.messages = 0
        self._board = StateBoard(Topics("pe_stream", "bench"), {"source_0": names})

    def __call__(self, heard: Heard) -> None:
        """Take what a window brought."""
        for event in heard.events:
            self.events += 1
            self.messages += len(self._board.messages(event))


def overhead(framing: Framing, labels: int, simulated_s: float) -> dict[str, Any]:
    """Processor time of detector, states and messages of one source, without the model."""
    names = [f"label_{i}" for i in range(labels)]
    desk = Desk(names)
    sources = SteppedSources(KnownScores(labels), framing, names, block=1, told=desk)
    sources.prime(1)
    begun_s = time.thread_time()
    lived = live.run(sources, 1, framing, simulated_s, live.FastClock())
    spent_s = time.thread_time() - begun_s
    return {
        "simulated_s": lived.seconds,
        "cpu_s": spent_s,
        "percent_of_a_core": 100 * spent_s / lived.seconds,
        "labels": labels,
        "events": desk.events,
        "messages": desk.messages,
    }


def memory_over_time(
    engine: Hears, framing: Framing, names: Sequence[str], *, limit_s: float
) -> dict[str, Any]:
    """Memory of this process through an hour of one source at full speed.

    limit_s: stops after so long, with less than the hour; `simulated_s` says how much it was.
    """
    desk = Desk(names)
    sources = SteppedSources(engine, framing, names, told=desk)
    until_s = time.monotonic() + limit_s
    piece_s = max(framing.hop * FRAME_S, HOUR_S / _SLICES)
    levels_mb: list[float] = []
    simulated_s = 0.0
    while simulated_s < HOUR_S and (time.monotonic() < until_s or len(levels_mb) < _FEWEST):
        simulated_s += live.run(sources, 1, framing, piece_s, live.FastClock()).seconds
        levels_mb.append(resident_mb())
    return {
        "simulated_s": simulated_s,
        "growth_percent": growth_percent(levels_mb),
        "events": desk.events,
        "levels_mb": levels_mb,
    }


def memory_per_stream(engine: Hears, framing: Framing, names: Sequence[str]) -> dict[str, float]:
    """Bytes (MB) that a stream keeps between its hops: on the device, and its audio."""
    sources = SteppedSources(engine, framing, names)
    sources.prime(1)
    return {
        "device_mb": _tensor_bytes(sources.streams[0]) / 2**20,
        "audio_mb": framing.window * FRAME * 4 / 2**20,
    }


def resident_mb() -> float:
    """Memory of this process; where the system does not say, the most that it ever was."""
    if _STATM.exists():
        return int(_STATM.read_text().split()[1]) * resource.getpagesize() / 2**20
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak / (2**20 if sys.platform == "darwin" else 2**10)


def _tensor_bytes(kept: object) -> int:
    """Bytes of the tensors in `kept`, a view counted as the whole of its storage."""
    found: dict[int, int] = {}

    def look(value: object) -> None:
        if isinstance(value, Tensor):
            storage = value.untyped_storage()
            found[storage.data_ptr()] = storage.nbytes()
        elif isinstance(value, list | tuple):
            for item in value:
                look(item)
        elif isinstance(value, dict):
            look(list(value.values()))
        else:
            look([getattr(value, name) for name in getattr(value, "__slots__", ())])
            look(list(getattr(value, "__dict__", {}).values()))

    look(kept)
    return sum(found.values())
