"""Who listens live to a source, and what they are sent: Opus in Ogg, as one response.

Everybody has a bounded queue and an encoder of their own: who reads slowly misses sound, and
nobody else notices. While nobody listens nothing is encoded. What they get is what the detectors
let out (`Heard.audible`): the sound after the source's filters, with silence where
`clips.never_when` withholds it.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Sequence
from contextlib import suppress

import numpy as np

from pe_stream.audio.encode import OpusStream
from pe_stream.config import Settings
from pe_stream.core.audible import AudibleRun
from pe_stream.core.playout import Playout
from pe_stream.core.types import SAMPLE_RATE, Samples

MOST_LISTENERS = 8
"""Each costs about 1 % of a core."""

MOST_WAITING = 10 * SAMPLE_RATE
"""Samples that may wait for a listener; beyond, the oldest are left out."""

POLL_S = 0.2
"""So often it is seen to whether one may still listen, and whether a player runs dry."""


def refusal(settings: Settings) -> str | None:
    """Why nobody may listen, in words; None where one may."""
    if not settings.clips.enabled:
        return "no sound leaves this machine: clips.enabled is false"
    if not settings.web.listen:
        return "nobody may listen live: web.listen is false"
    return None


class AudioListener:
    """One who listens to a source; belongs to the loop."""

    def __init__(self, source: str) -> None:
        """Begin with nothing to send."""
        self.source = source
        self.ended = False
        # Bounded by MOST_WAITING: then the oldest is left out.
        self._waiting: deque[Samples] = deque()
        self._count = 0
        self._news = asyncio.Event()

    def give(self, runs: Sequence[AudibleRun]) -> None:
        """Queue sound."""
        for _, samples in runs:
            self._waiting.append(samples)
            self._count += len(samples)
        while self._count > MOST_WAITING:
            self._count -= len(self._waiting.popleft())
        self._news.set()

    def end(self) -> None:
        """Send no more."""
        self.ended = True
        self._news.set()

    async def sound(self) -> AsyncIterator[Samples]:
        """Yield what is to be played, (n,); nothing (0,) now and then, several times a second."""
        loop = asyncio.get_running_loop()
        playout = Playout(loop.time())
        while not self.ended:
            yield playout.next(self._take(), loop.time())
            with suppress(TimeoutError):
                await asyncio.wait_for(self._news.wait(), POLL_S)
            self._news.clear()

    def _take(self) -> Samples:
        taken = [np.empty(0, np.float32), *self._waiting]
        self._waiting.clear()
        self._count = 0
        return np.concatenate(taken)


class LiveAudio:
    """All who listen; `heard` and `end` are for any thread, the rest for the loop."""

    def __init__(self) -> None:
        """Let nobody in before `attend`."""
        self._loop: asyncio.AbstractEventLoop | None = None
        self._listeners: set[AudioListener] = set()

    def attend(self, loop: asyncio.AbstractEventLoop) -> None:
        """Serve listeners on this loop from now on."""
        self._loop = loop

    def join(self, source: str) -> AudioListener | None:
        """Add a listener; None where there are too many."""
        if len(self._listeners) >= MOST_LISTENERS or self._loop is None:
            return None
        listener = AudioListener(source)
        self._listeners.add(listener)
        return listener

    def leave(self, listener: AudioListener) -> None:
        """Forget a listener."""
        listener.end()
        self._listeners.discard(listener)

    def heard(self, source: str, runs: Sequence[AudibleRun]) -> None:
        """Take the next sound of a source; where nobody listens, that costs nothing."""

        def give() -> None:
            for listener in self._listeners:
                if listener.source == source:
                    listener.give(runs)

        if runs and self._listeners:
            self._hand_over(give)

    def end(self) -> None:
        """End all, and let nobody in any more."""

        def apply() -> None:
            self._loop = None
            for listener in self._listeners:
                listener.end()

        self._hand_over(apply)

    def _hand_over(self, act: Callable[[], None]) -> None:
        loop = self._loop
        if loop is not None:
            with suppress(RuntimeError):  # it is being closed
                loop.call_soon_threadsafe(act)


async def encoded(sound: AsyncIterator[Samples]) -> AsyncGenerator[bytes, None]:
    """Sound as a stream of Opus in Ogg, encoded beside the loop; b"" where there is none yet.

    Raises OSError where it cannot be encoded.
    """
    stream = await asyncio.to_thread(OpusStream)
    try:
        async for samples in sound:
            yield await asyncio.to_thread(stream.encode, samples) if len(samples) else b""
        yield await asyncio.to_thread(stream.close)
    finally:
        stream.close()
