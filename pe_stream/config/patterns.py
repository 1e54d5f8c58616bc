"""Settings of patterns, and of thresholds that follow the room."""

from __future__ import annotations

from math import floor
from typing import Annotated, Any, Self

from pydantic import AfterValidator, BeforeValidator, ConfigDict, Field, model_validator

from pe_stream.config.values import Section, nearest_frame
from pe_stream.core.patterns.rhythm import SHORTEST_S
from pe_stream.core.types import Follow, Pattern, Repetition, Rhythm, Sequence

RHYTHMS = {
    "T3": (0.5, 0.5, 0.5, 0.5, 0.5, 1.5),
    "T4": (0.1, 0.1, 0.1, 0.1, 0.1, 0.1, 0.1, 5.0),
}
"""Smoke alarms (ISO 8201) and carbon monoxide alarms (UL 2034): seconds on, off, on, ..."""

RHYTHM_THRESHOLD = 0.02
"""Threshold of a label with a rhythm that has none: at 0 dB over a background, the embedded
checkpoint gives an alarm 0.04 and more. It is the rhythm that decides."""

_LONGEST_CYCLE_S = 30.0
_LONGEST_S = 600.0
_KINDS = ("times", "rhythm", "then")


def _range(value: tuple[float, float]) -> tuple[float, float]:
    if value[0] > value[1]:
        raise ValueError(f"the least ({value[0]:g}) is above the most ({value[1]:g})")
    return value


def _rhythm(value: object) -> object:
    if not isinstance(value, str):
        return value
    if value.upper() not in RHYTHMS:
        known = " or ".join(RHYTHMS)
        raise ValueError(
            f"there is no rhythm {value!r}: give {known}, or the seconds of sound, silence, "
            "sound, ... silence"
        )
    return RHYTHMS[value.upper()]


def _beats(value: tuple[float, ...]) -> tuple[float, ...]:
    if len(value) % 2:
        raise ValueError("a rhythm ends with its pause: give an even number of seconds")
    if sum(value) > _LONGEST_CYCLE_S:
        raise ValueError(
            f"one cycle lasts {sum(value):g} s, and may last {_LONGEST_CYCLE_S:g} s at most"
        )
    if value[-1] < max(value[1:-1:2], default=0.0):
        raise ValueError("the pause at the end must be the longest: begin the rhythm after it")
    return value


Range = Annotated[
    tuple[Annotated[float, Field(ge=0)], Annotated[float, Field(ge=0, le=_LONGEST_S)]],
    Field(strict=False),
    AfterValidator(_range),
]
"""The least and the most (s)."""

Beats = Annotated[
    tuple[Annotated[float, Field(ge=SHORTEST_S)], ...],
    Field(strict=False, min_length=2, max_length=40),
    AfterValidator(_beats),
    BeforeValidator(
        _rhythm,
        json_schema_input_type=Annotated[str, Field(json_schema_extra={"enum": [*RHYTHMS]})]
        | Annotated[
            list[Annotated[float, Field(ge=SHORTEST_S)]], Field(min_length=2, max_length=40)
        ],
    ),
]
"""A rhythm by its name, or its seconds of sound, silence, sound, ... silence."""


