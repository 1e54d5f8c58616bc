"""Embeddings of what was heard on disk: FOLDER/SOURCE/HOUR-CHECKPOINT.heard, a file for each hour.

A file is a header of HEADER bytes and then rows, appended; whoever reads maps whole rows into
memory and sees no others, so a row that was torn by a crash, or is being written, does no harm. A
row may be there twice where a write was repeated; `start_ns` tells. Whole rows are never cut off
again, as somebody may have them mapped. Files of other names are never touched.
"""

from __future__ import annotations

import contextlib
import json
import logging
import os
import re
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import IO, BinaryIO

import numpy as np

from pe_stream.config.paths import state_folder
from pe_stream.core.messages import slug
from pe_stream.core.pooling import Rows, row_type, sound
from pe_stream.errors import UnavailableError
from pe_stream.storage import write_queue
from pe_stream.storage.locks import hold, holds, make_private

log = logging.getLogger(__name__)

HEADER = 4096
"""Bytes of a header: a page."""

_MAGIC = b"pe_stream heard 1\n"
_TIDY_S = 3600.0
_HOUR_NS = 3_600_000_000_000
_NAME = re.compile(r"(\d{8}T\d\dZ)-[0-9a-f]{16}\.heard")


@dataclass(frozen=True, slots=True)
class Made:
    """Who heard it, where, and into how many dimensions.

    identity: of the checkpoint; rows of another cannot be compared with. checkpoint: its name.
    """

    source: str
    identity: str
    checkpoint: str
    width: int


@dataclass(frozen=True, slots=True, eq=False)
class EmbeddingRows:
    """Rows of one file, or of memory."""

    made: Made
    rows: Rows


def default_folder() -> Path:
    """Default folder: beside the events."""
    return state_folder() / "heard"


