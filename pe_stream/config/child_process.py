"""A Python process that runs our code: its command line, and messages over its pipes."""

from __future__ import annotations

import struct
import sys
from collections.abc import Iterator


def python(program: str, *arguments: str) -> list[str]:
    """What starts a process that runs `program`, with these arguments in `sys.argv`.

    It has modules from where we have them, and never from the current directory.
    """
    with_modules = f"import sys; sys.path[:] = {sys.path}; {program}"
    return [sys.executable, "-P", "-c", with_modules, *arguments]


_HEAD = struct.Struct("<cI")
"""Before every message: its kind, and the length of its body."""


def message(kind: bytes, *body: bytes) -> bytes:
    """A message as it goes over a pipe. kind: one byte. body: in parts, 4 GiB at most."""
    return _HEAD.pack(kind, sum(map(len, body))) + b"".join(body)


class MessageReader:
    """Takes a pipe's messages apart."""

    def __init__(self) -> None:
        """Begin at the beginning of one."""
        self._waiting = bytearray()

    def feed(self, more: bytes) -> Iterator[tuple[bytes, bytes]]:
        """The messages that are whole with these bytes, as (kind, body)."""
        self._waiting += more
        while len(self._waiting) >= _HEAD.size:
            kind, length = _HEAD.unpack_from(self._waiting)
            end = _HEAD.size + length
            if len(self._waiting) < end:
                return
            body = bytes(self._waiting[_HEAD.size : end])
            del self._waiting[:end]
            yield kind, body
