"""Locks on files that one process may use at a time."""

from __future__ import annotations

import fcntl
import os
from pathlib import Path
from typing import IO


def hold(path: Path) -> IO[str] | None:
    """Have a file alone, until what is returned is closed; None where somebody else has it.

    It is made where it is missing, and means nothing to whoever does not ask. Raises OSError.
    """
    lock = path.open("w", encoding="utf-8")
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        lock.close()
        return None
    return lock


def holds(lock: IO[str] | None, path: Path) -> bool:
    """Whether what `hold` returned still holds that path; not where the file was deleted."""
    if lock is None:
        return False
    try:
        return os.path.samestat(os.fstat(lock.fileno()), path.stat())
    except OSError:
        return False
