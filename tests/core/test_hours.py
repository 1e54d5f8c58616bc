"""Spans of local time: days, midnight, the sun, and the two nights on which clocks change."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta, timezone
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pe_stream.core.hours import Base, TimeOfDay, WeeklySpan, holds

BERLIN = ZoneInfo("Europe/Berlin")
EVERY = range(7)


def span(begin: str, end: str, days: range | set[int] = EVERY) -> WeeklySpan:
    return WeeklySpan(frozenset(days), TimeOfDay.parse(begin), TimeOfDay.parse(end))


def local(text: str, *, fold: int = 0) -> datetime:
    return datetime.fromisoformat(text).replace(tzinfo=BERLIN, fold=fold)


def no_sun(_: date) -> tuple[datetime, datetime]:
    raise AssertionError


def sun(rises: int, sets: int) -> object:
    """A sun that rises and sets at these hours of Berlin."""

    def of(day: date) -> tuple[datetime, datetime]:
        midnight = datetime(day.year, day.month, day.day, tzinfo=BERLIN)
        return midnight + timedelta(hours=rises), midnight + timedelta(hours=sets)

    return of


def during(each: WeeklySpan, at: datetime, by: object = no_sun) -> bool:
    return holds(each, at.astimezone(UTC), BERLIN, by)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("text", "base", "minutes"),
    [
        ("00:00", Base.MIDNIGHT, 0),
        ("7:05", Base.MIDNIGHT, 425),
        ("22:00", Base.MIDNIGHT, 1320),
        ("24:00", Base.MIDNIGHT, 1440),
        ("sunrise", Base.SUNRISE, 0),
        ("sunset-00:30", Base.SUNSET, -30),
        ("sunrise+1:15", Base.SUNRISE, 75),
    ],
)
def test_times_of_day(text: str, base: Base, minutes: int) -> None:
    assert TimeOfDay.parse(text) == TimeOfDay(base, timedelta(minutes=minutes))


@pytest.mark.parametrize("text", ["24:01", "7", "noon", "sunset-12:00", "22:60", "-1:00", "22:00 "])
def test_what_is_no_time_of_day(text: str) -> None:
    with pytest.raises(ValueError, match="not a time of day"):
        TimeOfDay.parse(text)


def test_the_end_is_not_part_of_it() -> None:
    each = span("09:00", "17:00")
    assert not during(each, local("2026-11-21T08:59:59"))
    assert during(each, local("2026-11-21T09:00:00"))
    assert during(each, local("2026-11-21T16:59:59"))
    assert not during(each, local("2026-11-21T17:00:00"))


def test_over_midnight_it_belongs_to_the_day_it_begins_on() -> None:
    friday = span("22:00", "06:00", {4})
    assert during(friday, local("2026-11-20T23:00"))
    assert during(friday, local("2026-11-21T05:59"))
    assert not during(friday, local("2026-11-21T06:00"))
    assert not during(friday, local("2026-11-20T05:00")), "that is Thursday's"
    assert not during(friday, local("2026-11-21T23:00"))


def test_until_midnight() -> None:
    sunday = span("22:00", "24:00", {6})
    assert during(sunday, local("2026-11-22T23:59:59"))
    assert not during(sunday, local("2026-11-23T00:00"))


@pytest.mark.parametrize("time", ["00:00", "08:00"])
def test_the_same_twice_is_a_whole_day(time: str) -> None:
    saturday = span(time, time, {5})
    begin = local(f"2026-11-21T{time}")
    assert not during(saturday, begin - timedelta(seconds=1))
    assert during(saturday, begin)
    assert during(saturday, begin + timedelta(hours=23, minutes=59))
    assert not during(saturday, begin + timedelta(hours=24))


def test_a_night_an_hour_shorter() -> None:
    """On 2026-03-29 02:00 becomes 03:00."""
    before, after = local("2026-03-29T01:59:59"), local("2026-03-29T03:00:00")
    assert (after.astimezone(UTC) - before.astimezone(UTC)).seconds == 1
    assert during(span("22:00", "06:00"), after)
    assert not during(span("22:00", "06:00"), local("2026-03-29T06:00"))
    late = span("02:30", "05:00")
    assert not during(late, before)
    assert during(late, after)
    small = span("02:30", "03:30")  # of which half an hour is left
    assert not during(small, before)
    assert during(small, after)
    assert during(small, local("2026-03-29T03:29:59"))
    assert not during(small, local("2026-03-29T03:30"))
    evening = span("22:00", "02:30")
    assert during(evening, before)
    assert not during(evening, after), "it is past 02:30"
    for minute in range(0, 24 * 60, 10):  # begins as it ends, and not for a day
        at = local("2026-03-29T00:00").astimezone(UTC) + timedelta(minutes=minute)
        assert not during(span("02:15", "03:00"), at)


@pytest.mark.parametrize(
    ("zone", "day"),
    [
        ("Europe/Berlin", "2026-03-29"),
        ("America/New_York", "2026-03-08"),
        ("Australia/Lord_Howe", "2026-10-04"),  # half an hour
        ("America/Santiago", "2026-09-06"),  # at midnight
        ("Africa/Casablanca", "2026-03-22"),
        ("Pacific/Apia", "2011-12-30"),  # a whole day
    ],
)
def test_on_the_day_that_clocks_are_put_forward_spans_are_as_the_clock_shows(
    zone: str, day: str
) -> None:
    """The slow twin, minute by minute, of every span of whole quarters within a day."""
    there = ZoneInfo(zone)
    midnight = datetime.fromisoformat(day)
    begun = midnight.replace(tzinfo=there, fold=1).astimezone(UTC) - timedelta(hours=1)
    moments = [begun + timedelta(minutes=minute) for minute in range(27 * 60)]
    shown = [at.astimezone(there).replace(tzinfo=None) for at in moments]
    for begin, end in [(9, 11), (10, 14), (0, 2), (0, 1), (8, 96), (1, 12), (10, 11), (0, 96)]:
        each = WeeklySpan(
            frozenset({midnight.weekday()}),
            TimeOfDay(Base.MIDNIGHT, timedelta(minutes=15 * begin)),
            TimeOfDay(Base.MIDNIGHT, timedelta(minutes=15 * end)),
        )
        first, last = (midnight + timedelta(minutes=15 * quarter) for quarter in (begin, end))
        for at, clock in zip(moments, shown, strict=True):
            assert holds(each, at, there, no_sun) is (first <= clock < last), (begin, end, at)


def test_a_night_an_hour_longer() -> None:
    """On 2026-10-25 03:00 becomes 02:00: what is between comes twice."""
    night = span("22:00", "02:30")
    assert during(night, local("2026-10-25T02:29"))
    assert not during(night, local("2026-10-25T02:30"))
    assert not during(night, local("2026-10-25T02:15", fold=1)), "it does not begin again"
    small = span("02:30", "03:00")
    assert during(small, local("2026-10-25T02:30"))
    assert during(small, local("2026-10-25T02:00", fold=1))
    assert during(small, local("2026-10-25T02:59", fold=1))
    assert not during(small, local("2026-10-25T03:00"))


def test_by_the_sun() -> None:
    night = span("sunset-00:30", "sunrise+01:00")
    by = sun(7, 17)
    for time, there in [("16:29", False), ("16:30", True), ("23:59", True)]:
        assert during(night, local(f"2026-11-20T{time}"), by) is there
    assert during(night, local("2026-11-21T07:59"), by)
    assert not during(night, local("2026-11-21T08:00"), by)


@pytest.mark.parametrize(
    ("begin", "end", "next_day"),
    [
        ("sunset", "sunrise", True),
        ("sunrise", "sunset", False),
        ("sunset", "06:00", True),
        ("sunset", "21:00", False),
        ("sunset", "24:00", False),
        ("22:00", "sunrise", True),
        ("05:00", "sunrise", False),
        ("sunrise", "02:00", True),
        ("sunrise", "sunrise+01:00", False),
        ("sunset", "sunset-01:00", True),
        ("sunset", "sunset", True),
        ("sunset", "sunset+02:00", False),
    ],
)
def test_whether_it_goes_over_midnight_is_the_same_all_year(
    begin: str, end: str, *, next_day: bool
) -> None:
    assert span(begin, end).over_midnight is next_day


def test_what_ends_before_it_begins_is_empty_that_day() -> None:
    evening = span("sunset", "21:00")
    for hour in range(24):
        assert not during(evening, local(f"2026-06-21T{hour:02}:30"), sun(4, 22))
    assert during(evening, local("2026-12-21T20:30"), sun(8, 16))


def test_a_zone_of_no_changes() -> None:
    east = timezone(timedelta(hours=5, minutes=30))
    each = span("22:00", "06:00")
    assert holds(each, datetime(2026, 11, 20, 16, 30, tzinfo=UTC), east, no_sun)
    assert not holds(each, datetime(2026, 11, 20, 16, 29, tzinfo=UTC), east, no_sun)


@given(
    st.integers(0, 1439),
    st.integers(0, 1440),
    st.integers(0, 6),
    st.datetimes(datetime(2026, 1, 1), datetime(2027, 12, 31)),  # noqa: DTZ001 - strategy's
)
def test_as_the_clock_on_the_wall_shows(begin: int, end: int, day: int, at: datetime) -> None:
    """The slow twin, in a zone whose clocks never change."""

    def text(minutes: int) -> str:
        return f"{minutes // 60:02}:{minutes % 60:02}"

    def within(clock: int, weekday: int) -> bool:
        if end > begin:
            return weekday == day and begin <= clock < end
        evening = weekday == day and clock >= begin
        return evening or (weekday == (day + 1) % 7 and clock < end)

    expected = within(at.hour * 60 + at.minute, at.weekday())
    each = span(text(begin), text(end), {day})
    assert holds(each, at.replace(tzinfo=UTC), UTC, no_sun) is expected
