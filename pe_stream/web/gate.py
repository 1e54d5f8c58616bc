"""Scoring comes first: of what takes a core for long, the page does one thing at a time."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager

from fastapi import HTTPException

PATIENCE_S = 10.0
"""Whoever asks waits so long for those before, and is then sent away."""

LOOK_S = 0.02
"""The loop looks so often whether its turn has come."""

MOST_WAITING = 8
"""Who comes then is sent away at once: all that wait hold a thread that others are served by."""


class Gate:
    """One at a time, whatever takes a core for long: texts tried, searches, pictures and such."""

    def __init__(self) -> None:
        """Begin open."""
        self._one = threading.Lock()
        self._waiting = threading.Semaphore(MOST_WAITING)

    @contextmanager
    def turn(self) -> Iterator[None]:
        """Have the turn. Answers 503 where it does not come in time, or too many wait for it."""
        if not self._got():
            raise HTTPException(503, "too many ask at once", headers={"Retry-After": "5"})
        try:
            yield
        finally:
            self._one.release()

    @asynccontextmanager
    async def turn_of_loop(self) -> AsyncIterator[bool]:
        """Have the turn, on the loop, whose waiting holds no thread; whether it came in time."""
        until_s = time.monotonic() + PATIENCE_S
        while not (got := self._one.acquire(blocking=False)) and time.monotonic() < until_s:  # noqa: ASYNC110 - a thread gives it back
            await asyncio.sleep(LOOK_S)
        try:
            yield got
        finally:
            if got:
                self._one.release()

    def _got(self) -> bool:
        if self._one.acquire(blocking=False):
            return True
        if not self._waiting.acquire(blocking=False):
            return False
        try:
            return self._one.acquire(timeout=PATIENCE_S)
        finally:
            self._waiting.release()
