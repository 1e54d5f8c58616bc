from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone

import pytest

from pe_stream.core.utc import utc_moment, utc_ns, utc_text

MOMENT = datetime(2026, 11, 21, 2, 15, 49, 320_999, UTC)


def test_text_has_milliseconds_cut_off_and_a_z() -> None:
    assert utc_text(MOMENT) == "2026-11-21T02:15:49.320Z"
    assert utc_text(MOMENT.replace(microsecond=0)) == "2026-11-21T02:15:49.000Z"


def test_text_is_utc_wherever_the_moment_was_told() -> None:
    there = MOMENT.astimezone(timezone(timedelta(hours=5, minutes=45)))
    assert utc_text(there) == utc_text(MOMENT)


def test_nanoseconds_go_there_and_back() -> None:
    ns = 1_795_000_000_123_456_789
    assert utc_ns(utc_moment(ns)) == ns // 1000 * 1000
    assert utc_moment(utc_ns(MOMENT)) == MOMENT
    assert utc_ns(datetime(1970, 1, 1, tzinfo=UTC)) == 0
    assert utc_ns(MOMENT.astimezone(timezone(timedelta(hours=-3)))) == utc_ns(MOMENT)


def test_what_no_calendar_has_is_an_error() -> None:
    first = datetime(1, 1, 1, tzinfo=timezone(timedelta(hours=1)))
    for told in (utc_text, utc_ns):
        with pytest.raises(OverflowError):
            told(first)
