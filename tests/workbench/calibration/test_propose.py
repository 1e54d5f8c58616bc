"""Thresholds from scores: what they would let through, and what they are not made from."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from score_history import HOUR, background

from pe_stream.core.replay import replay
from pe_stream.core.types import FRAME_NS, LabelRule, ScoreRun
from pe_stream.workbench.calibration.propose import (
    HIGHEST,
    LEAST_S,
    LOWEST,
    TooLittleError,
    moving,
    propose,
    rounded_up,
    without,
)

RULE = LabelRule("x", threshold=0.5, off_threshold=0.4, min_on=5, min_off=10)


def true_rate(threshold: float, a_day: float) -> float:
    """Of `background`: how many of its peaks a day reach a threshold."""
    return float(a_day * np.exp(-2 - np.log(threshold / (1 - threshold))))


def run(scores: list[float] | np.ndarray, start: int = 0) -> ScoreRun:
    return ScoreRun(start * FRAME_NS, np.asarray(scores, np.float32))


def frames(runs: list[ScoreRun]) -> list[tuple[int, int]]:
    return [(each.start_ns // FRAME_NS, len(each.scores)) for each in runs]


def test_a_rate_within_the_data_is_counted() -> None:
    runs = [run(background(6, 2000))]
    found = propose([runs], RULE, 100)
    assert not found.extrapolated
    rule = replace(RULE, threshold=found.threshold, off_threshold=0.8 * found.threshold)
    assert found.rate == len(replay(runs, rule)) * 4 <= 100
    assert found.low < true_rate(found.threshold, 2000) < found.high
    assert found.off_threshold == pytest.approx(0.8 * found.threshold, abs=0.001)
    assert found.hours == pytest.approx(6)
    now = propose([runs], replace(RULE, threshold=found.threshold, off_threshold=0.1), 100).now
    assert now == pytest.approx(len(replay(runs, replace(rule, off_threshold=0.1))) * 4)


def test_what_is_smoothed_is_calibrated_smoothed() -> None:
    """Clicks reach 0.9; their means do not, and a threshold among the means keeps the rate."""
    rng = np.random.default_rng(5)
    scores = rng.uniform(0.0, 0.3, HOUR)
    scores[rng.choice(HOUR, 500, replace=False)] = 0.9
    smooth = replace(RULE, smooth=15, min_on=1)
    found = propose([[run(scores)]], smooth, 240)
    assert found.threshold < 0.4
    assert propose([[run(scores)]], replace(smooth, smooth=1), 240).threshold > 0.8
    assert found.spread.highest < 0.5
    rule = replace(smooth, threshold=found.threshold, off_threshold=found.off_threshold)
    assert found.rate == pytest.approx(24 * len(replay([run(scores)], rule)), abs=24)


def test_thresholds_of_many_rooms_hold_what_they_promise() -> None:
    """One wanted in six hours, beyond what can be counted: most intervals hold the true rate."""
    held, rates = 0, []
    for seed in range(24):
        found = propose([[run(background(6, 240, seed))]], RULE, 4)
        assert found.extrapolated
        true = true_rate(found.threshold, 240)
        held += found.low <= true <= found.high
        rates.append(true)
    assert held >= 21
    assert 2 < float(np.median(rates)) < 8


def test_as_much_sound_again_holds_as_many_as_wanted() -> None:
    rates = [
        true_rate(propose([[run(background(6, 1200, seed))]], RULE, 40).threshold, 1200)
        for seed in range(40)
    ]
    assert float(np.mean(rates)) == pytest.approx(40, rel=0.1)


def bursts(hours: float, a_day: float, seed: int) -> np.ndarray:
    """`background` where every peak comes four times within six seconds."""
    scores = background(hours, a_day / 4, seed)
    peaks = scores.copy()
    for after in (50, 100, 150):
        later = np.roll(scores, after)
        peaks = np.maximum(peaks, np.where(later > 0.1, later, 0))
    return peaks


def test_false_alarms_that_come_in_bursts_are_less_sure() -> None:
    single = propose([[run(background(6, 2400, 3))]], RULE, 100)
    burst = propose([[run(bursts(6, 2400, 3))]], RULE, 100)
    assert single.share > 0.8
    assert burst.share < 0.4
    assert burst.high / burst.rate > 1.3 * single.high / single.rate
    rare = propose([[run(bursts(6, 2400, 3))]], RULE, 4)
    assert rare.extrapolated
    assert rare.share < 0.4


def test_what_two_sources_hear_at_once_is_one_burst() -> None:
    one = propose([[run(bursts(6, 400, 3))]], RULE, 2000)
    both = propose([[run(bursts(6, 400, 3))], [run(bursts(6, 400, 3))]], RULE, 4000)
    assert both.share == pytest.approx(one.share / 2, rel=0.1)


def test_no_threshold_is_above_all_that_was_heard_where_several_are_wanted() -> None:
    for seed in range(6):
        scores = bursts(1, 960, seed)
        found = propose([[run(scores)]], RULE, 72)  # three an hour; forty are, in ten bursts
        assert found.threshold <= scores.max() + 0.01, seed


def test_of_few_bursts_nothing_is_extrapolated() -> None:
    scores = np.full(90_000, 0.001)
    for begin in (1000, 40_000, 80_000):
        for number in range(8):
            scores[begin + 60 * number :][:20] = 0.5 + 0.04 * number
    assert not propose([[run(scores)]], RULE, 72).extrapolated
    assert propose([[run(scores)]], RULE, 3).high > 3.69 * 24 * 4  # none there, but in bursts


def test_intervals_hold_the_true_rate_of_bursts_too() -> None:
    held = 0
    for seed in range(24):
        found = propose([[run(bursts(6, 960, seed))]], RULE, 8)
        held += found.low <= true_rate(found.threshold, 960) <= found.high
    assert held >= 21


def test_a_rule_that_takes_longer_sounds_needs_a_lower_threshold() -> None:
    """The unit is an event under the label's rule: peaks here last ten frames."""
    runs = [run(background(3, 2000))]
    long = propose([runs], replace(RULE, min_on=11, min_off=0), 100)
    assert long.threshold < propose([runs], RULE, 100).threshold
    quiet = propose([runs], replace(RULE, cooldown=HOUR), 4)
    assert quiet.threshold < propose([runs], RULE, 4).threshold


