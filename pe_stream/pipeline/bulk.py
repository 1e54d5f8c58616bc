"""Recordings to events in bulk: few windows, scored together, and the next audio decoded meanwhile.

Windows overlap as little as they may (`Framing.in_bulk`), and so many of them are scored in one
call, of one recording and of those after it. A thread decodes what is next and cuts it. Each window
has the scores that `offline.detect` would give it with the same scorer, but for the rounding of
batches.
"""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Self

import numpy as np

from pe_stream.audio.media import Recording
from pe_stream.config.worker import Worker
from pe_stream.core.detector import Detector, Heard
from pe_stream.core.event_builder import Origin
from pe_stream.core.types import AudioChunk, Event, FrameScores, Samples, Window
from pe_stream.core.windows import Framing
from pe_stream.model.codec import Stream
from pe_stream.pipeline.offline import begin, finished
from pe_stream.pipeline.scorer import Scorer

MOST_TOGETHER = 64
"""Windows scored in one call, at most: as many again wait, each 3.5 MB with its audio."""

_STOP_S = 2.0
"""At the end, the thread is waited for so long; it may be reading a pipe."""


def detect_in_bulk(recording: Recording, scorer: Scorer, *, node: str) -> Iterator[Event]:
    """Yield the events of one recording; see `Bulk` and `offline.detect`."""
    with Bulk([lambda: recording], scorer, node=node) as bulk:
        yield from bulk.events(bulk.open())


@dataclass(frozen=True, slots=True)
class _BulkPiece:
    """What comes next of a recording: a window, or why there is none.

    number: of the recording. chunks: its audio since the piece before.
    recording: None where it could not be opened.
    """

    number: int
    recording: Recording | None
    chunks: Sequence[AudioChunk]
    stream: Stream
    window: Window | None = None
    error: Exception | None = None


@dataclass(frozen=True, slots=True)
class _ScoredPiece:
    piece: _BulkPiece
    scores: FrameScores | None


class Bulk:
    """The events of several recordings, in their order; a context manager.

    A thread of its own opens and reads the recordings, ahead of the caller by a bounded number of
    windows; everything else is for the caller's thread alone. Many recordings or one of many hours
    take as much memory.
    """

    def __init__(
        self, opens: Sequence[Callable[[], Recording]], scorer: Scorer, *, node: str
    ) -> None:
        """Begin to read. opens: called on the thread, each when it is a recording's turn.

        scorer: prepared for bulk. Raises UnavailableError where the system has no thread.
        """
        self._scorer, self._node = scorer, node
        self._together = min(MOST_TOGETHER, scorer.engine.most_together)
        self._number = -1
        self._ahead = _Ahead(opens, scorer.framing, self._together)
        self._scored = self._score()
        self._peeked: _ScoredPiece | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._ahead.stop()

    def open(self) -> Recording:
        """The next recording. Raises what opening it raised; the others then still come."""
        self._number += 1
        while (first := self._next()).piece.number < self._number:
            pass
        if first.piece.recording is None:
            raise _error(first.piece)
        self._peeked = first
        return first.piece.recording

    def events(
        self,
        recording: Recording,
        *,
        on_audio: Callable[[Samples], None] | None = None,
        on_scores: Callable[[FrameScores], None] | None = None,
    ) -> Iterator[Event]:
        """Yield the events of the recording that was opened last; see `offline.detect`."""
        detector = begin(recording, self._scorer, self._node)
        yield from finished(recording, detector, self._heard(detector, on_audio), on_scores)

    def _heard(
        self, detector: Detector, on_audio: Callable[[Samples], None] | None
    ) -> Iterator[Heard]:
        last = False
        while not last:
            scored = self._next()
            for chunk in scored.piece.chunks:
                if on_audio is not None:
                    on_audio(chunk.samples)
                detector.feed(chunk)
            if scored.piece.window is None or scored.scores is None:
                raise _error(scored.piece)
            last = scored.piece.window.last
            if last:
                detector.end(None)
            if (window := detector.next_window()) is None:
                raise RuntimeError("a window was scored that is not due")
            yield detector.accept(window, scored.scores, time.monotonic())

    def _next(self) -> _ScoredPiece:
        scored, self._peeked = self._peeked, None
        scored = scored or next(self._scored, None)
        if scored is None:
            raise RuntimeError("nothing is read any more: scoring or reading has failed before")
        return scored

    def _score(self) -> Iterator[_ScoredPiece]:
        """All pieces in their order, those with a window scored.

        Always as many in a call, however fast they come: the same recordings get the same scores.
        """
        while pieces := self._ahead.take(self._together):
            due = [(piece.stream, piece.window) for piece in pieces if piece.window is not None]
            heard = self._scorer.engine.hear([s for s, _ in due], [w for _, w in due])
            scores = iter(heard)
            for piece in pieces:
                yield _ScoredPiece(piece, None if piece.window is None else next(scores))


