"""How much longer than on an idle machine things may take: one factor for all wall-clock bounds.

A bound is what an idle machine keeps with room to spare. Tests run side by side, and beside
whatever else the machine does; `within` stretches a bound by as much as the cores are shared.
"""

from __future__ import annotations

import os

VARIABLE = "PE_STREAM_TEST_SLACK"
"""Sets the factor, where it is set."""

IN_CI = os.environ.get("CI") == "true"

_MOST = 8.0
_CI = 2.0


def slack() -> float:
    """At least 1: how many runnable processes there are for a core, lately or from the workers."""
    if told := os.environ.get(VARIABLE):
        return max(1.0, float(told))
    cores = os.cpu_count() or 1
    workers = int(os.environ.get("PYTEST_XDIST_WORKER_COUNT", "1"))
    least = _CI if IN_CI else 1.0
    return max(least, min(_MOST, max(workers, os.getloadavg()[0]) / cores))


def within(seconds: float) -> float:
    """The bound for what takes less than `seconds` on an idle machine."""
    return seconds * slack()
