"""Free TCP ports, of which two tests that run side by side never get the same."""

from __future__ import annotations

import fcntl
import itertools
import os
import socket
import tempfile
from collections.abc import Iterator
from functools import cache
from pathlib import Path

HOST = "127.0.0.1"

_BLOCK = 100
_BLOCKS = range(10_000, 32_000, _BLOCK)
"""Below the ports that the system gives to whoever asks for any."""

_UNSAFE = 10_080
"""Browsers open no page there: it is Amanda's."""


def free_port() -> int:
    """A TCP port nobody listens on at the moment, and no other pytest process will be given."""
    while True:
        port = next(_ours())
        with socket.socket() as probe:
            try:
                probe.bind((HOST, port))
            except OSError:  # somebody else's, or one of ours that is still closing
                continue
            return port


@cache
def _ours() -> Iterator[int]:
    """Take a block of ports for this process, until it ends; returns them again and again."""
    folder = Path(tempfile.gettempdir()) / "pe-stream-test-ports"
    folder.mkdir(exist_ok=True)
    for first in _BLOCKS:
        lock = os.open(folder / str(first), os.O_WRONLY | os.O_CREAT)  # and never closed
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(lock)
            continue
        return itertools.cycle(set(range(first, first + _BLOCK)) - {_UNSAFE})
    raise RuntimeError(f"all ports for tests are taken: {folder}")
