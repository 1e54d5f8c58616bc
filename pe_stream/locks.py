"""What only one process may use at a time."""

from __future__ import annotations

import fcntl
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
