"""Files and folders of one process: locks, and rights for nobody else."""

from __future__ import annotations

import fcntl
import os
from contextlib import suppress
from pathlib import Path
from typing import IO


def hold(path: Path) -> IO[str] | None:
    """Have a file alone, until what is returned is closed; None where somebody else has it.

    It is made where it is missing, for its user alone, as whoever may open it may hold it; and
    means nothing to whoever does not ask. Raises OSError.
    """
    opened = os.open(path, os.O_CREAT | os.O_RDWR | os.O_CLOEXEC, 0o600)
    lock = open(opened, "w", encoding="utf-8")  # noqa: PTH123, SIM115 - closed by whoever has it
    with suppress(OSError):  # one of an earlier version was for everybody
        os.fchmod(opened, 0o600)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        lock.close()
        return None
    return lock


def make_private(folder: Path) -> None:
    """Make a folder and those above it, as far as they are missing, for their user alone.

    Raises OSError.
    """
    if not folder.parent.exists():
        make_private(folder.parent)
    folder.mkdir(mode=0o700, exist_ok=True)


def holds(lock: IO[str] | None, path: Path) -> bool:
    """Whether what `hold` returned still holds that path; not where the file was deleted."""
    if lock is None:
        return False
    try:
        return os.path.samestat(os.fstat(lock.fileno()), path.stat())
    except OSError:
        return False
