"""The tracker's events against the truth."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray
from workbench.evaluation.made import columns, file, sounds, system, track

from pe_stream.core.tracker import Tracker
from pe_stream.core.types import LabelRule, Phase
from pe_stream.workbench.evaluation.events import detected, matches, runs, sweep, tally
from pe_stream.workbench.evaluation.truth import Span


def every_frame(scores: NDArray[np.float32], rule: LabelRule) -> list[tuple[int, int]]:
    """The slow, obvious twin of `runs`."""
    tracker = Tracker(rule)
    said = [d for frame, score in enumerate(scores.tolist()) for d in tracker.step(frame, score)]
    said += tracker.close(None)
    return [(d.onset, d.offset) for d in said if d.phase is Phase.END]


@pytest.mark.parametrize("seed", range(40))
def test_skipping_silence_changes_nothing(seed: int) -> None:
    rng = np.random.default_rng(seed)
    rough = rng.random(400)
    scores = np.convolve(rough, np.ones(5) / 5, "same").astype(np.float32) ** (1 + seed % 4)
    threshold = float(rng.uniform(0.2, 0.7))
    rule = LabelRule(
        "x",
        threshold,
        0.8 * threshold,
        min_on=int(rng.integers(0, 8)),
        min_off=int(rng.integers(0, 12)),
        max_length=int(rng.integers(5, 60)),
        cooldown=int(rng.integers(0, 20)),
    )
    assert runs(scores, rule) == every_frame(scores, rule)


def test_an_event_ends_with_its_file() -> None:
    scores = np.array([0, 0, 1, 1, 1], np.float32)
    rule = LabelRule("x", 0.5, 0.4)
    assert detected(scores, rule, 0.19) == [Span(0.08, 0.19)]
    assert detected(np.zeros(3, np.float32), rule, 0.12) == []


def test_pairs_are_of_nearest_onsets_and_one_to_one() -> None:
    long, late, apart = Span(0, 5), Span(3.1, 4), Span(8, 9)
    first, second, missed = Span(0.2, 1), Span(3, 4), Span(6, 7)
    assert matches([long, late, apart], [first, second, missed]) == [
        (late, second),
        (long, first),
    ]


def test_tally_by_hand() -> None:
    frames = 250
    files = [
        file("0", {"dog": [(1, 2), (4, 5)]}, {"dog": [(7, 8)]}),
        file("1", {"cat": [(1, 2)]}),
        file("2"),
    ]
    tracks = [
        track(frames, (1.2, 2.0, 0.9), (3, 3.4, 0.9), (7, 7.6, 0.9)),  # late; false; near
        track(frames, (1, 1.4, 0.6)),  # false, and not above 0.7
        track(frames, (1, 2, 0.9), (5, 6, 0.9)),  # false, twice
    ]
    of = system(["dog"], *[columns(t) for t in tracks])
    heard = sounds(*files)
    found = tally(heard, of, 0)
    assert (found.true, found.found, found.false, found.false_empty) == (2, 1, 4, 2)
    assert found.onset_errors_s == pytest.approx([0.2])
    assert found.recall == 0.5
    assert tally(heard, of, 0, 0.7).false == 3
    counts = list(sweep(heard, of, 0))
    assert counts[-1][1].false == 0
    assert [threshold for threshold, _ in counts] == sorted(t for t, _ in counts)
