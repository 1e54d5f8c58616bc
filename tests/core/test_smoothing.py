"""Means of scores, and the events made of them, against slow twins that see everything at once."""

from __future__ import annotations

from dataclasses import replace
from fractions import Fraction
from itertools import count

import numpy as np
import pytest
from core.test_detector import FRAMING, bursts, chunks, drain, scores_of
from hypothesis import given, settings
from hypothesis import strategies as st

from pe_stream.core.adaptive_threshold import MINUTE
from pe_stream.core.detector import Detector, Heard
from pe_stream.core.event_builder import Origin
from pe_stream.core.label_trackers import LabelTrackers
from pe_stream.core.replay import Replayed, replay
from pe_stream.core.smoothing import Known, Smoother, SmoothRun, smoothed
from pe_stream.core.tracker import Detection
from pe_stream.core.types import (
    FRAME_NS,
    AudioChunk,
    Event,
    Follow,
    LabelRule,
    Phase,
    Reason,
    Repetition,
    Rhythm,
    ScoreRun,
    Sequence,
)

RULE = LabelRule("x", threshold=0.5, off_threshold=0.4, max_length=1000, update_every=0)

ODD = st.integers(0, 5).map(lambda half: 2 * half + 1)

STEPS = st.sampled_from([0.0, 0.125, 0.25, 0.375, 0.5, 0.625, 0.75, 1.0])
"""Sums of these are exact, so a twin may add them in any order."""


