"""Times that are asked for, and told: what no calendar has is answered with 422."""

from __future__ import annotations

from datetime import datetime

from fastapi import HTTPException

from pe_stream.core.utc import utc_moment, utc_ns, utc_text


def utc(moment: datetime) -> str:
    """ISO 8601 with milliseconds and `Z`. Answers 422 for what no calendar has."""
    try:
        return utc_text(moment)
    except OverflowError:
        raise HTTPException(422, "a time that is beyond the calendar") from None


def utc_or_none(moment: datetime | None) -> str | None:
    """The same, where there is a moment."""
    return None if moment is None else utc(moment)


def utc_of(ns: int) -> str:
    """The same of nanoseconds since 1970."""
    return utc_text(utc_moment(ns))


def ns_of(moment: datetime) -> int:
    """Nanoseconds since 1970, within 64 bits. Answers 422 for a time that nothing was heard at."""
    try:
        ns = utc_ns(moment)
    except OverflowError:
        ns = -1
    if not 0 <= ns < 2**63:
        raise HTTPException(422, "a time that is beyond the calendar")
    return ns
