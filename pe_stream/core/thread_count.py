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
"""For so long must more cores be free before more threads are taken."""

_TO_TAKE, _TO_KEEP = 0.75, 0.5
"""What must be free of a core for a thread more, and for it to stay."""

_BELIEVED = 0.5
"""Of the time of all cores, so much has to be accounted for: some sandboxes count nothing."""


@dataclass(frozen=True, slots=True)
class CoreUsage:
    """Time (s) of the cores that we may use, up to a moment, as the kernel counts it.

    at_s: the moment (monotonic). cores: their number. busy_s, idle_s: all of them together,
    whoever used them. own_s: this process's part.
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
        self._more_for_s = 0.0
        self._more = most

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
            others_s = max(0.0, busy_s - (usage.own_s - last.own_s))
            self._decide(usage.cores - others_s / elapsed_s, elapsed_s)
        return self.threads

    def _decide(self, free: float, elapsed_s: float) -> None:
        """free: cores that others left, on average over the time."""
        self.threads = min(self.threads, self._threads(free, _TO_KEEP))
        more = self._threads(free, _TO_TAKE)
        if more <= self.threads:
            self._more_for_s, self._more = 0.0, self._most
            return
        self._more_for_s += elapsed_s
        self._more = min(self._more, more)
        if self._more_for_s >= UP_S:
            self.threads = self._more
            self._more_for_s, self._more = 0.0, self._most

    def _threads(self, free: float, part: float) -> int:
        """How many cores are free to at least that part."""
        return max(1, min(self._most, int(free + 1 - part)))
