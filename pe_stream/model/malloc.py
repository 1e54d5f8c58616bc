"""The C library's allocator, told to keep what is freed.

A window needs tensors of many megabytes that live for a moment. By default glibc takes each from
the kernel and gives it back, page by page; that alone took half of the plain call's time.
"""

from __future__ import annotations

import ctypes
from contextlib import suppress

_M_TRIM_THRESHOLD, _M_TOP_PAD, _M_MMAP_MAX, _M_ARENA_MAX = -1, -2, -4, -8
_NEVER = 2**31 - 1
_STEP = 64 * 2**20


def keep_freed_memory() -> bool:
    """Let the process hold on to memory it has freed; whether the C library could be told.

    What it holds grows until freed pieces fit what comes next, and then no more: two to four times
    the most it ever used at once was seen. Other libraries than glibc are left as they are.
    """
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (OSError, AttributeError):
        return False
    settings = (
        (_M_MMAP_MAX, 0),
        (_M_TRIM_THRESHOLD, _NEVER),
        (_M_TOP_PAD, _STEP),
        (_M_ARENA_MAX, 1),  # arenas of other threads than the first end at 64 MB
    )
    return all(mallopt(name, value) == 1 for name, value in settings)


def give_back_freed_memory() -> None:
    """Return what is free to the system, once: for when something large has gone for good."""
    with suppress(OSError, AttributeError):
        ctypes.CDLL(None).malloc_trim(0)
