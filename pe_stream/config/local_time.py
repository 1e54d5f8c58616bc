"""Local time: the system's clock, the time zone and the sun of a place."""

from __future__ import annotations

from datetime import UTC, date, datetime, time, timedelta, tzinfo
from functools import lru_cache
from zoneinfo import ZoneInfo

from astral import Observer
from astral import sun as astral_sun

from pe_stream.config import LocationSettings
from pe_stream.core.hours import WeeklySpan, holds
from pe_stream.core.relative_time import ago
from pe_stream.core.utc import utc_text
from pe_stream.errors import ConfigError, UsageError

HORIZON = -0.833
"""Elevation of the sun's middle as it rises and sets (degrees): its radius, and refraction."""


SINCE = "a time (2026-11-21, 2026-11-21T08:00Z) or how long ago (90m, 24h, 7d)"


def now() -> datetime:
    """What time it is (UTC)."""
    return datetime.now(UTC)


def moment(text: str, now: datetime, option: str = "--since") -> str:
    """UTC, as events have it, of a time or of a length of time before `now`.

    A time without a zone is that of this machine. Raises UsageError, which names the option.
    """
    try:
        when = ago(text, now) or datetime.fromisoformat(text.strip()).astimezone()
        return utc_text(when)
    except (ValueError, OverflowError):
        raise UsageError(f"{option} {text!r}: not {SINCE}") from None


class LocalTime:
    """The time at a place; safe to use from any thread.

    Where the sun does not set on a day, it counts as rising and setting at midnight: the day is
    all light. Where it does not rise, it rises and sets at noon: the day is all night.
    """

    def __init__(self, location: LocationSettings) -> None:
        """Take the place."""
        self.zone: tzinfo | None = ZoneInfo(location.timezone) if location.timezone else None
        self._location = location
        self._sun = lru_cache(maxsize=32)(self._rises_and_sets)

    def at(self, moment: datetime) -> datetime:
        """A moment (aware) as the clocks there show it."""
        return moment.astimezone(self.zone)

    def holds(self, span: WeeklySpan, at: datetime) -> bool:
        """Whether `at` (aware) is within the span.

        Raises ConfigError where the span goes by the sun and the place is not known.
        """
        if span.by_the_sun and not self._location.has_sun:
            raise ConfigError("sunrise and sunset need `location`, with latitude and longitude")
        return holds(span, at, self.zone, self._sun)

    def _rises_and_sets(self, day: date) -> tuple[datetime, datetime]:
        place = Observer(self._location.latitude or 0.0, self._location.longitude or 0.0)
        midday = datetime.combine(day, time(12))
        zone = midday.replace(tzinfo=self.zone).astimezone(self.zone).tzinfo or UTC
        noon = astral_sun.noon(place, day, tzinfo=zone)
        light = astral_sun.elevation(place, noon, with_refraction=False) > HORIZON
        midnight = midday.replace(hour=0, tzinfo=zone)
        try:
            rises = astral_sun.sunrise(place, day, tzinfo=zone)
        except ValueError:
            rises = midnight if light else noon
        try:
            sets = astral_sun.sunset(place, day, tzinfo=zone)
        except ValueError:
            sets = midnight + timedelta(days=1) if light else noon
        return rises, sets
