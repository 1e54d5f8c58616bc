from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from pe_stream.core.relative_time import ago

NOW = datetime(2026, 11, 21, 12, tzinfo=UTC)


@pytest.mark.parametrize(
    ("text", "before"),
    [
        ("0s", timedelta(0)),
        ("90m", timedelta(minutes=90)),
        (" 24h ", timedelta(days=1)),
        ("1.5d", timedelta(hours=36)),
        ("2w", timedelta(days=14)),
    ],
)
def test_a_length_of_time_is_counted_back_from_now(text: str, before: timedelta) -> None:
    assert ago(text, NOW) == NOW - before


@pytest.mark.parametrize(
    "text", ["", "m", "10", "-5m", "10 m", "10M", "1e3s", "1h30m", "٣m", "10m\n5m", "2026-11-21"]
)
def test_what_is_none_is_told(text: str) -> None:
    assert ago(text, NOW) is None


@pytest.mark.parametrize("text", ["99999999d", "9" * 400 + "s", "999999w"])
def test_nothing_was_before_the_calendar(text: str) -> None:
    with pytest.raises(OverflowError):
        ago(text, NOW)
