"""A rule over known scores: the same as the tracker frame by frame, and in a moment."""

from __future__ import annotations

import time
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from timing import within

from pe_stream.core.adaptive_threshold import MINUTE
from pe_stream.core.replay import Replayed, replay, untold
from pe_stream.core.tracker import Tracker
from pe_stream.core.types import (
    FRAME_NS,
    Follow,
    LabelRule,
    Phase,
    Reason,
    Repetition,
    Rhythm,
    ScoreRun,
    Sequence,
)

RULE = LabelRule("x", threshold=0.5, off_threshold=0.4, max_length=1000)
DAY = 2_160_000


def run(scores: list[float], start_ns: int = 0) -> ScoreRun:
    return ScoreRun(start_ns, np.array(scores, np.float32))


def frame_by_frame(runs: list[ScoreRun], rule: LabelRule) -> list[Replayed]:
    """The slow twin: every frame through the tracker, which lives on over the gaps."""
    tracker, made, number = Tracker(rule), [], 0
    for part in runs:
        first = number
        said = []
        for score in part.scores.tolist():
            said += tracker.step(number, score)
            number += 1
        said += tracker.close(Reason.GAP)
        made += [
            Replayed(
                part.start_ns + (end.onset - first) * 40_000_000,
                part.start_ns + (end.offset - first) * 40_000_000,
                end.peak,
            )
            for end in said
            if end.phase is Phase.END
        ]
    return made


def test_times_are_those_of_the_run() -> None:
    quiet = [0.0] * 10
    first = run([*quiet, 0.9, 0.7, *quiet], 5_000)
    second = run([0.6, 0.8], 10**12)
    peaks = float(first.scores.max()), float(second.scores.max())
    assert replay([first, second], RULE) == [
        Replayed(5_000 + 10 * FRAME_NS, 5_000 + 12 * FRAME_NS, peaks[0]),
        Replayed(10**12, 10**12 + 2 * FRAME_NS, peaks[1]),
    ]


def test_a_gap_ends_what_is_open() -> None:
    parts = [run([0.9, 0.9]), run([0.9, 0.9], 10**10)]
    assert len(replay(parts, replace(RULE, min_off=50))) == 2


def test_a_cooldown_goes_on_after_a_gap() -> None:
    """As in the Detector: counted in frames that were heard."""
    parts = [run([0.9]), run([0.9, 0.9, 0.9, 0.9], 10**10)]
    (_, second) = replay(parts, replace(RULE, cooldown=3))
    assert second.onset_ns == 10**10 + 3 * FRAME_NS


def test_repetitions_are_counted_as_they_are_heard() -> None:
    rule = replace(RULE, pattern=Repetition(3, 30, gap=(2, 8)))
    knocks = ([0.9] * 2 + [0.1] * 3) * 3 + [0.0] * 20
    (found,) = replay([run(knocks, 7_000)], rule)
    assert (found.onset_ns, found.offset_ns) == (7_000, 7_000 + 12 * FRAME_NS)
    assert replay([run(knocks[:10])], rule) == []
    halves = [run(knocks[:7]), run(knocks[7:], 10**10)]
    assert replay(halves, rule) == [], "not over a gap"


@pytest.mark.parametrize(
    ("pattern", "why"),
    [(Rhythm((0.5, 1.5)), "in the sound itself"), (Sequence("glass", 9), "the events of glass")],
)
def test_what_scores_do_not_tell_is_refused(pattern: Rhythm | Sequence, why: str) -> None:
    assert untold(RULE) is None
    with pytest.raises(ValueError, match=why):
        replay([run([0.9])], replace(RULE, pattern=pattern))


def test_a_threshold_that_follows_does_so_frame_by_frame() -> None:
    rule = replace(RULE, follow=Follow(quantile=0.9, margin=2.0))
    scores = [0.2, 0.3] * MINUTE + [0.7] * 9 + [0.1] * 20 + [0.9] * 3 + [0.1]
    assert [round(each.peak, 3) for each in replay([run(scores)], rule)] == [0.9]
    assert len(replay([run(scores)], replace(rule, follow=None))) == 2
    broken = [run(scores[: MINUTE + 7]), run(scores[MINUTE + 7 :], 10**12)]
    assert len(replay(broken, rule)) == 1, "what the room was like is known after a gap"


def test_nothing_is_nothing() -> None:
    assert replay([], RULE) == replay([run([])], RULE) == replay([run([0.1] * 9)], RULE) == []
    assert replay([run([0.9] * 9)], replace(RULE, enabled=False)) == []


