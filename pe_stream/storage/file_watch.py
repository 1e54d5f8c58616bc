"""Whether a SQLite file is still what its only writer left: looked at from outside.

SQLite trusts that nobody else touches its files. Somebody does: `cp backup events.db` writes into
the open file, a tidy hand removes `-wal` and `-shm`. Writes then go on without an error, into what
nobody will ever read.
"""

from __future__ import annotations

import os
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import NamedTuple

_MAGIC = b"SQLite format 3\0"

_PROGRESS = (slice(32, 40), slice(96, 100), slice(128, 132))
"""Of `-shm` (sqlite.org/walformat.html): the WAL's salts, how many of its frames are in the main
file, and how many are being written there. Whoever writes the main file by SQLite's rules changes
one of them before."""

_INDEX_BYTES = 132
"""Of `-shm`, what is read of it."""


class _Stamp(NamedTuple):
    inode: int
    size: int
    mtime_ns: int


@dataclass(frozen=True, slots=True)
class FileState:
    """A database's files as they are; None is a file that is not there."""

    main: _Stamp | None
    wal: _Stamp | None
    shm: _Stamp | None
    header: bytes
    progress: bytes


@dataclass(frozen=True, slots=True)
class Harm:
    """What happened to a database.

    what: in words, which go on from its path. readable: whether its writer, which has it open, can
    still read all of it. another: whether there is another file in its place.
    """

    what: str
    readable: bool
    another: bool = False


class FileWatch:
    """Looks at the files of a database that its writer has open.

    To close one of them would take all locks of this process from it (POSIX), also SQLite's: what
    is read is opened once, and closed when SQLite no longer has it.
    """

    def __init__(self, path: Path) -> None:
        """Open what is read. Raises OSError."""
        self._path = path
        self._opened: list[int] = []
        try:
            for each in (path, _beside(path, "-shm")):
                self._opened.append(os.open(each, os.O_RDONLY))
        except BaseException:
            self.close()
            raise

    def look(self) -> FileState:
        """The files as they are."""
        main, shm = self._opened
        index = os.pread(shm, _INDEX_BYTES, 0)
        return FileState(
            _stamp(self._path),
            _stamp(_beside(self._path, "-wal")),
            _stamp(_beside(self._path, "-shm")),
            os.pread(main, len(_MAGIC), 0),
            b"".join(index[part] for part in _PROGRESS),
        )

    def keep_index_long(self, size: int) -> None:
        """Make `-shm` at least `size` bytes long again, with zeros.

        SQLite has it in memory: where the file is shorter, the next use would end the process.
        Of zeros it makes an index anew.
        """
        if os.fstat(self._opened[1]).st_size < size:
            os.truncate(_beside(self._path, "-shm"), size)

    def close(self) -> None:
        """Leave the files alone; once SQLite has closed them."""
        while self._opened:
            os.close(self._opened.pop())


def harm(before: FileState, now: FileState) -> Harm | None:
    """What others did to the files meanwhile; None where nothing is wrong.

    before: right after the last transaction of their only writer, who still has them open.
    """
    if before.main is None:
        return None
    if now.main is None:
        return Harm("is gone", readable=True)
    if now.main.inode != before.main.inode:
        return Harm("was replaced", readable=True, another=True)
    return _written_over(before, now) or _robbed(before, now)


def _written_over(before: FileState, now: FileState) -> Harm | None:
    was, known = before.main, now.main
    changed = known != was and now.progress == before.progress
    if changed and was and known and known.size < was.size:
        return Harm("was truncated", readable=False)
    if changed or not now.header.startswith(_MAGIC):
        return Harm("was overwritten", readable=False)
    return None


def _robbed(before: FileState, now: FileState) -> Harm | None:
    for name, was, known in (("-wal", before.wal, now.wal), ("-shm", before.shm, now.shm)):
        if was is not None and (known is None or known.inode != was.inode):
            return Harm(f"has lost its {name} file", readable=True)
    if before.shm is not None and now.shm is not None and now.shm.size < before.shm.size:
        return Harm("has lost a part of its -shm file", readable=True)
    shorter = before.wal is not None and now.wal is not None and now.wal.size < before.wal.size
    if shorter and now.progress == before.progress:
        return Harm("has lost a part of its -wal file", readable=False)
    return None


def set_aside(path: Path, *, stale: FileState | None = None) -> str:
    """Keep what is left of a database for whoever wants to mend it, out of the way.

    stale: where the file at `path` is a new one, which stays; only what belonged to the old one,
    of that state, goes. Returns the name it has then, and "" where nothing was left.
    """
    stamp = datetime.now(UTC).strftime("%Y%m%dT%H%M%S.%f")
    name, moved = f"{path.name}.damaged-{stamp}", False
    for suffix in ("", "-wal", "-shm"):
        part = _beside(path, suffix)
        if stale is not None:
            was = {"-wal": stale.wal, "-shm": stale.shm}.get(suffix)
            found = _stamp(part)
            if was is None or found is None or found.inode != was.inode:
                continue
        with suppress(OSError):
            part.replace(path.with_name(f"{name}{suffix}"))
            moved = True
    return name if moved else ""


def _beside(path: Path, suffix: str) -> Path:
    return path.with_name(path.name + suffix)


def _stamp(path: Path) -> _Stamp | None:
    try:
        found = path.stat()
    except OSError:
        return None
    return _Stamp(found.st_ino, found.st_size, found.st_mtime_ns)
