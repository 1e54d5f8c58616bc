"""Recordings in bulk: the same windows with the same scores as one after the other."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from checkpoints import make_checkpoint
from sounds import noise
from stand_ins import eventually

import pe_stream
from pe_stream.audio import media
from pe_stream.audio.decode import Block
from pe_stream.audio.media import Recording
from pe_stream.config import ModelSettings
from pe_stream.core.types import SAMPLE_RATE, Event, FrameScores, Samples
from pe_stream.errors import UnavailableError
from pe_stream.labels.prepare import labels_from_prompts
from pe_stream.pipeline.bulk import Bulk
from pe_stream.pipeline.offline import detect
from pe_stream.pipeline.scorer import Scorer, prepare

LABELS = labels_from_prompts(["a dog", "glass", "speech"], 0.5)
WINDOW_S, HOP_S = 1.0, 0.64  # 25 and, in bulk, 25 - 4 - 5 frames


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> ModelSettings:
    folder = make_checkpoint(tmp_path_factory.mktemp("scaled_down"))
    return ModelSettings(
        checkpoint=str(folder),
        dtype="float32",
        window_s=WINDOW_S,
        hop_s=0.08,
        lookahead_s=0.16,
        threads=1,
    )


@pytest.fixture(scope="module")
def scorer(model: ModelSettings) -> Scorer:
    return prepare(model, LABELS, fast=True)


def sound(seconds: float, seed: int) -> Samples:
    """Bursts, other ones for every seed."""
    made = noise(*[(0.4, 0.3 * (i % 2) + 0.001) for i in range(round(seconds / 0.4) + 1)])
    return np.roll(made[: round(seconds * SAMPLE_RATE)], 977 * seed)


def of(samples: Samples) -> Recording:
    return media.from_array(samples, SAMPLE_RATE, started_ns=0)


SOUNDS = [sound(s, i) for i, s in enumerate([7.3, 0.31, HOP_S, 2 * HOP_S, WINDOW_S, 12.0, 0.5])]
"""Shorter than a frame's neighbours, as long as a hop, as a window, and of many windows."""


def told(events: list[Event]) -> list[dict[str, Any]]:
    return [
        {
            key: pytest.approx(value, abs=1e-4) if isinstance(value, float) else value
            for key, value in vars_of(event).items()
        }
        for event in events
    ]


def vars_of(event: Event) -> dict[str, Any]:
    """But for its id, and how long it took."""
    return {key: getattr(event, key) for key in ("label", "onset_s", "offset_s", "peak", "mean")}


def in_bulk(scorer: Scorer, sounds: list[Samples]) -> Iterator[tuple[list[Event], FrameScores]]:
    with Bulk([partial(of, each) for each in sounds], scorer, node="n") as bulk:
        for _ in sounds:
            scores: list[FrameScores] = []
            events = list(bulk.events(bulk.open(), on_scores=scores.append))
            yield events, np.concatenate(scores)


def test_events_and_scores_are_those_of_one_window_after_the_other(scorer: Scorer) -> None:
    heard = 0
    for samples, (events, found) in zip(SOUNDS, in_bulk(scorer, SOUNDS), strict=True):
        scores: list[FrameScores] = []
        expected = list(detect(of(samples), scorer, node="n", on_scores=scores.append))
        np.testing.assert_allclose(found, np.concatenate(scores), atol=1e-5)
        assert [vars_of(event) for event in events] == told(expected)
        heard += len(events)
    assert heard > 10
    assert np.std(found) > 0.01  # so that a mix-up would show