class _Ahead:
    """A thread that reads recordings and cuts their windows, and what of them waits."""

    def __init__(
        self, opens: Sequence[Callable[[], Recording]], framing: Framing, most: int
    ) -> None:
        self._opens, self._framing, self._most = opens, framing, most
        # Full with `most`: the thread waits.
        self._pieces: deque[_BulkPiece] = deque()
        self._changed = threading.Condition()
        self._over = self._stopped = False
        self._failure: BaseException | None = None
        self._worker = Worker("decode", self._run, self._fail)
        self._worker.start()

    def take(self, count: int) -> list[_BulkPiece]:
        """The next so many, fewer at the end; waits for them. Raises what ended the thread."""
        taken: list[_BulkPiece] = []
        while len(taken) < count:
            with self._changed:
                self._changed.wait_for(lambda: self._pieces or self._over)
                if self._failure is not None:
                    raise self._failure
                if not self._pieces:
                    break
                taken.append(self._pieces.popleft())
                self._changed.notify()
        return taken

    def stop(self) -> None:
        """Have the thread end; what waits is let go."""
        with self._changed:
            self._stopped = True
            self._pieces.clear()
            self._changed.notify()
        self._worker.join(_STOP_S)

    def _run(self) -> None:
        for number, open_ in enumerate(self._opens):
            for piece in self._pieces_of(number, open_):
                with self._changed:
                    self._changed.wait_for(lambda: len(self._pieces) < self._most or self._stopped)
                    if self._stopped:
                        return
                    self._pieces.append(piece)
                    self._changed.notify()
        self._end(None)

    def _fail(self, error: BaseException) -> None:
        self._end(error)

    def _end(self, failure: BaseException | None) -> None:
        with self._changed:
            self._over, self._failure = True, failure
            self._changed.notify()

    def _pieces_of(self, number: int, open_: Callable[[], Recording]) -> Iterator[_BulkPiece]:
        """What becomes of a recording; whatever it raises is its last piece."""
        stream, recording = Stream(), None
        chunks: list[AudioChunk] = []
        # The windows of a detector depend on no scores: this one has no labels, and cuts.
        cutter = Detector(Origin("", "", ""), self._framing, (), live=False, new_id=str)

        def due() -> Iterator[_BulkPiece]:
            while (window := cutter.next_window()) is not None:
                no_scores = np.zeros((window.frames - window.done, 0), np.float32)
                cutter.accept(window, no_scores, 0.0)
                yield _BulkPiece(number, recording, tuple(chunks), stream, window)
                chunks.clear()

        try:
            recording = open_()
            for chunk in recording:
                chunks.append(chunk)
                cutter.feed(chunk)
                yield from due()
            cutter.end(None)
            yield from due()
        except Exception as error:  # noqa: BLE001 - raised where the recording is asked for
            yield _BulkPiece(number, recording, tuple(chunks), stream, error=error)


def _error(piece: _BulkPiece) -> Exception:
    return piece.error or RuntimeError("a piece with neither window nor error")
