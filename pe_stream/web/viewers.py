"""Who looks at the page right now, and what they are sent.

Every viewer has a bounded queue of its own. One that does not read is dropped when it is full; the
others, and the daemon, notice nothing: from its threads a message costs one hand-over to the
server's loop; where nobody looks, a hop is only kept for who comes next.
"""

from __future__ import annotations

import asyncio
import base64
import json
from collections import deque
from collections.abc import AsyncIterator, Callable, Sequence
from typing import Any

import numpy as np

from pe_stream.core.bands import Bands
from pe_stream.core.detector import Heard
from pe_stream.core.types import FRAME, Samples
from pe_stream.web.gate import Gate
from pe_stream.web.recent_audio import RecentAudio, RecentStretch, joined, whole
from pe_stream.web.times import utc_of

BANDS = 64
"""Bands of the live spectrogram."""

MOST_WAITING = 384
"""Messages that may wait for a viewer: about half a minute of four sources. Then it is dropped."""

FLOOR_DBFS = -100.0

_FULL_SCALE = 255


class Viewer:
    """One page that is open; belongs to the loop. source: whose hops it wants, None for all.

    past: what was heard before it came; known: the number of the newest hop among that.
    """

    def __init__(self, source: str | None) -> None:
        """Begin with nothing to send."""
        self.source = source
        self.dropped = False
        self.known = 0
        self.past: list[RecentStretch] = []
        self._waiting: deque[str] = deque()
        self._news = asyncio.Event()
        self._woken = False

    def give(self, message: str) -> None:
        """Queue a message; a full queue ends the viewer."""
        if len(self._waiting) >= MOST_WAITING:
            self.end()
        elif not self.dropped:
            self._waiting.append(message)
            self._news.set()

    def end(self) -> None:
        """Send no more."""
        self.dropped = True
        self._waiting.clear()
        self._news.set()

    def wake(self) -> None:
        """Let `messages` yield at once, so that its reader sees whether it may still be there."""
        self._woken = True
        self._news.set()

    def take_past(self) -> list[RecentStretch]:
        """Audio from before the viewer came; given once, because it is large."""
        past, self.past = self.past, []
        return past

    async def messages(self, silence_s: float) -> AsyncIterator[str]:
        """Yield what is to be sent, "" after so long without any, and where it is woken."""
        while not self.dropped:
            try:
                await asyncio.wait_for(self._news.wait(), silence_s)
            except TimeoutError:
                yield ""
            self._news.clear()
            if self._woken:
                self._woken = False
                yield ""
            while self._waiting:
                yield self._waiting.popleft()


class Viewers:
    """All viewers; `tell`, `hop`, `wake` and `end` are for any thread, the rest for the loop."""

    def __init__(self, most: int, gate: Gate) -> None:
        """Let in at most so many. gate: of what is done one at a time."""
        self._gate = gate
        self._most = most
        self._loop: asyncio.AbstractEventLoop | None = None
        self._viewers: set[Viewer] = set()
        self._bands = Bands(BANDS)
        self._recent_audio = RecentAudio()

    @property
    def count(self) -> int:
        """How many look."""
        return len(self._viewers)

    @property
    def edges_hz(self) -> list[float]:
        """Edges of the bands that hops tell of (Hz)."""
        return [round(edge, 1) for edge in self._bands.edges_hz.tolist()]

    def attend(self, loop: asyncio.AbstractEventLoop) -> None:
        """Serve viewers on this loop from now on."""
        self._loop = loop

    def end(self) -> None:
        """End all viewers, and let nobody in any more; from any thread."""

        def apply() -> None:
            self._loop = None
            for viewer in self._viewers:
                viewer.end()

        if self._loop is not None:
            self._loop.call_soon_threadsafe(apply)

    def wake(self) -> None:
        """Have every viewer see whether it may still be there; from any thread."""

        def act() -> None:
            for viewer in self._viewers:
                viewer.wake()

        self._hand_over(act)

    def join(self, source: str | None) -> Viewer | None:
        """Add a viewer; None where there are too many."""
        if len(self._viewers) >= self._most or self._loop is None:
            return None
        viewer = Viewer(source)
        self._viewers.add(viewer)  # first, so that a hop is in the past, or sent
        viewer.known, viewer.past = self._recent_audio.all(source)
        return viewer

    def leave(self, viewer: Viewer) -> None:
        """Forget a viewer."""
        self._viewers.discard(viewer)

    async def past(self, viewer: Viewer) -> AsyncIterator[str]:
        """Yield what was heard before a viewer came, a message for each unbroken stretch.

        Of a source whose turn does not come in time it is left out: the viewer hears what comes.
        """
        pieces = viewer.take_past()
        for source in dict.fromkeys(piece.source for piece in pieces):
            mine = [piece for piece in pieces if piece.source == source]
            async with self._gate.turn_of_loop() as got:  # scoring comes first
                made = await asyncio.to_thread(self._past, mine) if got else []
            for message in made:
                yield message

    def tell(self, kind: str, make: Callable[[], Any]) -> None:
        """Send everybody what `make` makes, on the loop."""
        self._hand_over(lambda: self._send(kind, make, list(self._viewers)))

    def hop(self, source: str, names: Sequence[str], heard: Heard) -> None:
        """Send the frames that became final."""
        if not len(heard.scores):
            return
        number = self._recent_audio.add(source, names, heard)

        def send() -> None:
            wanted = [v for v in self._viewers if v.source in (None, source) and v.known < number]
            hop = RecentStretch(source, tuple(names), heard.start_ns, heard.scores, heard.samples)
            self._send("hop", lambda: self._frames(hop), wanted)

        self._hand_over(send)

    def _hand_over(self, act: Callable[[], None]) -> None:
        loop = self._loop
        if loop is not None and self._viewers:
            try:
                loop.call_soon_threadsafe(act)
            except RuntimeError:  # it is being closed
                return

    def _send(self, kind: str, make: Callable[[], Any], viewers: Sequence[Viewer]) -> None:
        if viewers:
            message = sse(kind, make())
            for viewer in viewers:
                viewer.give(message)

    def _past(self, pieces: Sequence[RecentStretch]) -> list[str]:
        return [sse("past", self._frames(stretch)) for stretch in joined(pieces)]

    def _frames(self, heard: RecentStretch) -> dict[str, Any]:
        frames = whole(heard.samples, len(heard.scores))
        decibels = self._bands.decibels(frames)
        scaled = (decibels - FLOOR_DBFS) * (_FULL_SCALE / -FLOOR_DBFS)
        return {
            "source": heard.source,
            "start": utc_of(heard.start_ns),
            "labels": list(heard.labels),
            "scores": np.round(heard.scores.astype(np.float64), 3).tolist(),
            "level_dbfs": levels(frames),
            "bands": base64.b64encode(
                scaled.clip(0, _FULL_SCALE).astype(np.uint8).tobytes()
            ).decode(),
        }


def sse(kind: str, data: Any) -> str:
    """A server-sent event."""
    return f"event: {kind}\ndata: {json.dumps(data, ensure_ascii=False)}\n\n"


def levels(samples: Samples) -> list[float | None]:
    """The RMS level of each frame in dBFS, None where there is nothing at all."""
    power = (samples.reshape(-1, FRAME).astype(np.float64) ** 2).mean(axis=1)
    return [round(10 * np.log10(p), 1) if p > 0 else None for p in power.tolist()]
