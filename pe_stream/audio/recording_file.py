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
        descriptor = self.fileno()
        mode = os.fstat(descriptor).st_mode
        self._begin, self._end = part or (0, sys.maxsize)
        self._is_pipe = stat.S_ISFIFO(mode) or stat.S_ISSOCK(mode)
        if self.isatty():
            raise UnavailableError("this is a terminal, not a recording")
        os.set_blocking(descriptor, True)
        if self._is_pipe and not _ready(descriptor, WRITER_S):
            raise UnavailableError("this is a pipe into which nobody writes")
        if part is not None:
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
