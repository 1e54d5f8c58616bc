"""Messages over the pipes of a process of ours: bytes in, messages out."""

from __future__ import annotations

from collections.abc import Iterator

_HEAD = 5
"""Bytes before every message: its kind (one), and the length of its body (four, lowest first)."""


def message(kind: bytes, *body: bytes) -> bytes:
    """A message as it goes over a pipe. kind: one byte. body: in parts, 4 GiB at most."""
    return kind + sum(map(len, body)).to_bytes(4, "little") + b"".join(body)


class MessageReader:
    """Takes a pipe's messages apart."""

    def __init__(self) -> None:
        """Begin at the beginning of one."""
        self._waiting = bytearray()

    def feed(self, more: bytes) -> Iterator[tuple[bytes, bytes]]:
        """The messages that are whole with these bytes, as (kind, body)."""
        self._waiting += more
        while len(self._waiting) >= _HEAD:
            kind, length = (
                bytes(self._waiting[:1]),
                int.from_bytes(self._waiting[1:_HEAD], "little"),
            )
            end = _HEAD + length
            if len(self._waiting) < end:
                return
            body = bytes(self._waiting[_HEAD:end])
            del self._waiting[:end]
            yield kind, body