def around(scores: list[float], frame: int, width: int) -> range:
    return range(max(0, frame - width // 2), min(len(scores), frame + width // 2 + 1))


def slow_means(scores: list[float], width: int) -> list[float]:
    """Of every frame on its own, exactly."""
    told = []
    for frame in range(len(scores)):
        over = [Fraction(scores[n]) for n in around(scores, frame, width)]
        told.append(float(sum(over) / len(over)))
    return told


def step_by_step(scores: list[float], width: int, first: int = 0) -> list[tuple[int, float]]:
    smoother = Smoother(width)
    told = [each for n, score in enumerate(scores) for each in smoother.step(first + n, score)]
    return told + list(smoother.close())


@settings(max_examples=300)
@given(scores=st.lists(STEPS, max_size=40), width=ODD, first=st.integers(0, 9))
def test_means_are_over_the_frames_that_exist(scores: list[float], width: int, first: int) -> None:
    expected = slow_means(scores, width)
    assert step_by_step(scores, width, first) == list(enumerate(expected, first))
    assert smoothed(np.array(scores), width).tolist() == expected


@settings(max_examples=300)
@given(scores=st.lists(st.floats(0, 1, width=32), max_size=60), width=ODD)
def test_all_at_once_is_the_same_to_the_bit(scores: list[float], width: int) -> None:
    known = np.array(scores, np.float32)
    one_by_one = [mean for _, mean in step_by_step(known.tolist(), width)]
    assert smoothed(known, width).tolist() == one_by_one
    assert one_by_one == pytest.approx(slow_means(known.tolist(), width), abs=1e-9)


def test_a_mean_comes_half_its_width_later_and_not_beyond_a_break() -> None:
    smoother = Smoother(5)
    assert list(smoother.step(7, 1.0)) == []
    assert list(smoother.step(8, 0.0)) == []
    assert list(smoother.step(9, 0.5)) == [(7, 0.5)]
    assert list(smoother.close()) == [(8, 0.5), (9, 0.5)]
    assert smoother.earliest is None
    assert list(smoother.step(10, 0.25)) == []
    assert list(smoother.close()) == [(10, 0.25)], "of the frames before the break nothing is known"


@settings(max_examples=200)
@given(
    pieces=st.lists(st.tuples(ODD, st.lists(STEPS, max_size=12)), min_size=1, max_size=5),
)
def test_another_width_loses_no_frame(pieces: list[tuple[int, list[float]]]) -> None:
    smoother, number = Smoother(1), 0
    told: list[tuple[int, float]] = []
    for width, scores in pieces:
        smoother.change(width)
        for score in scores:
            told += smoother.step(number, score)
            number += 1
    told += smoother.close()
    assert [frame for frame, _ in told] == list(range(number))
    assert all(0 <= mean <= 1 for _, mean in told)
    width, last = pieces[-1]
    settled = slow_means(last, width)[width // 2 * 2 :]
    assert [mean for _, mean in told][number - len(settled) :] == settled


def test_a_whole_month_does_not_overflow() -> None:
    """Steps of a run's sum go beyond 63 bits after two days of 1.0; differences stay right."""
    scores = np.ones(5_000_000, np.float32)
    scores[-1] = 0.5
    means = smoothed(scores, 3)
    assert means[:-2].min() == means[:-2].max() == 1.0
    assert means[-2:].tolist() == [pytest.approx(2.5 / 3), 0.75]


def run(rule: LabelRule, scores: list[float]) -> list[Detection]:
    ensemble = LabelTrackers([rule])
    said = [d for frame, score in enumerate(scores) for _, d in ensemble.step(frame, [score])]
    return said + [d for _, d in ensemble.close(Reason.STOPPED)]


def spans(said: list[Detection]) -> list[tuple[int, int, Reason | None]]:
    return [(d.onset, d.offset, d.reason) for d in said if d.phase is Phase.END]


def slow_twin(rule: LabelRule, scores: list[float]) -> list[tuple[int, int, Reason | None]]:
    """All events of a whole track: found on its means, their ends on the scores."""
    means = slow_means(scores, rule.smooth)

    def loud(frame: int) -> list[int]:
        over = around(scores, frame, rule.smooth)
        return [n for n in over if scores[n] >= rule.off_threshold] or [frame]

    events: list[tuple[int, int, Reason | None]] = []
    at, ready = 0, 0
    while at < len(scores):
        if means[at] < rule.off_threshold or min(at, loud(at)[-1]) < ready:
            at += 1
            continue
        onset = stop = max(ready, loud(at)[0])
        frame, reached = at, False
        reason: Reason | None = Reason.STOPPED
        while frame < len(scores):
            if means[frame] >= rule.off_threshold:
                stop = max(stop, loud(frame)[-1] + 1)
                reached = reached or means[frame] >= rule.threshold
            elif not reached or frame + 1 - stop >= max(1, rule.min_off):
                reason = None
                break
            if frame + 1 - onset >= rule.max_length:
                reason = Reason.MAX_LENGTH
                stop = min(stop, onset + rule.max_length)
                break
            frame += 1
        if reached and stop - onset >= rule.min_on:
            events.append((onset, stop, reason))
            ready = stop + rule.cooldown
        at = frame + 1
    return events


@settings(max_examples=600)
@given(
    scores=st.lists(STEPS, max_size=80),
    smooth=ODD,
    thresholds=st.sampled_from([(0.5, 0.375), (0.25, 0.25), (0.625, 0.125)]),
    min_on=st.integers(0, 6),
    min_off=st.integers(0, 6),
    max_length=st.integers(6, 30),
    cooldown=st.integers(0, 8),
    update_every=st.integers(0, 5),
)
def test_events_equal_the_slow_twins(  # noqa: PLR0917 - hypothesis passes them by name
    scores: list[float],
    smooth: int,
    thresholds: tuple[float, float],
    min_on: int,
    min_off: int,
    max_length: int,
    cooldown: int,
    update_every: int,
) -> None:
    rule = LabelRule(
        "x", *thresholds, min_on, min_off, max_length, cooldown, update_every, smooth=smooth
    )
    said = run(rule, scores)
    assert spans(said) == slow_twin(rule, scores)
    open_, ended = False, 0
    for each in said:  # START (UPDATE)* END, over and over
        assert open_ is (each.phase is not Phase.START)
        open_ = each.phase is not Phase.END
        assert ended <= each.onset < each.offset <= len(scores)
        assert each.onset <= each.peak_frame < each.offset
        assert rule.threshold <= each.peak <= max(scores)
        assert rule.off_threshold * 0.5 < each.mean <= each.peak + 1e-12 or min_off
        ended = 0 if open_ else each.offset
    assert not open_


@given(
    height=st.floats(0.5625, 1.0, width=32),
    length=st.integers(25, 60),
    half=st.integers(0, 12),
    before=st.integers(0, 40),
    after=st.integers(0, 40),
)
def test_onset_and_offset_of_a_rectangle_are_exact(
    height: float, length: int, half: int, before: int, after: int
) -> None:
    """However high it is, and however wide the mean: a mean rises before and falls after it."""
    rule = replace(RULE, smooth=2 * half + 1, min_on=3)
    scores = [0.1] * before + [height] * length + [0.1] * after
    assert [each[:2] for each in spans(run(rule, scores))] == [(before, before + length)]


def test_noise_does_not_shift_onsets() -> None:
    """Scores that waver as those of a model: smoothed onsets err no more to one side."""
    rng = np.random.default_rng(3)
    errors: dict[int, list[int]] = {1: [], 15: [], 25: []}
    for _ in range(300):
        onset = int(rng.integers(40, 80))
        logits = np.full(160, -3.0)
        logits[onset : onset + 50] = 1.5
        logits += rng.normal(0, 0.8, 160)
        scores = (1 / (1 + np.exp(-logits))).tolist()
        for smooth, told in errors.items():
            found = spans(run(replace(RULE, smooth=smooth, min_on=5, min_off=10), scores))
            told += [begin - onset for begin, end, _ in found if end > onset]
    assert len(errors[15]) >= 300
    for told in errors.values():
        assert abs(float(np.median(told))) <= 1
        assert abs(float(np.mean(told))) <= 2


def test_a_click_is_no_event_and_a_dip_ends_none() -> None:
    rule = replace(RULE, smooth=15, min_on=1)
    assert run(rule, [0.0] * 30 + [1.0] * 3 + [0.0] * 30) == []
    dipped = [0.0] * 20 + [0.9] * 20 + [0.0] * 2 + [0.9] * 20 + [0.0] * 20
    assert [each[:2] for each in spans(run(rule, dipped))] == [(20, 62)]


def test_an_event_goes_on_while_its_scores_do() -> None:
    """The mean of the third frame is low, and its score is not: there is no gap to end it."""
    assert spans(run(replace(RULE, smooth=3), [1.0, 0.0, 0.5, 0.0, 1.0, 0.0, 0.0])) == [
        (0, 5, None)
    ]


def test_the_tail_of_a_mean_begins_no_event() -> None:
    """What reaches max_length is closed; the mean is still high where the sound has ended."""
    rule = replace(RULE, threshold=0.4, off_threshold=0.3, smooth=11, max_length=20)
    scores = [0.0] * 10 + [1.0] * 20 + [0.0] * 20
    assert [each[:2] for each in spans(run(rule, scores))] == [(10, 30)]
    longer = [0.0] * 10 + [1.0] * 50 + [0.0] * 20
    assert [each[:2] for each in spans(run(rule, longer))] == [(10, 30), (30, 50), (50, 60)]


RULES = [
    LabelRule("loud", 0.5, 0.4, min_on=2, min_off=2, update_every=5, smooth=9),
    LabelRule("soft", 0.3, 0.2, min_off=4, smooth=3),
    LabelRule("plain", 0.5, 0.4, min_on=2, min_off=2),
    LabelRule("thrice", 0.5, 0.4, min_off=2, pattern=Repetition(2, 90, gap=(2, 40)), smooth=5),
    LabelRule("after", 0.5, 0.4, min_off=2, pattern=Sequence("soft", 60), smooth=7),
]


def detector(rules: list[LabelRule] | None = None) -> Detector:
    ids, origin = count(), Origin("node", "mic", "test")
    rules = RULES if rules is None else rules
    return Detector(origin, FRAMING, rules, live=False, new_id=lambda: f"{next(ids)}")


def columns(source: Detector) -> list[Heard]:
    heard = []
    while (window := source.next_window()) is not None:
        both = scores_of(window)
        wanted = both[:, [0, 1, 0, 0, 0]][:, : len(source.rules)]
        heard.append(source.accept(window, wanted, 0.0))
    return heard


def listen(cuts: list[int], end: int | None = None) -> tuple[list[Event], list[float]]:
    """All events, and the scores of the first label."""
    source, heard = detector(), []
    for chunk in chunks(bursts(9.0, seed=4)[:end], cuts):
        source.feed(chunk)
        heard += columns(source)
    source.end(None)
    heard += columns(source)
    events = [replace(event, latency_ms=0.0) for part in heard for event in part.events]
    return events, [score for part in heard for score in part.scores[:, 0].tolist()]


@settings(max_examples=15, deadline=None)
@given(cuts=st.lists(st.integers(0, 9 * 48_000), max_size=12))
def test_events_are_the_same_in_any_pieces(cuts: list[int]) -> None:
    whole, _ = listen([])
    assert {event.label for event in whole} == {rule.name for rule in RULES}
    assert listen(cuts)[0] == whole


@pytest.mark.parametrize("size", [1, 997])
def test_and_sample_by_sample(size: int) -> None:
    end = 30_000 if size == 1 else 9 * 48_000
    assert listen(list(range(0, end, size)), end) == listen([], end)


def test_live_offline_and_stored_scores_give_the_same_events() -> None:
    events, scores = listen([])
    run_of = ScoreRun(0, np.array(scores, np.float32))
    for rule in RULES[:1] + RULES[2:4]:
        told = [
            (round(event.onset_s / 0.04), round((event.offset_s or 0) / 0.04), event.peak)
            for event in events
            if event.label == rule.name and event.phase is Phase.END
        ]
        again = replay([run_of], rule)
        assert told
        assert told == [
            (each.onset_ns // FRAME_NS, each.offset_ns // FRAME_NS, round(each.peak, 4))
            for each in again
        ]


def test_latency_counts_the_half_of_the_mean_that_comes_after() -> None:
    """From the end of the frame that decided, whose mean was known half its width later."""
    found = {}
    for smooth in (1, 9):
        source = detector([replace(RULES[2], smooth=smooth)])
        told = []
        samples = np.zeros(96_000, np.float32)
        samples[48_000:] = 0.8
        for chunk in chunks(samples, list(range(0, 96_000, 480))):
            source.feed(chunk)
            while (window := source.next_window()) is not None:
                told += source.accept(window, scores_of(window)[:, :1], chunk.captured_s).events
        (start,) = [event for event in told if event.phase is Phase.START]
        assert start.onset_s == 1.0
        found[smooth] = start.latency_ms
    # Frame 26 decides: it completes min_on, and the mean around it is the first above 0.5. Its
    # score is final in the window that ends with frame 32, the last of its mean's in that with 36.
    assert found == {1: pytest.approx(200, abs=0.1), 9: pytest.approx(360, abs=0.1)}


def test_what_is_open_at_a_break_or_stop_is_told_with_the_frames_there_are() -> None:
    samples = np.full(24_000, 0.8, np.float32)
    for stop in (False, True):
        source = detector([replace(RULES[2], smooth=49)])
        source.feed(AudioChunk(0, samples, 0, 0.5))
        told = [event for part in columns(source) for event in part.events]
        assert told == [], "half of the mean is still to come"
        if stop:
            told = source.stop(Reason.STOPPED)
        else:
            source.silence()
            told = [event for part in columns(source) for event in part.events]
        assert [event.phase for event in told] == [Phase.START, Phase.END]
        assert {event.reason for event in told} == {None, Reason.STOPPED if stop else Reason.GAP}
        assert told[0].onset_s == 0.0
        assert told[0].latency_ms <= 0, "the scores were handed on at 0"


def test_clips_know_that_an_onset_may_still_come() -> None:
    ensemble = LabelTrackers([replace(RULE, smooth=9)])
    said: list[tuple[str, Detection]] = []
    bounds = []
    scores = [0.0] * 20 + [0.9] * 12 + [0.0] * 20
    for frame, score in enumerate(scores):
        said += ensemble.step(frame, [score])
        bounds.append(ensemble.onset)
    (start,) = [each for _, each in said if each.phase is Phase.START]
    assert start.onset == 20
    before = bounds[: start.decided + 4]
    assert all(bound is not None and bound <= 20 for bound in before)
    assert bounds[-1] == len(scores) - 8, "and otherwise is no further back than the mean"


def frame_by_frame(
    runs: list[ScoreRun], rule: LabelRule, changes: list[tuple[int, LabelRule]]
) -> list[Replayed]:
    """The slow twin of `replay`: every frame through the ensemble, which lives on over gaps."""
    ensemble, made, number = LabelTrackers([rule]), [], 0
    for part in runs:
        first, said = number, []
        for frame, score in enumerate(part.scores.tolist()):
            at_ns = part.start_ns + frame * FRAME_NS
            then = [each for since_ns, each in changes if since_ns <= at_ns]
            if then and then[-1] is not ensemble.rules[0]:
                said += ensemble.change([then[-1]])
            said += ensemble.step(number, [score])
            number += 1
        said += ensemble.close(Reason.GAP)
        made += [
            Replayed(
                part.start_ns + (end.onset - first) * FRAME_NS,
                part.start_ns + (end.offset - first) * FRAME_NS,
                end.peak,
            )
            for _, end in said
            if end.phase is Phase.END
        ]
    return made


@settings(max_examples=400)
@given(
    parts=st.lists(
        st.lists(STEPS | st.floats(0, 1, width=32), max_size=50), min_size=1, max_size=3
    ),
    smooth=ODD,
    changes=st.lists(
        st.tuples(st.integers(0, 120 * FRAME_NS), st.sampled_from([0.3, 0.5, 0.8]), st.booleans()),
        max_size=3,
    ),
    pattern=st.sampled_from([None, Repetition(2, 40, gap=(1, 20))]),
)
def test_stored_scores_tell_what_frames_do(
    parts: list[list[float]],
    smooth: int,
    changes: list[tuple[int, float, bool]],
    pattern: Repetition | None,
) -> None:
    runs, at = [], 7 * FRAME_NS
    for part in parts:
        runs.append(ScoreRun(at, np.array(part, np.float32)))
        at += len(part) * FRAME_NS + 5_000
    rule = replace(RULE, smooth=smooth, min_on=2, min_off=2, cooldown=3, pattern=pattern)
    rules = [
        (when, replace(rule, threshold=on, off_threshold=on * 0.8, enabled=enabled))
        for when, on, enabled in sorted(changes)
    ]
    expected = frame_by_frame(runs, rule, rules)
    assert replay(runs, rule, rules) == expected
    assert replay([SmoothRun.of(run, smooth) for run in runs], rule, rules) == expected


def test_a_rule_of_the_clock_counts_for_means_that_are_not_known_yet() -> None:
    rule = replace(RULE, smooth=9)
    changes = [(25 * FRAME_NS, replace(rule, threshold=0.95, off_threshold=0.9))]
    runs = [ScoreRun(0, np.array([0.0] * 20 + [0.9] * 30 + [0.0] * 20, np.float32))]
    assert replay(runs, rule, changes) == frame_by_frame(runs, rule, changes) == []
    changes = [(26 * FRAME_NS, changes[0][1])]
    assert len(replay(runs, rule, changes)) == len(frame_by_frame(runs, rule, changes)) == 1


def test_means_made_with_another_width_are_made_again() -> None:
    once = SmoothRun.of(ScoreRun(0, np.array([0.9] * 9 + [0.0] * 9, np.float32)), 3)
    assert SmoothRun.of(once, 3) is once
    assert SmoothRun.of(once, 5).means.tolist() == smoothed(once.scores, 5).tolist()


def test_a_threshold_that_follows_goes_by_means() -> None:
    """Single frames of a rough room do not raise it; stored scores tell the same."""
    rule = replace(RULE, follow=Follow(quantile=0.9, margin=1.0), smooth=5)
    rough = ([0.9] + [0.0] * 4) * (MINUTE // 5)
    scores = [*rough, 0.0, 0.0, *[0.7] * 20, *[0.0] * 20]
    assert len(run(rule, scores)) == 2
    stored = ScoreRun(0, np.array(scores, np.float32))
    assert len(replay([stored], rule)) == 1
    assert replay([stored], replace(rule, smooth=1)) != replay([stored], rule)


def test_a_repetition_goes_by_when_its_sounds_were() -> None:
    """Means of the two are wider, and the gap between them is narrower, than they truly are."""
    pattern = Repetition(2, 40, length=(10, 10), gap=(12, 12))
    rule = replace(RULE, smooth=9, pattern=pattern)
    scores = [0.0] * 20 + [0.9] * 10 + [0.0] * 12 + [0.9] * 10 + [0.0] * 60
    (found,) = spans(run(rule, scores))
    assert found == (20, 52, None)
    # Near the top of what is heard, means rise late: the second has begun before they do.
    late = replace(RULE, threshold=0.8, off_threshold=0.8, smooth=25)
    late = replace(late, pattern=Repetition(2, 90, gap=(12, 12)))
    scores = [0.0] * 20 + [0.9] * 30 + [0.0] * 12 + [0.9] * 30 + [0.0] * 60
    assert spans(run(late, scores)) == [(20, 92, None)]


@pytest.mark.parametrize("gap", range(1, 7))
def test_a_sequence_waits_for_its_own_means(gap: int) -> None:
    """The other label's event is over before a faint end has decided what came first."""
    rules = [
        replace(RULE, name="dog", pattern=Sequence("glass", 12), smooth=25, min_off=0),
        replace(RULE, name="glass", min_off=0),
    ]
    dog = [0.0] * 20 + [0.7] * 13 + [0.35] * 12 + [0.0] * 60
    glass = [0.0] * (33 + gap) + [0.9] * 2 + [0.0] * 60
    ensemble, said = LabelTrackers(rules), []
    for frame, row in enumerate(zip(dog, glass, strict=False)):
        said += ensemble.step(frame, row)
    said += ensemble.close(None)
    both = [  # of the first label
        (each.onset, each.offset) for name, each in said if (name, each.phase) == ("dog", "end")
    ]
    assert both == [(20, 35 + gap)]


def test_a_rhythm_is_not_smoothed() -> None:
    rule = replace(RULE, pattern=Rhythm((0.5, 1.5)), smooth=9)
    assert LabelTrackers([rule]).behind == 0
    assert LabelTrackers([replace(RULE, smooth=9)]).behind == 4


def test_another_smoothing_takes_over_in_the_middle_of_an_event() -> None:
    ensemble, said = LabelTrackers([replace(RULE, smooth=3)]), []
    for frame in range(100):
        if frame in {25, 35}:
            said += ensemble.change([replace(RULE, smooth=15 if frame == 25 else 1)])
        said += ensemble.step(frame, [0.9 if 20 <= frame < 60 else 0.0])
    assert [(each.phase, each.onset) for _, each in said] == [(Phase.START, 20), (Phase.END, 20)]
    assert said[-1][1].offset == 60


def test_known_scores_say_where_the_sound_is() -> None:
    known = Known(np.array([0.9, 0.0, 0.5, 0.9, 0.0], np.float32), 3, first=10)
    assert known.span(11, 0.5) == (10, 13)
    assert known.span(12, 0.6) == (13, 14)
    assert known.span(10, 0.95) == (10, 11), "of none, the frame alone"
    assert drain(detector([])) == []
