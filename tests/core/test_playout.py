"""What a player has in store, played against a model of one."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pe_stream.core.playout import LEAST_S, MOST_S, STORE_S, Playout
from pe_stream.core.types import SAMPLE_RATE, Samples

NOTHING = np.empty(0, np.float32)


def sound(seconds: float, value: float = 1.0) -> Samples:
    return np.full(round(seconds * SAMPLE_RATE), value, np.float32)


class Player:
    """Plays what it has; counts for how long it had nothing."""

    def __init__(self) -> None:
        self.playout = Playout(0.0)
        self.now_s = self.store_s = self.dry_s = self.given_s = self.played_s = 0.0

    def take(self, at_s: float, samples: Samples) -> Samples:
        passed_s = at_s - self.now_s
        self.now_s = at_s
        if self.given_s:
            self.dry_s += max(0.0, passed_s - self.store_s)
        self.store_s = max(0.0, self.store_s - passed_s)
        given = self.playout.next(samples, at_s)
        self.given_s += len(given) / SAMPLE_RATE
        self.store_s += len(given) / SAMPLE_RATE
        self.played_s += np.count_nonzero(given) / SAMPLE_RATE
        return given


def play(player: Player, hops: list[tuple[float, float]], until_s: float) -> None:
    """hops: when each comes, and how long it is (s); it is asked five times a second besides."""
    times = [(at_s, sound(length_s)) for at_s, length_s in hops]
    times += [(n / 5, NOTHING) for n in range(round(until_s * 5))]
    for at_s, samples in sorted(times, key=lambda each: each[0]):
        player.take(at_s, samples)


def test_it_begins_with_silence_in_store() -> None:
    first = Player().take(0.0, NOTHING)
    assert len(first) == round(STORE_S * SAMPLE_RATE)
    assert not first.any()


def test_sound_that_comes_evenly_is_played_whole_and_nothing_else() -> None:
    player = Player()
    play(player, [(0.48 * n, 0.48) for n in range(1, 100)], 47)
    assert player.played_s == pytest.approx(99 * 0.48)
    assert player.given_s == pytest.approx(99 * 0.48 + STORE_S)
    assert player.dry_s == 0


@settings(max_examples=30, deadline=None)
@given(late_s=st.lists(st.floats(0, 0.6), min_size=50, max_size=50))
def test_sound_that_comes_late_now_and_then_is_not_interrupted(late_s: list[float]) -> None:
    player = Player()
    hops = [(0.48 * n + late, 0.48) for n, late in enumerate(late_s, 1)]
    play(player, hops, 24)
    assert player.dry_s == 0
    assert player.played_s == pytest.approx(50 * 0.48)
    assert player.store_s <= MOST_S


def test_nothing_comes_and_it_plays_on() -> None:
    player = Player()
    play(player, [(0.5, 0.5), (60.0, 0.5), (60.5, 0.5)], 61)
    assert player.dry_s == 0
    assert player.played_s == pytest.approx(1.5)
    assert LEAST_S <= player.store_s <= STORE_S + 1


@pytest.mark.parametrize(("rate", "lost"), [(1.03, 0.03), (0.97, 0.0)])
def test_a_sound_card_that_is_fast_or_slow_never_makes_it_late(rate: float, lost: float) -> None:
    player = Player()
    worst_s = 0.0
    for n in range(1, 2500):
        player.take(0.48 * n, sound(0.48 * rate))
        worst_s = max(worst_s, player.store_s)
    total_s = 2499 * 0.48 * rate
    assert worst_s <= MOST_S
    assert player.dry_s == pytest.approx(0, abs=0.1)
    assert player.played_s == pytest.approx(total_s * (1 - lost), abs=7)


def test_what_has_piled_up_is_left_out_but_for_the_newest() -> None:
    player = Player()
    player.take(0.0, NOTHING)
    given = player.take(0.5, np.concatenate([sound(10, 1), sound(1, 2)]))
    assert np.count_nonzero(given == 2) == SAMPLE_RATE
    assert given[-1] == 2
    assert player.store_s < MOST_S
    assert np.count_nonzero(player.take(1.0, sound(0.4)))


def test_one_who_was_away_is_not_behind_by_that() -> None:
    player = Player()
    player.take(0.0, NOTHING)
    player.take(30.0, sound(0.5))
    assert player.store_s == pytest.approx(STORE_S)
