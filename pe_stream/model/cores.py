"""How many CPU cores this process may use.

Fewer than the machine has where it is bound to some of them (taskset, cpusets), or where a quota
limits its control group (`docker run --cpus`, systemd's CPUQuota). To run a thread more than that
is to wait for threads that the kernel has stopped.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path, PurePosixPath

_MEMBERSHIP = Path("/proc/self/cgroup")
_GROUPS = Path("/sys/fs/cgroup")


def default_threads() -> int:
    """Threads of a model where none are configured: half of the cores, for others run there too."""
    return max(1, int(available() / 2))


def available(membership: Path = _MEMBERSHIP, groups: Path = _GROUPS) -> float:
    """Cores that this process may use: of its affinity, and not more than its quotas allow.

    membership: the control groups of this process, as in /proc/self/cgroup. groups: where the
    hierarchies of version 1 or 2 are mounted. What cannot be read limits nothing.
    """
    return min((_bound(), *_quotas(membership, groups)))


def _bound() -> float:
    if hasattr(os, "sched_getaffinity"):
        return float(len(os.sched_getaffinity(0)))
    return float(os.cpu_count() or 1)


def _quotas(membership: Path, groups: Path) -> Iterator[float]:
    """What each control group that this process is in allows, in cores."""
    for line in _text(membership).splitlines():
        controllers, _, path = line.partition(":")[2].partition(":")
        if not controllers:
            for folder in _with_parents(groups, path):
                quota, _, period = _text(folder / "cpu.max").partition(" ")
                yield from _ratio(quota, period)
        elif "cpu" in controllers.split(","):
            for folder in _with_parents(groups / "cpu", path):
                quota = _text(folder / "cpu.cfs_quota_us")
                yield from _ratio(quota, _text(folder / "cpu.cfs_period_us"))


def _with_parents(root: Path, path: str) -> Iterator[Path]:
    """The folders of a group and of those it lies in.

    In a container the path may be one of the host, of which only the container's own is mounted.
    """
    yield root
    parts = PurePosixPath(path).parts[1:]
    if ".." not in parts:
        for count in range(1, len(parts) + 1):
            yield root.joinpath(*parts[:count])


def _ratio(quota: str, period: str) -> Iterator[float]:
    """Cores of so many microseconds in so many; nothing where there is no limit ("max" or -1)."""
    if quota.strip().isdecimal() and period.strip().isdecimal() and int(period) and int(quota):
        yield int(quota) / int(period)


def _text(path: Path) -> str:
    try:
        return path.read_text("utf-8")
    except (OSError, UnicodeDecodeError):
        return ""
