"""How many threads score, by what others leave of the cores.

A kernel ends with its slowest thread, and a hop is hundreds of kernels. So a thread on a core that
something else takes as well makes each of them wait for the scheduler: two threads beside two busy
processes are several times slower than one, while one alone is slowed as the other processes are.
"""

from __future__ import annotations

from dataclasses import dataclass

LEAST_S = 0.25
"""Less than that says little: the kernel counts in hundredths of a second."""

UP_S = 5.0
"""On average over so long must more cores be free before more threads are taken."""

_TO_TAKE, _TO_KEEP = 0.75, 0.5
"""What must be free of a core for a thread more, and for it to stay."""

_BELIEVED = 0.5
"""Of the time of all cores, so much has to be accounted for: some sandboxes count nothing."""


@dataclass(frozen=True, slots=True)
class CoreUsage:
    """Time (s) of the cores that we may use, up to a moment, as the kernel counts it.

    at_s: the moment (monotonic). cores: their number. busy_s, idle_s: all of them together,
    whoever used them. own_s: the part of what scores.
    """

    at_s: float
    cores: int
    busy_s: float
    idle_s: float
    own_s: float


class ThreadCount:
    """Fewer at once where cores are taken, one where all are; more when they have long been free.

    threads: what to score with now.
    """

    def __init__(self, threads: int, most: int) -> None:
        """threads: to begin with. most: as many as a quota allows; both at least 1."""
        self.threads = min(threads, most)
        self._most = most
        self._last: CoreUsage | None = None
        self._others_s = self._since_s = 0.0  # what others took, in so much time

    def update(self, usage: CoreUsage) -> int:
        """Take a reading, later than the last; returns what to score with now."""
        last = self._last
        if last is None:
            self._last = usage
            return self.threads
        elapsed_s = usage.at_s - last.at_s
        if elapsed_s < LEAST_S:
            return self.threads
        self._last = usage
        busy_s, idle_s = usage.busy_s - last.busy_s, usage.idle_s - last.idle_s
        counted = busy_s + idle_s >= _BELIEVED * elapsed_s * usage.cores
        if usage.cores == last.cores and busy_s >= 0 and idle_s >= 0 and counted:
            self._decide(max(0.0, busy_s - (usage.own_s - last.own_s)), elapsed_s, usage.cores)
        return self.threads

    def _decide(self, others_s: float, elapsed_s: float, cores: int) -> None:
        """others_s: time of cores that others took meanwhile."""
        kept = self._threads(cores - others_s / elapsed_s, _TO_KEEP)
        if kept < self.threads:
            self.threads = kept
            self._others_s = self._since_s = 0.0
            return
        self._others_s += others_s
        self._since_s += elapsed_s
        if self._since_s >= UP_S:
            more = self._threads(cores - self._others_s / self._since_s, _TO_TAKE)
            self.threads = max(self.threads, more)
            self._others_s = self._since_s = 0.0

    def _threads(self, free: float, part: float) -> int:
        """How many cores are free to at least that part."""
        return max(1, min(self._most, int(free + 1 - part)))
