"""Very many connections that ask nothing, or little, and stay."""

from __future__ import annotations

import errno
import resource
import selectors
import socket
import threading
import time
from collections.abc import Sequence
from typing import Self

from ports import HOST

SPARE = 500
"""Descriptors for all else in this process."""


class Crowd:
    """Holds `size` connections to each port while it is entered, on a thread of its own.

    What the other end closes is opened again, at most `again` a second for each port. said: by each
    connection, once it is open.
    """

    def __init__(self, ports: Sequence[int], size: int, again: int = 25, said: bytes = b"") -> None:
        self._size, self._again, self._said = size, again, said
        self._held: dict[int, set[socket.socket]] = {port: set() for port in ports}
        self._selector = selectors.DefaultSelector()
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run)
        self.opened = 0

    def __enter__(self) -> Self:
        _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
        self._size = min(self._size, (hard - SPARE) // len(self._held))
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stopping.set()
        self._thread.join(30)
        assert not self._thread.is_alive()

    def _run(self) -> None:
        first = self._size
        while not self._stopping.wait(0.1):
            for port, held in self._held.items():
                for _ in range(min(self._size - len(held), first or max(1, self._again // 10))):
                    self._open(port, held)
            first = 0
            self._forget_closed()
        for held in self._held.values():
            for each in held:
                each.close()

    def _open(self, port: int, held: set[socket.socket]) -> None:
        made = socket.socket()
        made.setblocking(False)
        error = made.connect_ex((HOST, port))
        if error not in (0, errno.EINPROGRESS):
            made.close()
            return
        self.opened += 1
        held.add(made)
        self._selector.register(made, selectors.EVENT_READ | selectors.EVENT_WRITE, held)

    def _forget_closed(self) -> None:
        until_s = time.monotonic() + 0.1
        while (ready := self._selector.select(0)) and time.monotonic() < until_s:
            for key, mask in ready:
                made, held = key.fileobj, key.data
                assert isinstance(made, socket.socket)
                try:
                    if mask & selectors.EVENT_WRITE:
                        made.send(self._said)
                        self._selector.modify(made, selectors.EVENT_READ, held)
                    if mask & selectors.EVENT_READ and made.recv(4096) == b"":
                        raise ConnectionError
                except BlockingIOError:
                    continue
                except OSError:
                    self._selector.unregister(made)
                    held.discard(made)
                    made.close()
