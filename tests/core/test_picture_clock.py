from __future__ import annotations

import pytest

from pe_stream.core.picture_clock import APART_S, OLD_S, ArrivalClock, PictureClock, PicturePace


@pytest.mark.parametrize(
    ("fps", "per_second", "expected"),
    [(25, 2.0, [0.0, 0.52, 1.0, 1.52]), (1, 2.0, [0.0, 1.0]), (30, 0.5, [0.0])],
)
def test_so_many_a_second_are_taken(fps: int, per_second: float, expected: list[float]) -> None:
    pace = PicturePace(per_second)
    assert [n / fps for n in range(2 * fps) if pace.takes(n / fps)] == expected


def test_times_that_go_back_are_not_taken() -> None:
    pace = PicturePace(2.0)
    assert [pace.takes(at_s) for at_s in (5.0, 4.0, 1.0, 5.4, 5.5)] == [True, *3 * [False], True]


def test_a_picture_lies_where_the_sound_of_its_stamp_does() -> None:
    clock = PictureClock()
    assert clock.position_s(7.0) is None, "nothing is heard yet"
    clock.hear(2.0, 107.0)
    assert [clock.position_s(at_s) for at_s in (106.5, 107.0, 107.25)] == [1.5, 2.0, 2.25]
    clock.hear(3.0, 208.0)  # the sound's stamps have jumped; so have the picture's
    assert clock.position_s(208.5) == 3.5


@pytest.mark.parametrize("stamp_s", [107.0 + 1.01 * APART_S, 107.0 - 1.01 * APART_S, -1e12, None])
def test_stamps_of_another_clock_are_no_use(stamp_s: float | None) -> None:
    clock = PictureClock()
    clock.hear(2.0, 107.0)
    assert clock.position_s(stamp_s) == 2.0
    clock.hear(2.5, None)
    assert clock.position_s(107.5) == 2.5, "the sound has none"


def test_a_picture_of_another_connection_lies_where_it_came() -> None:
    clock = ArrivalClock()
    assert clock.sample(100.0) is None, "nothing is heard yet"
    clock.hear(48_000, 100.0)
    assert [clock.sample(at_s) for at_s in (99.5, 100.0, 101.0)] == [24_000, 48_000, 96_000]
    assert clock.sample(100.0 + OLD_S + 0.1) is None, "there is no sound any more"
