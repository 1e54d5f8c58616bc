"""What live listening asks of an engine, be it in this process or on another machine."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Generic, Protocol, TypeVar

from pe_stream.core.types import FrameEmbeddings, FrameScores, Window
from pe_stream.model.codec import Stream
from pe_stream.model.live_threads import LiveThreads
from pe_stream.model.prompts import LabelEmbeddings

S = TypeVar("S")


@dataclass(frozen=True, slots=True, eq=False)
class Asked(Generic[S]):
    """A window to score.

    stream: what `LiveEngine.stream` has made for the source.
    """

    source: str
    stream: S
    window: Window


@dataclass(frozen=True, slots=True, eq=False)
class Answered(Generic[S]):
    """What came of windows that were asked for together.

    found: scores (frames, labels) and embeddings (frames, D) of each, as `Engine.hear_and_embed`
        has them; None: there is no answer, and `reason` says why, in words.
    labels: that the scores are of. took_s: how long it took (s).
    """

    asked: Sequence[Asked[S]]
    found: Sequence[tuple[FrameScores, FrameEmbeddings | None]] | None
    labels: LabelEmbeddings
    took_s: float
    reason: str | None = None


class LiveEngine(Protocol[S]):
    """Scores windows of streams that go on; for the scoring thread.

    What is asked is answered once, in any order and perhaps much later. A window without an answer
    is not asked for again by the engine: the source's newest is asked for then.

    labels: that are asked for from now on; may be set to others between two calls.
    arrived: called, on any thread, where `answers` has something that it had not.
    """

    labels: LabelEmbeddings
    arrived: Callable[[], None]

    @property
    def most_together(self) -> int:
        """How many windows are best asked for at once."""

    @property
    def context(self) -> int:
        """Frames ahead of a window that are to come with it."""

    def stream(self, source: str) -> S:
        """Make a new stream of the source: what was heard of it before is no part of it."""

    def takes(self, stream: S) -> bool:
        """Whether a window of the stream would be seen to at once."""

    def ask(self, asked: Sequence[Asked[S]], *, embed: bool) -> None:
        """Have windows scored, of streams that it takes. embed: whether embeddings are wanted."""

    def answers(self) -> Sequence[Answered[S]]:
        """Take the answers that have come. Never waits."""

    def close(self) -> None:
        """Ask nothing more, and let go of what was asked. From any thread."""


class LocalEngine:
    """The engine of this process: what is asked is answered before `ask` returns."""

    def __init__(self, engine: Any, threads: LiveThreads | None = None) -> None:
        """engine: an Engine, or what hears as one does. threads: None: as torch has them."""
        self._engine, self._threads = engine, threads
        self._answers: list[Answered[Stream]] = []
        self.arrived: Callable[[], None] = lambda: None

    @property
    def labels(self) -> LabelEmbeddings:
        """The engine's."""
        labels: LabelEmbeddings = self._engine.labels
        return labels

    @labels.setter
    def labels(self, labels: LabelEmbeddings) -> None:
        self._engine.labels = labels

    @property
    def most_together(self) -> int:
        """As the engine's."""
        most: int = self._engine.most_together
        return most

    context = 0
    """Its streams are never forgotten."""

    def stream(self, source: str) -> Stream:  # noqa: ARG002 - a part of the protocol
        """Make a new stream."""
        return Stream()

    def takes(self, stream: Stream) -> bool:  # noqa: ARG002 - a part of the protocol
        """Always."""
        return True

    def ask(self, asked: Sequence[Asked[Stream]], *, embed: bool) -> None:
        """Score them; raises what the engine does."""
        if self._threads is not None:
            self._threads.adjust()
        begun_s = time.monotonic()
        streams, windows = [each.stream for each in asked], [each.window for each in asked]
        found = self._engine.hear_and_embed(streams, windows, embed=embed)
        took_s = time.monotonic() - begun_s
        self._answers.append(Answered(asked, found, self.labels, took_s))

    def answers(self) -> Sequence[Answered[Stream]]:
        """Take what was scored."""
        taken, self._answers = self._answers, []
        return taken

    def close(self) -> None:
        """There is nothing to let go of."""
