"""The system's clock, time zones, and the sun, also where it does not rise or set."""

from __future__ import annotations

import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

import pytest

from pe_stream.config import HoursSettings, LocationSettings
from pe_stream.config.local_time import LocalTime
from pe_stream.core.hours import WeeklySpan
from pe_stream.errors import ConfigError


def span(begin: str, end: str) -> WeeklySpan:
    return HoursSettings.model_validate({"from": begin, "to": end}).span


def place(latitude: float, longitude: float, zone: str | None = None) -> LocalTime:
    return LocalTime(LocationSettings(latitude=latitude, longitude=longitude, timezone=zone))


def utc(text: str) -> datetime:
    return datetime.fromisoformat(text).replace(tzinfo=UTC)


@pytest.fixture
def berlin_time(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setenv("TZ", "Europe/Berlin")
    time.tzset()
    yield
    monkeypatch.undo()
    time.tzset()


def test_the_sun_of_a_place() -> None:
    """Berlin on 2026-06-21: 4:43 to 21:33 (timeanddate.com)."""
    berlin = place(52.52, 13.405, "Europe/Berlin")
    day = span("sunrise", "sunset")
    for clock, light in [("02:41", False), ("02:46", True), ("19:30", True), ("19:36", False)]:
        assert berlin.holds(day, utc(f"2026-06-21T{clock}")) is light


@pytest.mark.usefixtures("berlin_time")
def test_the_systems_zone_with_its_changes() -> None:
    here = LocalTime(LocationSettings())
    night = span("22:00", "06:00")
    for at, dark in [
        ("2026-03-28T20:59", False),
        ("2026-03-28T21:00", True),  # winter time: 22:00
        ("2026-03-29T03:59", True),  # summer time: 5:59
        ("2026-03-29T04:00", False),
        ("2026-10-24T20:00", True),
        ("2026-10-25T04:59", True),
        ("2026-10-25T05:00", False),
    ]:
        assert here.holds(night, utc(at)) is dark, at
    assert here.at(utc("2026-06-21T12:00")).hour == 14
    assert place(52.52, 13.405).holds(span("sunset", "sunrise"), utc("2026-06-21T19:36"))


def test_a_sun_that_never_sets_and_one_that_never_rises() -> None:
    tromso = place(69.65, 18.96, "Europe/Oslo")
    night, day = span("sunset", "sunrise"), span("sunrise", "sunset")
    for minute in range(0, 3 * 1440, 7):
        june, december = (
            utc(text) + timedelta(minutes=minute) for text in ("2026-06-20", "2026-12-20")
        )
        assert not tromso.holds(night, june)
        assert tromso.holds(day, june)
        assert tromso.holds(night, december)
        assert not tromso.holds(day, december)


def test_the_ends_of_the_polar_night_are_dark() -> None:
    """The sun is just below the horizon at noon: refraction does not count twice."""
    tromso = place(69.65, 18.96, "Europe/Oslo")
    for day in ("2026-11-28", "2026-11-30", "2027-01-13", "2027-01-14"):
        for hour in range(0, 24, 3):
            at = utc(f"{day}T{hour:02}:00")
            assert tromso.holds(span("sunset", "sunrise"), at), at


@pytest.mark.parametrize("latitude", [-90.0, -70.0, 0.0, 64.1, 66.0, 69.65, 78.0, 90.0])
@pytest.mark.parametrize("longitude", [-180.0, -21.9, 0.0, 180.0])
def test_the_sun_is_known_on_every_day_anywhere(latitude: float, longitude: float) -> None:
    local = place(latitude, longitude, "UTC")
    night, day = span("sunset", "sunrise"), span("sunrise", "sunset")
    for number in range(0, 365, 4):
        at = utc("2026-01-01T12:00") + timedelta(days=number)
        assert local.holds(night, at) in (True, False)
        assert local.holds(day, at) in (True, False)


def test_a_place_is_needed_for_the_sun_alone() -> None:
    nowhere = LocalTime(LocationSettings(timezone="Asia/Tokyo"))
    assert nowhere.holds(span("22:00", "06:00"), utc("2026-11-21T13:00"))
    with pytest.raises(ConfigError, match="sunrise and sunset need `location`"):
        nowhere.holds(span("22:00", "sunrise"), utc("2026-11-21T13:00"))
