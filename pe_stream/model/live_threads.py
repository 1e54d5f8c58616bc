"""The CPU threads of the engine of live sources, which follow what others leave of the cores."""

from __future__ import annotations

import logging
import os
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import torch

from pe_stream.core.thread_count import LEAST_S, CoreUsage, ThreadCount
from pe_stream.model.cores import available, default_threads

log = logging.getLogger(__name__)

_STAT = Path("/proc/stat")
_TASKS = Path("/proc/self/task")
_IDLE, _COUNTED = (3, 4), 8
"""Columns of /proc/stat: idle and waiting for a disk; guests, beyond, are counted as users too."""


class LiveThreads:
    """Sets torch's number of threads on the thread that scores; for that thread.

    With OpenMP, which torch computes with, the number is that of the thread that sets it, and of
    those that compute for the first time later: what others have computed with stays. To set
    another takes less than a microsecond, and the first kernel after it a tenth of a millisecond.
    """

    def __init__(
        self,
        usage: Callable[[], CoreUsage | None] | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """Begin with half of the cores. usage: of now; None where it cannot be told."""
        self._usage, self._clock = CoreMeter().read if usage is None else usage, clock
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


class CoreMeter:
    """Reads what the cores that this process is bound to have done.

    stat: as /proc/stat. tasks: as /proc/self/task.
    """

    def __init__(self, stat: Path = _STAT, tasks: Path = _TASKS) -> None:
        self._stat, self._tasks = stat, tasks
        self._seen_ns: dict[int, int] = {}
        self._others_ns = 0

    def read(self) -> CoreUsage | None:
        """Up to now; None where the kernel does not say. On the thread that scores."""
        rows = self._rows()
        if rows is None:
            return None
        tick_s = 1 / os.sysconf("SC_CLK_TCK")
        idle = sum(row[i] for row in rows for i in _IDLE)
        busy = sum(sum(row[:_COUNTED]) for row in rows) - idle
        return CoreUsage(
            at_s=time.monotonic(),
            cores=len(rows),
            busy_s=busy * tick_s,
            idle_s=idle * tick_s,
            own_s=time.process_time() - self._other_threads_ns() / 1e9,
        )

    def _rows(self) -> list[list[int]] | None:
        if not hasattr(os, "sched_getaffinity"):
            return None
        ours = {f"cpu{each}" for each in os.sched_getaffinity(0)}
        try:
            lines = [line.split() for line in self._stat.read_text("ascii").splitlines()]
            rows = {line[0]: [*map(int, line[1:])] for line in lines if _is_core(line)}
        except (OSError, ValueError):
            return None
        if len(rows) != len(ours):  # as many: a container's, which may number them anew
            rows = {name: row for name, row in rows.items() if name in ours}
        whole = len(rows) == len(ours) and min(map(len, rows.values())) > max(_IDLE)
        return [*rows.values()] if whole else None

    def _other_threads_ns(self) -> int:
        """CPU time of Python's other threads since the first reading, and of the ended ones."""
        seen_ns = {}
        for number in [each.native_id for each in threading.enumerate()]:
            if number is not None and number != threading.get_native_id():
                with suppress(OSError, ValueError, IndexError):  # it has just ended
                    told = (self._tasks / f"{number}" / "schedstat").read_text("ascii")
                    seen_ns[number] = int(told.split()[0])
        self._others_ns += sum(
            max(0, now_ns - self._seen_ns.get(number, 0)) for number, now_ns in seen_ns.items()
        )
        self._seen_ns = seen_ns
        return self._others_ns


def _is_core(line: list[str]) -> bool:
    return bool(line) and line[0].startswith("cpu") and line[0] != "cpu"
