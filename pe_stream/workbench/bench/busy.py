"""Processes that compute without a pause, and always end."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

from pe_stream.errors import UnavailableError

_LOOP = """
import os, sys, time
parent, until = int(sys.argv[1]), time.monotonic() + float(sys.argv[2])
print(flush=True)
while os.getppid() == parent and time.monotonic() < until:
    for _ in range(300_000):
        pass
"""
"""Ends by itself where whoever began it is no more, whatever ended that."""


@contextmanager
def busy(count: int, limit_s: float) -> Iterator[list[int]]:
    """So many processes that compute without a pause; yields their numbers.

    They are ended with the block, however it ends, and by themselves after `limit_s` or with this
    process.
    """
    command = [sys.executable, "-I", "-S", "-c", _LOOP, str(os.getpid()), f"{limit_s:f}"]
    with ExitStack() as stack:
        begun = []
        for _ in range(count):
            try:
                rival = subprocess.Popen(command, stdout=subprocess.PIPE)
            except OSError as error:
                raise UnavailableError(f"no rival can be begun: {error}") from error
            stack.callback(_end, rival)
            begun.append(rival)
        for rival in begun:
            assert rival.stdout is not None  # noqa: S101 - it is a pipe
            rival.stdout.readline()  # it runs
        yield [rival.pid for rival in begun]


def _end(rival: subprocess.Popen[bytes]) -> None:
    rival.kill()
    with rival:
        rival.wait()
