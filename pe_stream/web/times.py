"""UTC as events have it."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from fastapi import HTTPException

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def utc(moment: datetime) -> str:
    """ISO 8601 with milliseconds and `Z`. Answers 422 for what no calendar has."""
    try:
        there = moment.astimezone(UTC)
    except OverflowError:
        raise HTTPException(422, "a time that is beyond the calendar") from None
    return there.isoformat(timespec="milliseconds").replace("+00:00", "Z")


def utc_or_none(moment: datetime | None) -> str | None:
    """The same, where there is a moment."""
    return None if moment is None else utc(moment)


def utc_of(ns: int) -> str:
    """The same of nanoseconds since 1970."""
    return utc(_EPOCH + timedelta(microseconds=ns // 1000))


def ns_of(moment: datetime) -> int:
    """Nanoseconds since 1970, within 64 bits. Answers 422 for a time that nothing was heard at."""
    try:
        ns = (moment.astimezone(UTC) - _EPOCH) // timedelta(microseconds=1) * 1000
    except OverflowError:
        ns = -1
    if not 0 <= ns < 2**63:
        raise HTTPException(422, "a time that is beyond the calendar")
    return ns