def test_windows_are_scored_together_over_the_ends_of_recordings(
    scorer: Scorer, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls: list[int] = []
    hear = scorer.engine.hear

    def watched(streams: Any, windows: Any) -> list[FrameScores]:
        calls.append(len(windows))
        return hear(streams, windows)

    monkeypatch.setattr(scorer.engine, "hear", watched)
    assert len(list(in_bulk(scorer, SOUNDS))) == len(SOUNDS)
    *full, rest = calls
    assert set(full) == {scorer.engine.most_together}
    assert 0 < rest <= scorer.engine.most_together
    assert len(calls) < len(SOUNDS) + 1


def test_the_same_recordings_get_the_same_scores_bit_by_bit(scorer: Scorer) -> None:
    first, second = (list(in_bulk(scorer, SOUNDS)) for _ in range(2))
    for (_, one), (_, other) in zip(first, second, strict=True):
        assert np.array_equal(one, other)


def test_a_frame_has_the_context_that_is_promised(scorer: Scorer) -> None:
    framing = scorer.framing
    assert (framing.window, framing.hop, framing.lookahead) == (25, 16, 4)


def broken_after(seconds: float) -> Recording:
    def blocks() -> Iterator[Block]:
        yield Block(sound(seconds, 1)[None], SAMPLE_RATE, None)
        raise UnavailableError("it broke")

    return Recording("broken", blocks(), channel=None, duration_s=None, started_ns=0)


def absent() -> Recording:
    raise UnavailableError("it is not there")


def test_a_recording_that_fails_keeps_no_other_from_being_heard(scorer: Scorer) -> None:
    opens: list[Callable[[], Recording]] = [
        partial(of, SOUNDS[0]),
        absent,
        partial(broken_after, 3.0),
        partial(of, np.zeros(SAMPLE_RATE, np.float32)),
        partial(of, SOUNDS[0]),
    ]
    with Bulk(opens, scorer, node="n") as bulk:
        first = list(bulk.events(bulk.open()))
        with pytest.raises(UnavailableError, match="it is not there"):
            bulk.open()
        audio: list[Samples] = []
        with pytest.raises(UnavailableError, match="it broke"):
            list(bulk.events(bulk.open(), on_audio=audio.append))
        assert sum(map(len, audio)) == 3 * SAMPLE_RATE
        with pytest.raises(UnavailableError, match="silent"):
            list(bulk.events(bulk.open()))
        last = list(bulk.events(bulk.open()))
    assert [vars_of(event) for event in last] == told(first)
    assert first


def test_what_is_not_read_to_its_end_is_left_out(scorer: Scorer) -> None:
    with Bulk([partial(of, SOUNDS[5]), partial(of, SOUNDS[0])], scorer, node="n") as bulk:
        bulk.open()
        found = list(bulk.events(bulk.open()))
    assert [vars_of(event) for event in found] == told(list(detect(of(SOUNDS[0]), scorer, node="")))


class Endless:
    """A recording of many hours, and how much of it was read (s)."""

    def __init__(self) -> None:
        self.read_s = 0.0

    def blocks(self) -> Iterator[Block]:
        while True:
            self.read_s += 1.0
            yield Block(sound(1.0, 0)[None], SAMPLE_RATE, None)

    def open(self) -> Recording:
        return Recording("endless", self.blocks(), channel=None, duration_s=None, started_ns=0)


def test_a_bounded_part_is_read_ahead_and_the_end_waits_for_nothing(scorer: Scorer) -> None:
    endless = Endless()
    with Bulk([endless.open], scorer, node="n") as bulk:
        heard: list[FrameScores] = []
        events = bulk.events(bulk.open(), on_scores=heard.append)
        while len(heard) < 50:
            next(events)
        windows = len(heard) + 3 * scorer.engine.most_together  # given out, scored, waiting, read
        eventually(lambda: "decode" in names())
        assert endless.read_s <= windows * HOP_S + 2
    assert eventually(lambda: "decode" not in names())


def names() -> set[str]:
    return {thread.name for thread in threading.enumerate()}


def test_from_python(model: ModelSettings, scorer: Scorer) -> None:
    samples = SOUNDS[0]
    found = pe_stream.detect(samples, LABELS, sampling_rate=SAMPLE_RATE, model=model, fast=True)
    expected = list(detect(of(samples), scorer, node=""))
    assert [vars_of(event) for event in found] == told(expected)
    live = pe_stream.detect(samples, LABELS, sampling_rate=SAMPLE_RATE, model=model)
    assert [vars_of(event) for event in live] == told(
        list(detect(of(samples), replace(scorer, framing=prepare(model, LABELS).framing), node=""))
    )


def test_without_a_model(tmp_path: Path) -> None:
    """Labels that are loud have the scores that they have live, to the bit."""
    labels = {"loud": next(iter(LABELS.values())).model_validate({"loud": {"above_db": 10.0}})}
    fast, live = (prepare(ModelSettings(), labels, fast=fast) for fast in (True, False))
    for samples, (_, found) in zip(SOUNDS[:1], in_bulk(fast, SOUNDS[:1]), strict=True):
        scores: list[FrameScores] = []
        list(detect(of(samples), live, node="n", on_scores=scores.append))
        assert np.array_equal(found, np.concatenate(scores))
