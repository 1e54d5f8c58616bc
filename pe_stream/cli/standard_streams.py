"""Standard streams that stand whatever we were started with: closed, full, or of another locale."""

from __future__ import annotations

import errno
import io
import os
import sys
from typing import BinaryIO, TextIO, cast

from pe_stream.errors import OutputError


def stand_in() -> None:
    """Replace the standard streams by ones that do what the rest relies on; once, at the start.

    stdout raises OutputError where nothing can be written, and BrokenPipeError where nobody reads
    any more; it is UTF-8, as JSON is, in any locale. What cannot be written to stderr is lost. None
    of the three descriptors stays free: a database would get it, and what libraries print.
    """
    out_is_closed = sys.stdout is None or not _is_open(1)
    while (free := os.open(os.devnull, os.O_RDWR)) <= 2:
        pass
    os.close(free)
    if out_is_closed:
        os.dup2(os.open(os.devnull, os.O_RDONLY), 1)  # so that writing fails
    sys.stdin = sys.stdin or cast("TextIO", open(0, encoding="utf-8", closefd=False))  # noqa: SIM115 - for as long as the process lives
    if sys.stdout is sys.__stdout__:  # else somebody has replaced it, who wants what is written
        by_line = _by_line(sys.stdout, 1)
        sys.stdout = cast("TextIO", _Results(_binary(1), line_buffering=by_line))
    if sys.stderr is sys.__stderr__:
        sys.stderr = cast("TextIO", _Diagnostics(_binary(2), line_buffering=True))


class _Results(io.TextIOWrapper):
    """Text that has to arrive."""

    def __init__(self, binary: BinaryIO, *, line_buffering: bool) -> None:
        super().__init__(binary, "utf-8", errors="backslashreplace", line_buffering=line_buffering)

    def write(self, text: str) -> int:
        """As any text stream does."""
        try:
            return super().write(text)
        except OSError as error:
            raise _told(error) from error

    def flush(self) -> None:
        """As any text stream does."""
        try:
            super().flush()
        except OSError as error:
            raise _told(error) from error


class _Diagnostics(io.TextIOWrapper):
    """Text for people, in their locale, as far as it can be told."""

    def __init__(self, binary: BinaryIO, *, line_buffering: bool) -> None:
        encoding = sys.stderr.encoding if sys.stderr is not None else "utf-8"
        super().__init__(binary, encoding, errors="backslashreplace", line_buffering=line_buffering)

    def write(self, text: str) -> int:
        """As any text stream does, but never fails."""
        try:
            return super().write(text)
        except OSError:
            return len(text)

    def flush(self) -> None:
        """As any text stream does, but never fails."""
        try:
            super().flush()
        except OSError:
            return


def _told(error: OSError) -> Exception:
    if isinstance(error, BrokenPipeError):
        return error
    why = "it is closed" if error.errno == errno.EBADF else error.strerror or error
    return OutputError(f"cannot write the results to stdout: {why}")


def _binary(descriptor: int) -> BinaryIO:
    return open(descriptor, "wb", closefd=False)


def _by_line(stream: TextIO | None, descriptor: int) -> bool:
    """Whether what is written is to be seen at once: on a terminal, and with `python -u`."""
    unbuffered = isinstance(stream, io.TextIOWrapper) and stream.write_through
    return unbuffered or os.isatty(descriptor)


def _is_open(descriptor: int) -> bool:
    try:
        os.fstat(descriptor)
    except OSError:
        return False
    return True
