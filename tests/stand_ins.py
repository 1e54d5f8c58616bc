"""Stand-ins for what unit tests steer by hand: a source, and an engine whose scores are known."""

from __future__ import annotations

import queue
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from types import SimpleNamespace
from typing import Any, Self, cast

import numpy as np
from timing import within

from pe_stream.audio.microphone import Absent
from pe_stream.core.types import (
    FRAME,
    AudioChunk,
    Event,
    FrameEmbeddings,
    FrameScores,
    LabelRule,
    Phase,
    Samples,
    Window,
)
from pe_stream.core.utc import utc_text
from pe_stream.core.windows import Framing
from pe_stream.errors import UnavailableError
from pe_stream.labels.prepare import PreparedLabels
from pe_stream.model.codec import Stream
from pe_stream.pipeline.scorer import Scorer

ONSET = datetime(2026, 11, 21, 2, 15, 49, 320_000, UTC)


def event(
    number: int = 0,
    phase: Phase = Phase.START,
    duration_s: float = 0.2,
    *,
    source: str | None = None,
    label: str = "smoke_alarm",
    **fields: Any,
) -> Event:
    onset = ONSET + timedelta(seconds=number)
    ended = phase is Phase.END
    made = Event(
        id=f"id-{number:04}",
        phase=phase,
        node="node",
        source=source or ("kitchen" if number % 2 else "porch"),
        label=label,
        onset=utc_text(onset),
        onset_s=3.24 + number,
        offset="2026-11-21T02:15:59.000Z" if ended else None,
        offset_s=9.0 if ended else None,
        duration_s=duration_s,
        peak=0.9,
        peak_s=3.3,
        mean=0.8,
        threshold=0.5,
        latency_ms=400.0,
        late=False,
        reason=None,
        checkpoint="embedded",
    )
    return replace(made, **fields)


class ScriptedSource:
    """Yields what the test hands it: chunks, Absent, an error to raise, or None for the end."""

    describe = "a scripted source"
    returns = True

    def __init__(self, first_sample: int = 0) -> None:
        self.first_sample = first_sample
        self.at_s: float | None = None
        self.closed = threading.Event()
        self._items: queue.SimpleQueue[AudioChunk | Absent | Exception | None] = queue.SimpleQueue()

    def give(self, *items: AudioChunk | Absent | Exception | None) -> Self:
        for item in items:
            self._items.put(item)
        return self

    def close(self) -> None:
        self.closed.set()
        self._items.put(None)

    def __iter__(self) -> Iterator[AudioChunk | Absent]:
        return self

    def __next__(self) -> AudioChunk | Absent:
        item = self._items.get()
        if self.closed.is_set() or item is None:
            raise StopIteration
        if isinstance(item, Exception):
            raise item
        return item


class LevelEngine:
    """Scores each frame with its RMS level, the same for every label.

    before: called before each scoring, to slow it down or to make it fail.
    """

    def __init__(self, names: Sequence[str], before: Callable[[], object] = lambda: None) -> None:
        self.labels = SimpleNamespace(names=tuple(names))
        self.batches: list[int] = []
        self._before = before
        self.most_together = 8

    def hear(self, streams: Sequence[Stream], windows: Sequence[Window]) -> list[FrameScores]:
        labels = self.labels
        self._before()
        self.batches.append(len(windows))
        levels = [np.sqrt((w.samples.reshape(-1, FRAME) ** 2).mean(axis=1)) for w in windows]
        wanted = [level[w.done :, None] for level, w in zip(levels, windows, strict=True)]
        return [np.repeat(level, len(labels.names), axis=1) for level in wanted]

    def hear_and_embed(
        self, streams: Sequence[Stream], windows: Sequence[Window], *, embed: bool
    ) -> list[tuple[FrameScores, FrameEmbeddings | None]]:
        """The embedding of a frame is its level."""
        found = self.hear(streams, windows)
        return [(each, each[:, :1].astype(np.float16) if embed else None) for each in found]


def scorer(
    rules: Sequence[LabelRule],
    *,
    framing: Framing = Framing(window=50, hop=5, lookahead=5),  # noqa: B008 - frozen
    before: Callable[[], object] = lambda: None,
) -> Scorer:
    engine = LevelEngine([rule.name for rule in rules], before)
    return Scorer(
        checkpoint=cast("Any", SimpleNamespace(name="level")),
        engine=cast("Any", engine),
        framing=framing,
        labels=PreparedLabels(cast("Any", engine.labels), tuple(rules)),
    )


def tone(frames: int, level: float) -> Samples:
    """A square wave of that RMS level."""
    return np.tile(np.array([level, -level], np.float32), frames * FRAME // 2)


def chunk(
    start_frame: int, frames: int, level: float, *, anchor_ns: int | None = None
) -> AudioChunk:
    return AudioChunk(start_frame * FRAME, tone(frames, level), anchor_ns, time.monotonic())


def lost(message: str = "unplugged") -> UnavailableError:
    return UnavailableError(message)


def eventually(condition: Callable[[], object], within_s: float = 10.0) -> bool:
    """Whether the condition comes true before the deadline."""
    deadline_s = time.monotonic() + within(within_s)
    while not condition():
        if time.monotonic() > deadline_s:
            return False
        time.sleep(0.01)
    return True