@settings(max_examples=400)
@given(
    parts=st.lists(
        st.lists(
            st.sampled_from([0.0, 0.2, 0.39, 0.4, 0.45, 0.5, 0.7, 1.0]) | st.floats(0, 1, width=32),
            max_size=60,
        ),
        max_size=4,
    ),
    thresholds=st.sampled_from([(0.5, 0.4), (0.7, 0.7), (0.45, 0.2), (0.3, 0.1 + 0.2 - 1e-9)]),
    min_on=st.integers(0, 6),
    min_off=st.integers(0, 6),
    max_length=st.integers(1, 30),
    cooldown=st.integers(0, 20),
    update_every=st.integers(0, 5),
)
def test_equals_frame_by_frame(  # noqa: PLR0917 - hypothesis passes them by name
    parts: list[list[float]],
    thresholds: tuple[float, float],
    min_on: int,
    min_off: int,
    max_length: int,
    cooldown: int,
    update_every: int,
) -> None:
    rule = LabelRule("x", *thresholds, min_on, min_off, max_length, cooldown, update_every)
    runs = [run(scores, number * 10**10) for number, scores in enumerate(parts)]
    assert replay(runs, rule) == frame_by_frame(runs, rule)


@pytest.mark.parametrize("off", [0.1, 0.3, 0.4, 0.55, 0.7])
def test_scores_next_to_the_threshold_are_judged_as_the_tracker_does(off: float) -> None:
    """In float64, which `off` is: the float32 next to it may lie on either side."""
    near = np.float32(off)
    scores = [0.0, float(np.nextafter(near, np.float32(0))), 0.0, float(near), 0.0]
    scores += [float(np.nextafter(near, np.float32(1))), 0.0]
    rule = replace(RULE, threshold=off, off_threshold=off)
    assert replay([run(scores)], rule) == frame_by_frame([run(scores)], rule)


def test_a_quiet_day_takes_a_moment() -> None:
    rng = np.random.default_rng(0)
    scores = rng.uniform(0, 0.3, DAY).astype(np.float32)
    for onset in range(10_000, DAY, 20_000):  # a hundred events
        scores[onset : onset + 50] = 0.9
    day = ScoreRun(0, scores)
    took_s = []
    for _ in range(3):  # the machine may be busy with something else
        begun_s = time.perf_counter()
        made = replay([day], RULE)
        took_s.append(time.perf_counter() - begun_s)
    assert len(made) == 108
    assert min(took_s) < within(0.1)


def by_the_clock(
    runs: list[ScoreRun], rule: LabelRule, changes: list[tuple[int, LabelRule]]
) -> list[Replayed]:
    """The slow twin: every frame through the tracker, under the rule of its moment."""
    tracker, made, number = Tracker(rule), [], 0
    for part in runs:
        first, said = number, []
        for frame, score in enumerate(part.scores.tolist()):
            at_ns = part.start_ns + frame * FRAME_NS
            then = [each for since_ns, each in changes if since_ns <= at_ns]
            if then and then[-1] is not tracker.rule:
                said += tracker.change(then[-1])
            said += tracker.step(number, score)
            number += 1
        said += tracker.close(Reason.GAP)
        made += [
            Replayed(
                part.start_ns + (end.onset - first) * FRAME_NS,
                part.start_ns + (end.offset - first) * FRAME_NS,
                end.peak,
            )
            for end in said
            if end.phase is Phase.END
        ]
    return made


@settings(max_examples=200)
@given(
    st.lists(st.lists(st.sampled_from([0.1, 0.45, 0.6, 0.9]), max_size=30), max_size=4),
    st.lists(
        st.tuples(st.integers(0, 120 * FRAME_NS), st.sampled_from([0.3, 0.5, 0.8]), st.booleans()),
        max_size=4,
    ),
)
def test_rules_that_change_do_so_at_their_moment(
    parts: list[list[float]], changes: list[tuple[int, float, bool]]
) -> None:
    runs, at = [], 7 * FRAME_NS
    for part in parts:
        runs.append(run(part, at))
        at += len(part) * FRAME_NS + 5_000
    rules = [
        (when, replace(RULE, threshold=on, off_threshold=on * 0.8, enabled=enabled, update_every=0))
        for when, on, enabled in sorted(changes)
    ]
    rule = replace(RULE, min_on=2, min_off=2, cooldown=3, update_every=0)
    assert replay(runs, rule, rules) == by_the_clock(runs, rule, rules)
