"""What the system has run out of: file descriptors, threads."""

from __future__ import annotations

import errno
import os
import resource

NO_DESCRIPTOR = (errno.EMFILE, errno.ENFILE)

SPARE = 8
"""Descriptors that one piece of work may need, as a reconnection or a clip."""

_NO_THREAD = "can't start new thread"
"""What Python says."""


def shortage(error: BaseException | None) -> str | None:
    """What an error says has run out; None where it means something else."""
    if isinstance(error, OSError) and error.errno in NO_DESCRIPTOR:
        return _no_descriptors()
    if isinstance(error, RuntimeError) and _NO_THREAD in str(error):
        return "no thread can be started"
    return None


def descriptors_short() -> str | None:
    """Whether so few file descriptors are left that work may fail, in words; None if not."""
    limit = descriptor_limit()
    try:
        left = limit - len(os.listdir("/dev/fd"))  # noqa: PTH208 - a Path of each is of no use
    except OSError as error:
        return shortage(error)
    return _no_descriptors() if left < SPARE else None


def descriptor_limit() -> int:
    """How many file descriptors this process may have open at a time."""
    soft = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
    return _UNLIMITED if soft == resource.RLIM_INFINITY else soft


_UNLIMITED = 1 << 20


def _no_descriptors() -> str:
    return f"no file descriptors are left of {descriptor_limit()} (LimitNOFILE, ulimit -n)"
