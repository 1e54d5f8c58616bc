"""The CPU threads of the engine of live sources, which follow what others leave of the cores."""

from __future__ import annotations

import logging
import os
import time
from collections.abc import Callable
from pathlib import Path

import torch

from pe_stream.core.thread_count import LEAST_S, CoreUsage, ThreadCount
from pe_stream.model.cores import available, default_threads

log = logging.getLogger(__name__)

_STAT = Path("/proc/stat")
_IDLE, _COUNTED = (3, 4), 8
"""Columns of /proc/stat: idle and waiting for a disk; guests, beyond, are counted as users too."""


class LiveThreads:
    """Sets torch's number of threads on the thread that scores; for that thread.

    With OpenMP, which torch computes with, the number is that of the thread that sets it: what
    others compute with stays as it was. To set another takes less than a microsecond, and the first
    kernel after it a tenth of a millisecond.
    """

    def __init__(
        self,
        usage: Callable[[], CoreUsage | None] | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """Begin with half of the cores. usage: of now; None where it cannot be told."""
        self._usage, self._clock = core_usage if usage is None else usage, clock
        self._count = ThreadCount(default_threads(), max(1, int(available())))
        self._due_s = -float("inf")
        self._set: int | None = None

    @property
    def threads(self) -> int:
        """How many score now; from any thread."""
        return self._count.threads

    def adjust(self) -> None:
        """Set what is right now; before each scoring."""
        now_s = self._clock()
        if now_s >= self._due_s:
            self._due_s = now_s + LEAST_S
            usage = self._usage()
            if usage is not None:
                self._count.update(usage)
        if self._count.threads != self._set:
            if self._set is not None:
                log.debug("scoring with %d threads, not %d", self._count.threads, self._set)
            self._set = self._count.threads
            torch.set_num_threads(self._set)


def core_usage(stat: Path = _STAT) -> CoreUsage | None:
    """What the cores that this process is bound to have done; None where the kernel does not say.

    stat: as /proc/stat.
    """
    if not hasattr(os, "sched_getaffinity"):
        return None
    ours = {f"cpu{each}" for each in os.sched_getaffinity(0)}
    try:
        lines = [line.split() for line in stat.read_text("ascii").splitlines()]
        rows = [[int(each) for each in line[1:]] for line in lines if line and line[0] in ours]
    except (OSError, ValueError):
        return None
    if len(rows) != len(ours) or min(map(len, rows)) <= max(_IDLE):
        return None
    tick_s = 1 / os.sysconf("SC_CLK_TCK")
    idle = sum(row[i] for row in rows for i in _IDLE)
    busy = sum(sum(row[:_COUNTED]) for row in rows) - idle
    return CoreUsage(
        at_s=time.monotonic(),
        cores=len(rows),
        busy_s=busy * tick_s,
        idle_s=idle * tick_s,
        own_s=time.process_time(),
    )
