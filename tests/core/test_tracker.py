"""The tracker against cases by hand and against a slow twin that sees all scores at once."""

from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pe_stream.core.tracker import Detection, Tracker
from pe_stream.core.types import LabelRule, Phase, Reason

RULE = LabelRule("x", threshold=0.5, off_threshold=0.4, max_length=1000, update_every=0)


def run(rule: LabelRule, scores: list[float]) -> list[Detection]:
    tracker = Tracker(rule)
    said = [d for frame, score in enumerate(scores) for d in tracker.step(frame, score)]
    return said + tracker.close(Reason.STOPPED)


def spans(said: list[Detection]) -> list[tuple[int, int, Reason | None]]:
    return [(d.onset, d.offset, d.reason) for d in said if d.phase is Phase.END]


def test_onset_goes_back_to_where_the_score_left_off_threshold() -> None:
    said = run(RULE, [0.1, 0.45, 0.41, 0.9, 0.41, 0.39])
    assert [(d.phase, d.onset, d.offset) for d in said] == [
        (Phase.START, 1, 4),
        (Phase.END, 1, 5),
    ]
    assert said[1].peak == 0.9
    assert said[1].peak_frame == 3
    assert said[1].mean == pytest.approx((0.45 + 0.41 + 0.9 + 0.41) / 4)


def test_a_rise_that_never_reaches_threshold_is_nothing() -> None:
    assert run(RULE, [0.45] * 50 + [0.1]) == []


def test_a_dip_before_the_threshold_is_not_bridged() -> None:
    assert spans(run(replace(RULE, min_off=5), [0.45, 0.1, 0.6, 0.1, 0.1, 0.1, 0.1, 0.1])) == [
        (2, 3, None)
    ]


@pytest.mark.parametrize(
    ("gap", "expected"), [(2, [(0, 4, None)]), (3, [(0, 1, None), (4, 5, None)])]
)
def test_gaps_shorter_than_min_off_are_bridged(
    gap: int, expected: list[tuple[int, int, Reason | None]]
) -> None:
    scores = [0.9] + [0.0] * gap + [0.9] + [0.0] * 9
    assert spans(run(replace(RULE, min_off=3), scores)) == expected


def test_bridged_gaps_count_in_the_mean_and_trailing_ones_do_not() -> None:
    (start, end) = run(replace(RULE, min_off=3), [0.9, 0.1, 0.8, 0.2, 0.0, 0.0])
    assert start.phase is Phase.START
    assert (end.onset, end.offset) == (0, 3)
    assert end.mean == pytest.approx((0.9 + 0.1 + 0.8) / 3)


@pytest.mark.parametrize(("length", "expected"), [(3, []), (4, [(0, 4, None)])])
def test_what_is_shorter_than_min_on_is_no_event(
    length: int, expected: list[tuple[int, int, Reason | None]]
) -> None:
    assert spans(run(replace(RULE, min_on=4), [0.9] * length + [0.0])) == expected


def test_max_length_splits_and_what_still_sounds_begins_again() -> None:
    assert spans(run(replace(RULE, max_length=4), [0.9] * 10 + [0.0])) == [
        (0, 4, Reason.MAX_LENGTH),
        (4, 8, Reason.MAX_LENGTH),
        (8, 10, None),
    ]


def test_start_is_said_even_where_the_first_frame_is_the_last_allowed() -> None:
    said = run(replace(RULE, max_length=1), [0.9, 0.0])
    assert [d.phase for d in said] == [Phase.START, Phase.END]


def test_cooldown_holds_the_next_onset_back() -> None:
    scores = [0.9, 0.0, 0.9, 0.9, 0.9, 0.9, 0.0]
    assert spans(run(replace(RULE, cooldown=3), scores)) == [(0, 1, None), (4, 6, None)]


def test_updates_come_at_their_interval_with_the_numbers_so_far() -> None:
    said = run(replace(RULE, update_every=3), [0.5, 0.6, 0.7, 0.8, 0.9, 0.9, 0.9, 0.0])
    assert [(d.phase, d.offset) for d in said] == [
        (Phase.START, 1),
        (Phase.UPDATE, 4),
        (Phase.UPDATE, 7),
        (Phase.END, 7),
    ]
    assert said[1].peak == 0.8


def test_an_open_event_closes_with_the_reason_given() -> None:
    assert spans(run(RULE, [0.9, 0.9])) == [(0, 2, Reason.STOPPED)]


def test_disabling_ends_the_event_and_silences_the_label() -> None:
    tracker = Tracker(RULE)
    tracker.step(0, 0.9)
    (end,) = tracker.change(replace(RULE, enabled=False))
    assert (end.phase, end.reason) == (Phase.END, Reason.STOPPED)
    assert tracker.step(1, 0.9) == []
    assert tracker.change(RULE) == []
    assert tracker.step(2, 0.9)[0].onset == 2


def test_an_event_keeps_the_threshold_it_started_with() -> None:
    tracker = Tracker(RULE)
    tracker.step(0, 0.9)
    tracker.change(replace(RULE, threshold=0.8, off_threshold=0.7))
    assert tracker.step(1, 0.75) == []
    (end,) = tracker.step(2, 0.6)
    assert (end.threshold, end.offset) == (0.5, 2)


def slow_twin(rule: LabelRule, scores: list[float]) -> list[tuple[int, int, Reason | None]]:
    """All events of a whole score track, by looking at every run of frames from its beginning."""
    events: list[tuple[int, int, Reason | None]] = []
    at, ready = 0, 0
    while at < len(scores):
        if scores[at] < rule.off_threshold or at < ready:
            at += 1
            continue
        stop = at  # one past the last frame that belongs to the run
        frame = at
        reached = False
        reason: Reason | None = Reason.STOPPED
        while frame < len(scores):
            if scores[frame] >= rule.off_threshold:
                stop = frame + 1
                reached = reached or scores[frame] >= rule.threshold
            elif not reached or frame + 1 - stop >= max(1, rule.min_off):
                reason = None
                break
            if frame + 1 - at >= rule.max_length:
                reason = Reason.MAX_LENGTH
                break
            frame += 1
        # a start is only said while the sound goes on, so what follows the last loud frame
        # cannot make an event of what was too short
        if reached and stop - at >= rule.min_on:
            events.append((at, stop, reason))
            ready = stop + rule.cooldown
        at = frame + 1
    return events


@settings(max_examples=400)
@given(
    scores=st.lists(st.sampled_from([0.0, 0.2, 0.39, 0.4, 0.45, 0.5, 0.7, 1.0]), max_size=80),
    min_on=st.integers(0, 6),
    min_off=st.integers(0, 6),
    max_length=st.integers(6, 30),
    cooldown=st.integers(0, 8),
    update_every=st.integers(0, 5),
)
def test_equals_the_slow_twin(  # noqa: PLR0917 - hypothesis passes them by name
    scores: list[float],
    min_on: int,
    min_off: int,
    max_length: int,
    cooldown: int,
    update_every: int,
) -> None:
    rule = LabelRule("x", 0.5, 0.4, min_on, min_off, max_length, cooldown, update_every)
    said = run(rule, scores)
    assert spans(said) == slow_twin(rule, scores)
    open_ = False
    for detection in said:  # START (UPDATE)* END, over and over
        assert open_ is (detection.phase is not Phase.START)
        open_ = detection.phase is not Phase.END
        assert detection.onset < detection.offset
        heard = scores[detection.onset : detection.offset]
        assert detection.peak == max(heard)
        assert scores[detection.peak_frame] == detection.peak
        assert detection.mean == pytest.approx(sum(heard) / len(heard))
    assert not open_