class EmbeddingFiles:
    """The folder of one daemon; for one thread.

    unavailable_reason: why it cannot be written at present, in words; None while it can.
    """

    def __init__(
        self,
        folder: Path,
        *,
        keep_days: float,
        max_gb: float,
        clock: Callable[[], float] = time.time,
    ) -> None:
        """Take the folder; nothing is opened yet."""
        self.unavailable_reason: str | None = None
        self._folder = folder
        self._keep_s = keep_days * 86_400
        self._max_bytes = max_gb * 1e9
        self._clock = clock
        self._lock: IO[str] | None = None
        self._bytes = 0
        self._tidy_s = 0.0

    def close(self) -> None:
        """Leave the folder to others."""
        if self._lock is not None:
            self._lock.close()
            self._lock = None

    def pause_s(self) -> float:
        """How long it is to be left alone, after it failed (s)."""
        return write_queue.RETRY_S

    def keep(self, piece: EmbeddingRows) -> bool:
        """Write rows, in order; whether that was done. Forgets what is then too much."""
        hours = piece.rows["start_ns"] // _HOUR_NS
        try:
            self._hold()
            for hour in np.unique(hours).tolist():
                self._append(piece.made, hour * _HOUR_NS, piece.rows[hours == hour])
            if self._bytes > self._max_bytes or time.monotonic() >= self._tidy_s:
                self._forget()
        except (OSError, UnavailableError) as error:
            self._fail(error)
            return False
        if self.unavailable_reason is not None:
            log.info("what is heard is stored again in %s", self._folder)
            self.unavailable_reason = None
        return True

    def forget(self) -> None:
        """Delete what is too old or too much."""
        try:
            self._hold()
            self._forget()
        except (OSError, UnavailableError) as error:
            self._fail(error)

    def look(self) -> None:
        """Nothing: every file is opened anew for what is written to it."""

    def _fail(self, error: Exception) -> None:
        unavailable_reason = str(error)
        if unavailable_reason != self.unavailable_reason:
            log.error(
                "%s: %s; what is heard is not stored until it works",
                self._folder,
                unavailable_reason,
            )
        self.unavailable_reason = unavailable_reason

    def _hold(self) -> None:
        """Be the only daemon that writes there, whatever goes wrong meanwhile."""
        path = self._folder / ".lock"
        if holds(self._lock, path):
            return
        self.close()
        make_private(self._folder)
        self._lock = hold(path)
        if self._lock is None:
            raise UnavailableError("another pe-stream uses it: set another search.folder")

    def _append(self, made: Made, hour_ns: int, rows: Rows) -> None:
        folder = self._folder / slug(made.source)
        make_private(folder)
        when = datetime.fromtimestamp(hour_ns // 10**9, UTC).strftime("%Y%m%dT%HZ")
        path = folder / f"{when}-{made.identity[:16]}.heard"
        descriptor = os.open(path, os.O_CREAT | os.O_RDWR, 0o600)
        with os.fdopen(descriptor, "r+b", buffering=0) as file:
            size = os.fstat(descriptor).st_size
            found = _read_header(file)
            if size and (found is None or found.width != made.width):
                file.close()
                _set_aside(path)
                self._append(made, hour_ns, rows)
                return
            # What was torn goes; nobody has mapped it.
            whole = max(0, size - HEADER) // rows.itemsize
            if size and size != HEADER + whole * rows.itemsize:
                file.truncate(HEADER + whole * rows.itemsize)
            file.seek(0, os.SEEK_END)
            _write(file, (b"" if size else _header(made)) + rows.tobytes())
        self._bytes += rows.nbytes

    def _forget(self) -> None:
        self._tidy_s = time.monotonic() + _TIDY_S
        oldest = datetime.fromtimestamp(self._clock() - self._keep_s - 3600, UTC)
        kept: list[tuple[str, int, Path]] = []
        for path in _files(self._folder):
            hour = path.name[:12]
            if hour <= oldest.strftime("%Y%m%dT%HZ"):
                _delete(path)
            else:
                kept.append((hour, path.stat().st_size, path))
        self._bytes = sum(size for _, size, _ in kept)
        for _, size, path in sorted(kept):
            if self._bytes <= self._max_bytes:
                break
            _delete(path)
            self._bytes -= size


def stored(
    folder: Path, since_ns: int, until_ns: int, *, source: str | None = None
) -> Iterator[EmbeddingRows]:
    """Rows that begin in since_ns..until_ns (UTC), file by file, also beside a daemon.

    source: as configured, or as in topics; None is all. What is damaged is left out, and said.
    Raises UnavailableError where the folder cannot be read.
    """
    if not folder.exists():
        return
    try:
        list(folder.iterdir())
    except OSError as error:
        raise UnavailableError(f"{folder} cannot be read: {error.strerror}") from error
    for path in sorted(_files(folder)):
        if source is not None and path.parent.name != slug(source):
            continue
        try:
            hour_ns = _hour_ns(path)
            if hour_ns + _HOUR_NS <= since_ns or hour_ns >= until_ns:
                continue
            piece = _read(path)
        except FileNotFoundError:  # forgotten meanwhile
            continue
        except (OSError, ValueError) as error:
            log.warning("%s is left out: %s", path, error)
            continue
        if piece is not None:
            yield EmbeddingRows(piece.made, _wanted(path, piece.rows, since_ns, until_ns))


def _wanted(path: Path, rows: Rows, since_ns: int, until_ns: int) -> Rows:
    right = sound(rows)
    if not right.all():
        log.warning("%s: %d damaged rows are left out", path, len(right) - int(right.sum()))
    right &= (rows["start_ns"] >= since_ns) & (rows["start_ns"] < until_ns)
    # Without a copy where all are wanted, as mostly.
    return rows if right.all() else rows[right]


def _hour_ns(path: Path) -> int:
    """UTC (ns) that a file begins at. Raises ValueError on an hour that no clock shows."""
    begun = datetime.strptime(path.name[:12], "%Y%m%dT%HZ").replace(tzinfo=UTC)
    return int(begun.timestamp()) * 10**9


def _files(folder: Path) -> Iterator[Path]:
    for path in folder.glob("*/*.heard"):
        if _NAME.fullmatch(path.name):
            yield path


def _read(path: Path) -> EmbeddingRows | None:
    """None where there are no rows yet. Raises ValueError on what is no such file."""
    size = path.stat().st_size
    if not size:
        return None
    with path.open("rb") as file:
        made = _read_header(file)
    if made is None:
        raise ValueError("it is damaged, or not ours")
    kind = row_type(made.width)
    count = (size - HEADER) // kind.itemsize
    if count <= 0:
        return None
    return EmbeddingRows(made, np.memmap(path, kind, "r", HEADER, (count,)))


def _header(made: Made) -> bytes:
    return (_MAGIC + json.dumps(asdict(made)).encode()).ljust(HEADER)


def _read_header(file: BinaryIO | IO[bytes]) -> Made | None:
    """Header of a file; None where `_header` did not make it."""
    head = file.read(HEADER)
    if len(head) < HEADER or not head.startswith(_MAGIC):
        return None
    try:
        made = Made(**json.loads(head[len(_MAGIC) :]))
    except (ValueError, TypeError):
        return None
    return made if isinstance(made.width, int) and made.width > 0 else None


def _write(file: IO[bytes], content: bytes) -> None:
    """All of it: a disk that is getting full takes a part, and says so only at the next."""
    left = memoryview(content)
    while left:
        left = left[file.write(left) :]


def _delete(path: Path) -> None:
    path.unlink(missing_ok=True)
    with contextlib.suppress(OSError):  # what is not empty stays
        path.parent.rmdir()


def _set_aside(path: Path) -> None:
    stamp = datetime.now(UTC).strftime("%Y%m%dT%H%M%S")
    aside = path.with_name(f"{path.name}.damaged-{stamp}")
    path.replace(aside)
    log.error("%s is damaged: set aside as %s; a new one is begun", path, aside.name)