def test_sources_that_sound_at_once_share_the_days_false_alarms() -> None:
    one, two = [run(background(6, 2000, 1))], [run(background(6, 2000, 2))]
    both = propose([one, two], RULE, 100)
    assert both.hours == pytest.approx(6)
    assert true_rate(both.threshold, 4000) == pytest.approx(100, rel=0.5)


def test_a_disabled_label_is_calibrated_all_the_same() -> None:
    runs = [run(background(3, 2000))]
    off = propose([runs], replace(RULE, enabled=False), 100)
    assert off == propose([runs], RULE, 100)


def test_a_label_that_never_rises_gets_the_lowest() -> None:
    rng = np.random.default_rng(0)
    quiet = [run(rng.uniform(1e-4, 2e-4, 6 * HOUR))]
    found = propose([quiet], RULE, 4)
    assert (found.threshold, found.rate, found.low) == (LOWEST, 0.0, 0.0)
    assert found.high == pytest.approx(3.69 * 4, rel=0.01)


def test_a_label_that_always_sounds_cannot_be_had() -> None:
    loud = np.tile(np.repeat([0.9999, 0.01], 50), HOUR // 50)
    found = propose([[run(loud)]], RULE, 24)
    assert found.threshold == HIGHEST
    assert not found.reached
    assert found.rate > 1000


def test_too_little_says_how_much_would_do() -> None:
    with pytest.raises(TooLittleError, match=r"^1 h of sound .* at least 2\.4 h .* 240 h"):
        propose([[run(background(1, 240))]], RULE, 1)
    propose([[run(background(2.5, 240))]], RULE, 1)


def test_less_than_minutes_is_too_little_for_any_rate() -> None:
    said = r"^5\.4 s of sound .* 5000 .* at least 5 min are needed, and 5 min make it sure"
    with pytest.raises(TooLittleError, match=said):
        propose([[run(background(0.0015, 5000))]], RULE, 5000)
    five = run(background(LEAST_S / 3600, 5000))
    assert propose([[five]], RULE, 5000).hours == pytest.approx(1 / 12)
    with pytest.raises(TooLittleError):  # two sources of half the time each
        propose([[run(five.scores[:3750])], [run(five.scores[3750:])]], RULE, 5000)


@pytest.mark.parametrize(
    ("score", "rounded"), [(0.5, 0.5), (0.5001, 0.501), (0.90501, 0.9051), (0.9999, HIGHEST)]
)
def test_thresholds_are_rounded_to_the_safe_side(score: float, rounded: float) -> None:
    assert rounded_up(score) == rounded


def test_stretches_of_silence_are_no_sound() -> None:
    rng = np.random.default_rng(0)
    sound, still = rng.uniform(0.1, 0.2, 100), np.full(800, 0.3)
    assert frames(moving([run([*sound, *still, *sound])])) == [(0, 100), (900, 100)]
    assert moving([run(still)]) == []
    assert frames(moving([run([*sound, *still[:700]])])) == [(0, 800)]
    again = np.tile([0.3, 0.31, 0.29], 300)  # where in its window a frame is, tells
    assert frames(moving([run([*sound, *again, *sound])], 3)) == [(0, 100), (1000, 100)]
    assert len(moving([run(again)])) == 1
    assert moving([run(again)], 3) == []
    suppressed = np.zeros(800)
    assert frames(moving([run([*sound, *suppressed])])) == [(0, 900)]


@settings(max_examples=60)
@given(
    st.lists(st.tuples(st.integers(-5, 40), st.integers(0, 20)), max_size=5),
    st.lists(st.integers(1, 12), min_size=1, max_size=3),
)
def test_what_is_left_out_is_exactly_the_spans(
    spans: list[tuple[int, int]], lengths: list[int]
) -> None:
    """The slow twin: every frame for itself."""
    runs, start = [], 0
    for length in lengths:
        runs.append(run(np.arange(start, start + length) / 100, start))
        start += length + 3
    cut = [(first * FRAME_NS, (first + length) * FRAME_NS) for first, length in spans]
    left = {
        each.start_ns // FRAME_NS + n: float(score)
        for each in without(runs, cut)
        for n, score in enumerate(each.scores)
    }
    kept = {
        each.start_ns // FRAME_NS + n: float(score)
        for each in runs
        for n, score in enumerate(each.scores)
        if not any(a <= each.start_ns // FRAME_NS + n < a + length for a, length in spans)
    }
    assert left == kept
