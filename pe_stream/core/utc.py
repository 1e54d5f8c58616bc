"""UTC as the contracts write it, and as nanoseconds since 1970."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def utc_text(moment: datetime) -> str:
    """ISO 8601 with milliseconds and `Z` of a moment (aware): 2026-11-21T02:15:49.320Z.

    Milliseconds are cut off, not rounded. Raises OverflowError for what no calendar has.
    """
    told = moment.astimezone(UTC).isoformat(timespec="milliseconds")
    return told.replace("+00:00", "Z")


def utc_moment(ns: int) -> datetime:
    """The moment of nanoseconds since 1970, cut off to microseconds."""
    return _EPOCH + timedelta(microseconds=ns // 1000)


def utc_ns(moment: datetime) -> int:
    """Nanoseconds since 1970 of a moment (aware). Raises OverflowError, as `utc_text` does."""
    return (moment.astimezone(UTC) - _EPOCH) // timedelta(microseconds=1) * 1000
