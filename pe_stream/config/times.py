"""Settings of times: spans of local time, and the place on earth that they are of."""

from __future__ import annotations

from typing import Annotated, Literal, Self
from zoneinfo import ZoneInfo, available_timezones

from pydantic import AfterValidator, BeforeValidator, Field, model_validator
from pydantic_core import PydanticCustomError

from pe_stream.config.values import Matching, Section, Text, listed
from pe_stream.core.hours import TIME_OF_DAY, TimeOfDay, WeeklySpan

_WEEK = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")
_DAYS = {day: {number} for number, day in enumerate(_WEEK)}
_DAYS |= {"weekdays": set(range(5)), "weekend": {5, 6}}

Day = Literal["mon", "tue", "wed", "thu", "fri", "sat", "sun", "weekdays", "weekend"]

TimeText = Annotated[
    str,
    Matching(TIME_OF_DAY, 'a time like "22:00", sunrise, sunset, "sunset-00:30", "sunrise+01:00"'),
]
"""A time of day."""


def _timezone(name: str) -> str:
    try:
        ZoneInfo(name)
    except (KeyError, ValueError, OSError):  # of no zone, of a path outside, of a folder
        raise PydanticCustomError(
            "unknown_timezone",
            "there is no time zone {name}: give one like Europe/Berlin",
            {"name": repr(name), "known": ", ".join(sorted(available_timezones()))},
        ) from None
    return name


class LocationSettings(Section):
    """Where the house is, for times of day."""

    latitude: Annotated[float, Field(ge=-90, le=90)] | None = None
    """Degrees north of the equator, negative south of it; for sunrise and sunset."""

    longitude: Annotated[float, Field(ge=-180, le=180)] | None = None
    """Degrees east of Greenwich, negative west of it; for sunrise and sunset."""

    timezone: Annotated[Text, AfterValidator(_timezone)] | None = None
    """Name of the time zone, as in Europe/Berlin; default: the system's."""

    @property
    def has_sun(self) -> bool:
        """Whether it is known when the sun rises and sets."""
        return self.latitude is not None

    @model_validator(mode="after")
    def _both_or_none(self) -> Self:
        if (self.latitude is None) != (self.longitude is None):
            raise ValueError("latitude and longitude belong together: give both, or none")
        return self


class HoursSettings(Section):
    """A span of local time, on days of the week. Without keys: always."""

    days: Annotated[
        tuple[Day, ...],
        Field(strict=False, min_length=1),
        BeforeValidator(
            listed,
            json_schema_input_type=Day | Annotated[list[Day], Field(min_length=1)],
        ),
    ] = _WEEK  # type: ignore[assignment] # each is a Day
    """Days on which the span begins: `mon` to `sun`, `weekdays`, `weekend`, or a list of these;
    default: every day."""

    begin: TimeText = Field(default="00:00", alias="from")
    """When it begins: a time like "22:00", sunrise, sunset, "sunset-00:30", "sunrise+01:00"."""

    end: TimeText = Field(default="24:00", alias="to")
    """When it ends, on the next day where that is not after `from`; the same: a whole day."""

    @property
    def span(self) -> WeeklySpan:
        """The same for `pe_stream.core.hours`."""
        days = frozenset().union(*(_DAYS[day] for day in self.days))
        return WeeklySpan(days, TimeOfDay.parse(self.begin), TimeOfDay.parse(self.end))
