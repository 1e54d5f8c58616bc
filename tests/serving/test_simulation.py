"""10,000 streams in virtual time, and what goes wrong with their engines; see `simulation`."""

from __future__ import annotations

import logging
import time
from collections.abc import Iterator
from statistics import mean

import pytest
from serving.simulation import LANE, LARGE, Line, Outcome, World, without_sound
from timing import within

BUDGET_S = 15.0
"""Of CPU, for all 10,000."""


@pytest.fixture(autouse=True)
def no_sound(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    without_sound(monkeypatch)
    logging.disable(logging.WARNING)  # thousands of daemons say what one says
    yield
    logging.disable(logging.NOTSET)


def nothing_is_lost(outcome: Outcome) -> bool:
    assert outcome.doubled == 0
    return (outcome.heard, outcome.lost) == (outcome.given, 0)


def all_is_accounted_for(outcome: Outcome) -> bool:
    """What ended was heard or is counted as lost."""
    assert outcome.doubled == 0
    return outcome.heard + outcome.lost == outcome.given


def test_ten_thousand_streams_begin_at_once_and_one_of_eight_gpus_is_lost() -> None:
    """The seven that are left are 94 % busy: so long it takes until all are up to date again."""
    begun_s = time.process_time()
    world = World(10_000, 8)
    world.time.at(4.0, lambda: world.lose_gpu(3))
    outcome = world.run(8.0)
    assert nothing_is_lost(outcome)
    assert outcome.given == 10_000 * (20 + 17) * 12
    assert outcome.worst_s < 6
    assert outcome.rebuilt >= 10_000 + 10_000 // 8
    assert time.process_time() - begun_s < within(BUDGET_S)


def test_a_run_is_the_same_for_the_same_seed() -> None:
    def once(seed: int) -> Outcome:
        world = World(640, 2, seed=seed)
        world.time.at(2.0, lambda: world.lose_gpu(1, back_s=2.0))
        return world.run(5.0)

    assert once(1) == once(1) != once(2)


def test_where_another_gpu_could_be_spared_one_is_hardly_missed() -> None:
    world = World(960, 2)
    world.time.at(2.0, lambda: world.lose_gpu(0))
    outcome = world.run(8.0)
    assert nothing_is_lost(outcome)
    assert outcome.worst_s < 4


def test_large_models_lose_a_gpu() -> None:
    world = World(960, 6, costs=LARGE)
    world.time.at(3.0, lambda: world.lose_gpu(0))
    outcome = world.run(8.0)
    assert nothing_is_lost(outcome)
    assert outcome.worst_s < 5


def test_a_frozen_gpu_that_nobody_notices_is_left_for_another_session() -> None:
    world = World(960, 12, noticed_s=60.0)
    world.time.at(3.0, lambda: world.lose_gpu(5, frozen=True))
    outcome = world.run(8.0)
    assert nothing_is_lost(outcome)
    assert 2 < outcome.worst_s < 6, "one time-out, or two where the second choice is the same"


def test_a_node_is_lost_with_its_gpus_and_a_way_in() -> None:
    world = World(960, 4)
    world.time.at(2.0, lambda: world.lose_node(0))
    outcome = world.run(8.0)
    assert nothing_is_lost(outcome)
    assert outcome.worst_s < 6


def test_all_engines_are_away_and_begin_anew_at_once() -> None:
    world = World(960, 1)
    world.time.at(3.0, lambda: world.lose_gpu(0, back_s=1.0))
    outcome = world.run(9.0)
    assert nothing_is_lost(outcome)
    assert outcome.worst_s < 9
    assert outcome.rebuilt >= 2 * 960


def forgotten_on_a_line_of(bytes_per_s: float) -> Outcome:
    """A lane has 0.66 MB of FLAC a second, and 6.4 MB more where its engine begins anew."""
    world = World(80, 1, line=Line(0.3, bytes_per_s), noticed_s=0.3, heard=LANE, before=0)
    world.time.at(12.0, lambda: world.lose_gpu(0, back_s=1.0))
    return world.run(24.0)


def test_a_slow_line_loses_nothing_while_it_has_some_to_spare() -> None:
    assert nothing_is_lost(forgotten_on_a_line_of(4_000_000))


def test_a_line_with_little_to_spare_takes_turns_and_loses_little() -> None:
    outcome = forgotten_on_a_line_of(1_000_000)
    assert all_is_accounted_for(outcome)
    assert outcome.lost < outcome.given / 5
    assert max(outcome.losses) < 200, "frames of a source, of 600"


def test_a_line_that_is_too_slow_carries_what_it_can_and_the_rest_is_counted() -> None:
    outcome = forgotten_on_a_line_of(500_000)
    assert all_is_accounted_for(outcome)
    assert outcome.lost > 0
    assert outcome.heard > outcome.given / 2


def test_twofold_overload_stretches_all_lanes_alike() -> None:
    outcome = World(2560, 1).run(12.0, ends=False)
    assert outcome.load > 0.9
    assert (outcome.lost, outcome.doubled) == (0, 0)
    fair = mean(outcome.scorings)
    assert fair / 2 <= min(outcome.scorings) <= max(outcome.scorings) <= 2 * fair


def test_fourfold_overload_is_lost_in_part_and_the_rest_is_heard() -> None:
    """Where all were served in turn, each answer would come after its time-out, and none count."""
    outcome = World(5120, 1).run(12.0, ends=False)
    assert outcome.doubled == 0
    assert outcome.lost > 0
    assert outcome.heard > outcome.given / 4
