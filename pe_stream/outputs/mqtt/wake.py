"""A socket that ends the wait of another thread."""

from __future__ import annotations

import contextlib
import socket


class Wake:
    """Ends the wait of another thread on `socket`."""

    def __init__(self) -> None:
        """Begin without anything to be waked for."""
        self.socket, self._far_end = socket.socketpair()
        self.socket.settimeout(0)
        self._far_end.settimeout(0)

    def set(self) -> None:
        """End the wait; from any thread."""
        # Full: it is awake already. Closed: nobody waits any more.
        with contextlib.suppress(OSError):
            self._far_end.send(b"w")

    def clear(self) -> None:
        """Let the next wait be one; on the thread that waits."""
        with contextlib.suppress(BlockingIOError):
            self.socket.recv(4096)

    def close(self) -> None:
        """Nobody waits any more."""
        self.socket.close()
        self._far_end.close()
