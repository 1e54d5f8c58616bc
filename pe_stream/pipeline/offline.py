"""Recordings to events: the daemon's pipeline without its clock, as fast as it goes."""

from __future__ import annotations

import heapq
import time
from collections.abc import Callable, Iterable, Iterator

from uuid6 import uuid7

from pe_stream.audio.media import Recording
from pe_stream.core.detector import Detector, Heard
from pe_stream.core.event_builder import Origin
from pe_stream.core.types import FRAME, FRAME_S, Event, FrameScores, Phase, Samples
from pe_stream.errors import UnavailableError
from pe_stream.model.codec import Stream
from pe_stream.model.engine import Engine
from pe_stream.model.no_model import NoEngine
from pe_stream.pipeline.scorer import Scorer


def detect(
    recording: Recording,
    scorer: Scorer,
    *,
    node: str,
    on_audio: Callable[[Samples], None] | None = None,
    on_scores: Callable[[FrameScores], None] | None = None,
) -> Iterator[Event]:
    """Yield the finished events of a recording in the order of their onsets.

    on_audio: called with all audio, (n,) at 48 kHz, piece by piece; on_scores: with the scores of
    all frames, (frames, labels), likewise.

    Raises UnavailableError on a recording that holds no sound at all: no samples, only NaN, or
    one single value throughout.
    """
    detector = begin(recording, scorer, node)
    stream = Stream()

    def heard() -> Iterator[Heard]:
        for chunk in recording:
            if on_audio is not None:
                on_audio(chunk.samples)
            detector.feed(chunk)
            yield from _score(scorer.engine, stream, detector)
        detector.end(None)
        yield from _score(scorer.engine, stream, detector)

    yield from finished(recording, detector, heard(), on_scores)


def begin(recording: Recording, scorer: Scorer, node: str) -> Detector:
    """What hears a recording."""
    return Detector(
        Origin(node, recording.name, scorer.checkpoint.name),
        scorer.framing,
        scorer.labels.rules,
        live=False,
        new_id=lambda: str(uuid7()),
    )


def finished(
    recording: Recording,
    detector: Detector,
    heard: Iterable[Heard],
    on_scores: Callable[[FrameScores], None] | None,
) -> Iterator[Event]:
    """The finished events of what its detector heard of a recording; see `detect`."""

    def told() -> Iterator[Heard]:
        for part in heard:
            if on_scores is not None:
                on_scores(part.scores)
            yield part

    yield from _in_order(told(), detector)
    _refuse_dead(recording, detector)


def _score(engine: Engine | NoEngine, stream: Stream, detector: Detector) -> Iterator[Heard]:
    while (window := detector.next_window()) is not None:
        (scores,) = engine.hear([stream], [window])
        yield detector.accept(window, scores, time.monotonic())


def _in_order(heard: Iterable[Heard], detector: Detector) -> Iterator[Event]:
    """Hold finished events back until none with an earlier onset can come any more."""
    held: list[tuple[float, str, Event]] = []
    for part in heard:
        for event in part.events:
            if event.phase is Phase.END:
                heapq.heappush(held, (event.onset_s, event.id, event))
        # a recording is one segment that begins at sample 0
        bound = (detector.earliest_onset or 0) // FRAME
        while held and round(held[0][0] / FRAME_S) < bound:
            yield heapq.heappop(held)[2]
    while held:
        yield heapq.heappop(held)[2]


def _refuse_dead(recording: Recording, detector: Detector) -> None:
    account = detector.account
    if recording.nonfinite == recording.values:
        raise UnavailableError(f"{recording.name}: every sample is NaN or infinite")
    if account.flat == account.heard:
        raise UnavailableError(
            f"{recording.name}: silent: every sample has the same value, as from a muted microphone"
        )
