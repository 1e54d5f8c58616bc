"""A file played in real time, as if it were being heard now."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from typing import Self

from pe_stream.audio.media import read
from pe_stream.core.types import SAMPLE_RATE, AudioChunk


class Playback:
    """An iterator over the chunks of a file, each handed over when its last sample is due.

    Repetitions (`loop`) follow each other without a break, in one segment. `close` ends the
    iteration at once, from any thread; without `loop` it ends with the file.

    first_sample: index of the first sample. Raises UnavailableError as `read` does, here and
    while iterating.
    """

    returns = False

    def __init__(
        self,
        path: str,
        *,
        loop: bool = False,
        channel: int | None = None,
        track: int | None = None,
        first_sample: int = 0,
    ) -> None:
        self.describe = f"{path} in real time" + (", repeated" if loop else "")
        self._path = path
        self._loop = loop
        self._channel, self._track = channel, track
        self._start = first_sample
        self._closed = threading.Event()
        self._recording = read(path, channel=channel, track=track)
        self._chunks = self._play()

    def __iter__(self) -> Self:
        return self

    def __next__(self) -> AudioChunk:
        return next(self._chunks)

    def close(self) -> None:
        """End the iteration."""
        self._closed.set()

    def _play(self) -> Iterator[AudioChunk]:
        began_s = time.monotonic()
        anchor_ns: int | None = time.time_ns()
        start = self._start
        while True:
            for chunk in self._recording:
                end = start + len(chunk.samples)
                due_s = began_s + (end - self._start) / SAMPLE_RATE
                if self._closed.wait(max(0.0, due_s - time.monotonic())):
                    return
                yield AudioChunk(start, chunk.samples, anchor_ns, due_s)
                start, anchor_ns = end, None
            if not self._loop:
                return
            self._recording = read(self._path, channel=self._channel, track=self._track)
