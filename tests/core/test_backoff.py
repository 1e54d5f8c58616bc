from __future__ import annotations

from pe_stream.core.backoff import delay_s


def test_delays_double_up_to_a_longest() -> None:
    assert [delay_s(n, 60.0, 0.0) for n in range(1, 9)] == [1, 2, 4, 8, 16, 32, 60, 60]
    assert [delay_s(n, 60.0, 0.0, first_s=3.0) for n in range(1, 4)] == [3, 6, 12]


def test_chance_takes_away_up_to_half() -> None:
    assert [delay_s(n, 60.0, 1.0) for n in range(1, 9)] == [0.5, 1, 2, 4, 8, 16, 30, 30]
    assert delay_s(3, 60.0, 0.5) == 3


def test_days_of_attempts_do_not_overflow() -> None:
    assert delay_s(100_000, 4.0, 0.0) == 4.0