class PatternSettings(Section):
    """What sounds must form to make an event; one of `times`, `rhythm` and `then`."""

    model_config = ConfigDict(json_schema_extra={"oneOf": [{"required": [key]} for key in _KINDS]})

    times: Annotated[int, Field(ge=2, le=100)] | None = None
    """So many sounds of the label, or more."""

    rhythm: Beats | None = None
    """A tone in this rhythm: T3 (smoke), T4 (carbon monoxide), or seconds of sound, silence, ..."""

    then: str | None = None
    """An event of this label after a sound of the label itself."""

    within_s: Annotated[float, Field(gt=0, le=_LONGEST_S)] | None = None
    """Seconds: with `times`, from the first onset to the last end; with `then`, from the end of
    the sound to the onset of the event after it."""

    length_s: Range | None = None
    """With `times`: how short and how long one may be; default: any length."""

    gap_s: Range | None = None
    """With `times`: silence from one to the next; default: any, within `within_s`."""

    tolerance: Annotated[float, Field(ge=0.01, le=0.2)] | None = None
    """With `rhythm`: by which part it may be slower or faster; default: 0.1."""

    cycles: Annotated[int, Field(ge=1, le=20)] | None = None
    """With `rhythm`: so often it must be heard before it counts, a faint one half; default: 2."""

    @property
    def core(self) -> Pattern:
        """The same for the core, in its units."""
        if self.rhythm is not None:
            return Rhythm(self.rhythm, self.tolerance or 0.1, self.cycles or 2)
        within = nearest_frame(self.within_s or 0.0)
        if self.then is not None:
            return Sequence(self.then, within)
        anything = Repetition(self.times or 2, within)
        return Repetition(
            anything.times,
            within,
            anything.length if self.length_s is None else _frames(self.length_s),
            anything.gap if self.gap_s is None else _frames(self.gap_s),
        )

    @model_validator(mode="after")
    def _of_one_kind(self) -> Self:
        kinds = [key for key in _KINDS if getattr(self, key) is not None]
        if len(kinds) != 1:
            raise ValueError("give exactly one of times, rhythm and then")
        mine = {
            "times": {"within_s", "length_s", "gap_s"},
            "rhythm": {"tolerance", "cycles"},
            "then": {"within_s"},
        }
        for key in sorted(set().union(*mine.values()) - mine[kinds[0]]):
            if getattr(self, key) is not None:
                of = " or ".join(kind for kind in _KINDS if key in mine[kind])
                raise ValueError(f"{key} belongs to {of}, not to {kinds[0]}")
        if "within_s" in mine[kinds[0]] and self.within_s is None:
            raise ValueError(f"{kinds[0]} needs within_s")
        return self

    @model_validator(mode="after")
    def _in_time(self) -> Self:
        if self.times is not None and self.within_s is not None:
            least = self.times * (self.length_s or (0.0,))[0]
            least += (self.times - 1) * (self.gap_s or (0.0,))[0]
            if least > self.within_s:
                raise ValueError(
                    f"{self.times} times take {least:g} s or more: they never are within "
                    f"{self.within_s:g} s"
                )
        return self


class FollowSettings(Section):
    """How a threshold follows the room."""

    quantile: Annotated[float, Field(ge=0.5, le=0.9999)] = 0.999
    """Part of the background's scores that the threshold stays above."""

    margin: Annotated[float, Field(ge=0, le=10)] = 0.5
    """By how much it does, in units of the logit: 0.5 makes 0.62 of 0.5, and 0.94 of 0.9."""

    window_s: Annotated[float, Field(ge=60, le=86400)] = 3600.0
    """Seconds of background that count, in whole minutes."""

    highest: Annotated[float, Field(gt=0, lt=1)] = 0.95
    """Threshold beyond which it never goes."""

    @property
    def core(self) -> Follow:
        """The same for the core, in its units."""
        return Follow(self.quantile, self.margin, floor(self.window_s / 60), self.highest)


def _as_rhythm(value: object) -> object:
    return {"rhythm": value} if isinstance(value, str | list | tuple) else value


def _as_section(value: object) -> Any:
    return {True: FollowSettings(), False: None}[value] if isinstance(value, bool) else value


PatternKey = Annotated[
    PatternSettings | None,
    BeforeValidator(
        _as_rhythm,
        json_schema_input_type=Annotated[str, Field(json_schema_extra={"enum": [*RHYTHMS]})]
        | Annotated[
            list[Annotated[float, Field(ge=SHORTEST_S)]], Field(min_length=2, max_length=40)
        ]
        | PatternSettings
        | None,
    ),
]
"""A pattern; a rhythm alone stands for it."""

FollowKey = Annotated[
    FollowSettings | None,
    BeforeValidator(_as_section, json_schema_input_type=bool | FollowSettings | None),
]
"""How a threshold follows the room; true is with the defaults, false is not."""


def _frames(seconds: tuple[float, float]) -> tuple[int, int]:
    return nearest_frame(seconds[0]), nearest_frame(seconds[1])
