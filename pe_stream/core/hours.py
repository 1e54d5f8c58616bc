"""Spans of local time: on which days, from when to when, by the clock or by the sun.

A span belongs to the day on which it begins. A time of the clock that comes twice is its first
one; one that is left out, as clocks are put forward, is the moment at which they are: of a span
what is left of it on the clock counts, and it ends when the clock is past its end.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta, tzinfo
from enum import StrEnum
from typing import Self

Sun = Callable[[date], tuple[datetime, datetime]]
"""When the sun rises and sets on a day of local time (aware)."""

TIME_OF_DAY = (
    r"([01]?[0-9]|2[0-3]):[0-5][0-9]|24:00|(sunrise|sunset)([+-](0?[0-9]|1[01]):[0-5][0-9])?"
)
"""Text of a time of day: 7:00, 22:00, 24:00, sunset, sunrise+01:00."""


class Base(StrEnum):
    """Reference of a time of day."""

    MIDNIGHT = "midnight"
    SUNRISE = "sunrise"
    SUNSET = "sunset"


_RANGE = {
    Base.MIDNIGHT: (timedelta(0), timedelta(0)),
    Base.SUNRISE: (timedelta(hours=3), timedelta(hours=10)),
    Base.SUNSET: (timedelta(hours=15), timedelta(hours=23)),
}
"""Between which times of the clock each lies, where most people live."""


@dataclass(frozen=True, slots=True)
class TimeOfDay:
    """A time of a day: so much after its base, or before it."""

    base: Base
    shift: timedelta

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read what matches TIME_OF_DAY; raises ValueError otherwise."""
        if re.fullmatch(TIME_OF_DAY, text) is None:
            raise ValueError(f"not a time of day: {text!r}")
        word, sign, clock = re.fullmatch(r"([a-z]*)([+-]?)(.*)", text).groups()  # type: ignore[union-attr] # matches all
        hours, _, minutes = (clock or "0:0").partition(":")
        shift = timedelta(hours=int(hours), minutes=int(minutes))
        return cls(Base(word or Base.MIDNIGHT), -shift if sign == "-" else shift)

    @property
    def range(self) -> tuple[timedelta, timedelta]:
        """The earliest and the latest that it is to be expected, after midnight."""
        earliest, latest = _RANGE[self.base]
        return earliest + self.shift, latest + self.shift


@dataclass(frozen=True, slots=True)
class WeeklySpan:
    """A span from `begin` to `end`, exclusive, on days of the week (0 is Monday)."""

    days: frozenset[int]
    begin: TimeOfDay
    end: TimeOfDay

    @property
    def by_the_sun(self) -> bool:
        """Whether it takes a place on earth to know it."""
        return {self.begin.base, self.end.base} != {Base.MIDNIGHT}

    @property
    def over_midnight(self) -> bool:
        """Whether it ends on the day after; one that ends as it begins lasts a whole day.

        Where one end is by the sun this is the same in every season: from sunset to 21:00 ends
        on the same day, hence is empty while the sun sets later.
        """
        if self.begin.base is self.end.base:
            return self.end.shift <= self.begin.shift
        return self.end.range[1] <= self.begin.range[0]


def holds(span: WeeklySpan, at: datetime, zone: tzinfo | None, sun: Sun) -> bool:
    """Whether `at` (aware) is within the span.

    zone: what local time is; None is the system's. sun: asked only where the span goes by it.
    """
    today = at.astimezone(zone).date()
    for days_ago in (-1, 0, 1, 2):  # a shifted sunrise may be the day before, an end two days after
        day = today - timedelta(days=days_ago)
        if day.weekday() in span.days:
            last = day + timedelta(days=span.over_midnight)
            begin, end = _moment(span.begin, day, zone, sun), _moment(span.end, last, zone, sun)
            if begin <= at < end:
                return True
    return False


def _moment(time: TimeOfDay, day: date, zone: tzinfo | None, sun: Sun) -> datetime:
    """A time of a day, in UTC."""
    if time.base is Base.MIDNIGHT:
        clock = datetime(day.year, day.month, day.day) + time.shift  # noqa: DTZ001 - gets it below
        return _utc(clock, zone)
    rises, sets = sun(day)
    return (rises if time.base is Base.SUNRISE else sets).astimezone(UTC) + time.shift


def _utc(clock: datetime, zone: tzinfo | None) -> datetime:
    """When a clock of the zone first shows `clock` (naive), or something later."""
    found = clock.replace(tzinfo=zone).astimezone(UTC)
    if _shown(found, zone) <= clock:
        return found
    # Left out: the offset of before puts it after the change, that of after before it.
    before, after = clock.replace(tzinfo=zone, fold=1).astimezone(UTC), found
    while after - before > timedelta(seconds=1):
        between = before + (after - before) // 2
        if _shown(between, zone) < clock:
            before = between
        else:
            after = between
    return after.replace(microsecond=0)


def _shown(moment: datetime, zone: tzinfo | None) -> datetime:
    """What clocks of the zone show then (naive)."""
    return moment.astimezone(zone).replace(tzinfo=None)
