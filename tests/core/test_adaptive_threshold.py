"""Thresholds that follow the room, against the plain quantile."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from pe_stream.core.adaptive_threshold import LEAST, MINUTE, STEP, AdaptiveThreshold
from pe_stream.core.label_trackers import LabelTrackers
from pe_stream.core.types import Follow, LabelRule, Phase

RULE = LabelRule("hum", 0.5, 0.4, max_length=10**9, update_every=0, follow=Follow(minutes=5))


def logit(score: float) -> float:
    return float(np.log(score) - np.log1p(-score))


def room(minutes: float, level: float, seed: int = 0, width: float = 0.5) -> list[float]:
    """Scores whose logits are spread around `level`."""
    logits = np.random.default_rng(seed).normal(level, width, round(minutes * MINUTE))
    found: list[float] = (1 / (1 + np.exp(-logits))).tolist()
    return found


@settings(max_examples=60, deadline=None)
@given(
    st.floats(-8, 8),
    st.floats(0.01, 3),
    st.sampled_from([0.5, 0.9, 0.99, 0.999]),
    st.integers(1, 4),
    st.integers(1, 7),
    st.integers(0, 2**31),
)
def test_equals_the_plain_quantile(  # noqa: PLR0917 - hypothesis passes them by name
    level: float, width: float, quantile: float, minutes: int, heard: int, seed: int
) -> None:
    scores = room(heard, level, seed, width)
    keep: NDArray[np.bool_] = np.random.default_rng(seed).random(len(scores)) < 0.8
    follower = AdaptiveThreshold(Follow(quantile, 0.0, minutes))
    for score, counts in zip(scores, keep.tolist(), strict=True):
        follower.step(score, counts=counts)
    window = np.array(scores)[-minutes * MINUTE :][keep[-minutes * MINUTE :]]
    exact = logit(float(np.quantile(window, quantile, method="inverted_cdf")))
    assert follower.quantile is not None
    assert -1e-9 <= follower.quantile - np.clip(exact, -12 + STEP, 12) <= STEP + 1e-9


def test_scores_of_0_and_1_count() -> None:
    follower = AdaptiveThreshold(Follow(0.5, 0.0, 1))
    for frame in range(MINUTE):
        follower.step(float(frame % 3 > 0), counts=True)
    assert follower.quantile == pytest.approx(12.0)


def test_it_is_looked_at_every_minute() -> None:
    follower = AdaptiveThreshold(Follow())
    full = [follower.step(0.3, counts=True) for _ in range(3 * MINUTE)]
    assert [frame + 1 for frame, each in enumerate(full) if each] == [
        MINUTE,
        2 * MINUTE,
        3 * MINUTE,
    ]


def test_too_few_frames_say_nothing() -> None:
    follower = AdaptiveThreshold(Follow(quantile=0.9999))
    for _ in range(6 * MINUTE):
        follower.step(0.6, counts=True)
    assert follower.threshold(0.5) == 0.5
    for _ in range(MINUTE):
        follower.step(0.6, counts=True)
    assert follower.threshold(0.5) > 0.6


def test_bounds() -> None:
    follower = AdaptiveThreshold(Follow(margin=0.5, highest=0.8))
    for score in room(1, logit(0.6), width=0.001):
        follower.step(score, counts=True)
    assert follower.threshold(0.5) == pytest.approx(0.712, abs=0.005)
    assert follower.threshold(0.75) == 0.75, "never below the configured one"
    for score in room(59, logit(0.9), width=0.001):
        follower.step(score, counts=True)
    assert follower.threshold(0.5) == 0.8


def test_the_highest_is_not_passed_by_rounding() -> None:
    follower = AdaptiveThreshold(Follow(margin=5.0, highest=0.9997))
    for score in room(1, logit(0.999), width=0.001):
        follower.step(score, counts=True)
    assert follower.threshold(0.5) == 0.9997


def run(ensemble: LabelTrackers, scores: list[float], first: int = 0) -> list[tuple[int, float]]:
    """Frames at which the threshold moved, and to what."""
    moves = []
    for frame, score in enumerate(scores, first):
        ensemble.step(frame, [score])
        if ensemble.moved():
            moves.append((frame + 1, ensemble.in_force[0].threshold))
    return moves


def test_a_noisy_room_raises_the_threshold_and_a_quiet_one_lowers_it() -> None:
    ensemble = LabelTrackers([RULE])
    ((at, raised),) = run(ensemble, room(3, logit(0.4), width=0.01))
    assert at == MINUTE
    assert raised == pytest.approx(1 / (1 + np.exp(-(logit(0.4) + 0.5))), abs=0.02)
    rule = ensemble.in_force[0]
    assert rule.off_threshold / rule.threshold == pytest.approx(0.8)
    assert rule.follow is None, "what is told is a plain rule"
    assert ensemble.rules == [RULE]
    moves = run(ensemble, room(10, -6), first=3 * MINUTE)
    assert moves[-1] == (8 * MINUTE, 0.5), "five minutes after the noise"
    assert all(at % MINUTE == 0 for at, _ in moves)


def test_a_small_change_is_none() -> None:
    ensemble = LabelTrackers([RULE])
    run(ensemble, room(2, logit(0.4), width=0.001))
    assert run(ensemble, room(3, logit(0.402), width=0.001), first=2 * MINUTE) == []
    ((_, raised),) = run(ensemble, room(1, logit(0.42), width=0.001), first=5 * MINUTE)
    assert raised - 0.5 >= LEAST


def test_what_reaches_the_threshold_does_not_raise_it() -> None:
    ensemble = LabelTrackers([RULE])
    assert run(ensemble, ([0.9] * 500 + [0.05] * 500) * 9) == []


def test_events_tell_the_threshold_in_force() -> None:
    ensemble = LabelTrackers([RULE])
    ((_, raised),) = run(ensemble, room(1, logit(0.4), width=0.01))
    assert ensemble.step(MINUTE, [raised - 0.01]) == []
    ((_, start),) = ensemble.step(MINUTE + 1, [raised])
    assert (start.phase, start.threshold) == (Phase.START, raised)


def test_another_threshold_is_followed_from_there() -> None:
    ensemble = LabelTrackers([RULE])
    run(ensemble, room(1, logit(0.4), width=0.01))
    ensemble.change([replace(RULE, threshold=0.3, off_threshold=0.24)])
    assert ensemble.rules[0].threshold == 0.3
    assert ensemble.in_force[0].threshold == pytest.approx(0.53, abs=0.02), "what was heard is kept"
    ensemble.change([replace(RULE, follow=None)])
    assert ensemble.in_force == [replace(RULE, follow=None)]


def test_without_it_nothing_moves() -> None:
    ensemble = LabelTrackers([replace(RULE, follow=None), replace(RULE, name="off", enabled=False)])
    for frame, score in enumerate(room(2, logit(0.45), width=0.01)):
        ensemble.step(frame, [score, score])
    assert not ensemble.moved()
    assert [rule.threshold for rule in ensemble.in_force] == [0.5, 0.5]
