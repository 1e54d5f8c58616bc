"""A file to decode, or a pipe in its place, on which nothing waits for ever."""

from __future__ import annotations

import io
import os
import select
import stat
import sys
import time

from pe_stream.errors import UnavailableError

WRITER_S = 5.0
"""Seconds in which somebody has to write into a pipe."""

PIPE_S = 30.0
"""Seconds after which more has to come out of one."""


class RecordingFile(io.FileIO):
    """A file to read, which is closed where nobody uses it any more.

    Raises OSError, and UnavailableError for a pipe into which nobody writes, a terminal, and what
    else is no recording.
    """

    def __init__(self, path: str, part: tuple[int, int] | None = None) -> None:
        """Open it. part: begin and end (bytes) of what is read as if it were all."""
        # Opening a pipe without a writer would wait for one.
        super().__init__(path, "r", opener=lambda name, how: os.open(name, how | os.O_NONBLOCK))
        self._begin, self._end = part or (0, sys.maxsize)
        try:
            self._prepare()
        except BaseException:
            self.close()  # at once: whoever opens a pipe to write would take us for a reader
            raise

    def _prepare(self) -> None:
        mode = os.fstat(self.fileno()).st_mode
        self._is_pipe = stat.S_ISFIFO(mode) or stat.S_ISSOCK(mode)
        if self.isatty():
            raise UnavailableError("this is a terminal, not a recording")
        os.set_blocking(self.fileno(), True)
        if self._is_pipe and not _ready(self.fileno(), WRITER_S):
            raise UnavailableError("this is a pipe into which nobody writes")
        if self._begin:
            self.seek(0)

    def read(self, size: int | None = -1) -> bytes:
        """So many bytes, or fewer; raises UnavailableError where nothing comes out of a pipe."""
        if self._is_pipe and not _ready(self.fileno(), PIPE_S):
            raise UnavailableError(f"nothing came out of this pipe for {PIPE_S:.0f} s")
        if self._end == sys.maxsize:
            return super().read(-1 if size is None else size)
        left = max(0, self._end - super().tell())
        return super().read(left if size is None or size < 0 else min(size, left))

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        """As any file does, within the part."""
        if whence == os.SEEK_END and self._end != sys.maxsize:
            offset, whence = self._end - self._begin + offset, os.SEEK_SET
        if whence == os.SEEK_SET:
            offset += self._begin
        return super().seek(offset, whence) - self._begin

    def tell(self) -> int:
        """As any file does, within the part."""
        return super().tell() - self._begin

    def __del__(self) -> None:
        """Close it."""
        self.close()


def is_pipe(path: str) -> bool:
    """Whether there is a pipe (FIFO) at the path now."""
    try:
        return stat.S_ISFIFO(os.stat(path).st_mode)  # noqa: PTH116 - any text may be asked for
    except (OSError, ValueError):
        return False


def _ready(descriptor: int, seconds: float) -> bool:
    """Whether there is something to read in time, the end included."""
    poll = select.poll()
    poll.register(descriptor, select.POLLIN)
    until_s = time.monotonic() + seconds
    while True:
        left_s = until_s - time.monotonic()
        if left_s <= 0:
            return False
        if poll.poll(left_s * 1000):
            return True
