"""Schemas of the API's requests and answers."""

from __future__ import annotations

from datetime import UTC, datetime
from types import UnionType
from typing import TYPE_CHECKING, Annotated, Any, Literal, Union, get_args, get_origin

from pydantic import (
    AwareDatetime,
    BaseModel,
    ConfigDict,
    Field,
    ValidationError,
    ValidatorFunctionWrapHandler,
    WithJsonSchema,
    WrapValidator,
    create_model,
)
from pydantic_core import PydanticCustomError

from pe_stream.config.labels import LabelSettings, Probability
from pe_stream.core.prompt_words import HintKind
from pe_stream.core.relative_time import PATTERN, ago
from pe_stream.core.types import SMOOTHEST_S

_NO_MOMENT = "not a time with its zone (2026-11-21T08:00Z) or how long ago (90m, 24h, 7d)"


def _moment(value: Any, usual: ValidatorFunctionWrapHandler) -> Any:
    try:
        return (isinstance(value, str) and ago(value, datetime.now(UTC))) or usual(value)
    except (ValidationError, OverflowError):
        raise PydanticCustomError("moment", _NO_MOMENT) from None


Moment = Annotated[
    AwareDatetime,
    WrapValidator(_moment),
    WithJsonSchema(
        {
            "anyOf": [
                {"type": "string", "format": "date-time"},
                {"type": "string", "pattern": f"^{PATTERN}$"},
            ],
            "description": "A time with its zone, or how long ago: seconds, minutes, hours, days "
            "or weeks, as in 90m, 24h, 7d.",
            "examples": ["2026-11-21T08:00:00Z", "24h"],
        }
    ),
]
"""A time with its zone, or how long ago that was when it was asked."""

Name = Annotated[str, Field(max_length=100)]
Texts = Annotated[list[Annotated[str, Field(max_length=500)]], Field(max_length=50)]
Version = Annotated[str, Field(description="what tells this configuration from any other")]


class ErrorDetail(BaseModel):
    """What went wrong, in a sentence for people."""

    detail: str


class Session(BaseModel):
    """Whether one has to log in, and has."""

    required: bool
    authenticated: bool


class Password(BaseModel):
    """To log in with."""

    model_config = ConfigDict(extra="forbid")
    password: Annotated[str, Field(max_length=1000)]


class BrokerState(BaseModel):
    """The way to the broker."""

    connected: bool
    waiting: int


class ConfigState(BaseModel):
    """The file that labels are edited in."""

    path: str | None
    writable: bool
    reason: str | None


class Info(BaseModel):
    """What this is. event_search: whether events can be searched by words."""

    node: str
    version: str
    checkpoint: str
    frame_s: float
    timezone: str | None
    store: str | None
    history: bool
    search: bool
    event_search: bool
    clips: bool
    listen: bool
    broker: BrokerState
    resources: str
    config: ConfigState


class Liveness(BaseModel):
    """Whether the daemon does its work. What is wrong is told to those who have logged in."""

    status: Literal["ok", "failing"]


class LevelState(BaseModel):
    """The level of a source up to a moment, over so many seconds: its mean and its peak.

    Plain and A-weighted, in dBFS, -120 and more.
    """

    at: str
    seconds: float
    mean_dbfs: float
    peak_dbfs: float
    a_mean_dbfs: float
    a_peak_dbfs: float


class SourceHealth(BaseModel):
    """What a source has heard so far; seconds, by the count of its samples.

    sound_level: of the last second; null while there is none, or where it is not measured.
    second_opinion: "ok", or why there are none at present; null where nobody is asked.
    picture: "ok", or why there is none at present; null where it is not looked at.
    """

    name: str
    state: Literal["starting", "hearing", "flat", "lost"]
    since: str
    heard_s: float
    lost_s: float
    flat_s: float
    clipped_s: float
    level_dbfs: float | None
    rtf: float | None
    breaks_per_minute: float
    engine: str
    engine_away_s: float
    second_opinion: str | None
    picture: str | None
    labels: list[str]
    gain_db: float
    highpass_hz: float | None
    lowpass_hz: float | None
    sound_level: LevelState | None = None


class Sources(BaseModel):
    """All sources."""

    sources: list[SourceHealth]


class RuleState(BaseModel):
    """What is in force for a label of a source."""

    threshold: float
    off_threshold: float
    smooth_s: float
    enabled: bool


def _as_json(kind: Any) -> Any:
    """A setting's type without its bounds, as JSON has it: sections are objects."""
    if get_origin(kind) is Annotated:
        return _as_json(get_args(kind)[0])
    if get_origin(kind) is tuple:
        return list[_as_json(get_args(kind)[0])]  # type: ignore[misc]  # made as it runs
    if get_origin(kind) in (Union, UnionType):
        return Union[tuple(map(_as_json, get_args(kind)))]  # noqa: UP007 - made as it runs
    if isinstance(kind, type) and issubclass(kind, BaseModel):
        return dict[str, Any]
    return kind


_KEYS = LabelSettings.model_fields
_WORDS = ("prompts", "negatives", "examples", "background")
"""Keys of a label that the API tells first."""


def _told(key: str) -> Any:
    return _as_json(_KEYS[key].annotation), Field(alias=_KEYS[key].alias)


def _taken(key: str) -> Any:
    return _as_json(_KEYS[key].annotation) | None, Field(default=None, alias=_KEYS[key].alias)


if TYPE_CHECKING:
    _LabelKeys = BaseModel
    _LabelChanges = BaseModel
else:
    _LabelKeys = create_model(
        "_LabelKeys", name=(str, ...), **{key: _told(key) for key in (*_WORDS, *_KEYS)}
    )
    _LabelChanges = create_model(
        "_LabelChanges", **{key: _taken(key) for key in _KEYS if key not in _WORDS[2:]}
    )


class LabelState(_LabelKeys):
    """A label as configured, and what is in force."""

    model_config = ConfigDict(serialize_by_alias=True, validate_by_name=True)
    now: dict[str, RuleState]


class Labels(BaseModel):
    """All labels."""

    version: Version
    labels: list[LabelState]


class OneLabel(BaseModel):
    """A label after a change."""

    version: Version
    label: LabelState


class NewVersion(BaseModel):
    """The configuration after a change."""

    version: Version


class LabelChange(_LabelChanges):
    """Keys of a label, as in the configuration; null goes back to the default."""

    model_config = ConfigDict(extra="forbid", validate_by_name=False)
    prompts: Texts | None = None
    negatives: Annotated[Texts | None, Field(alias="not")] = None
    pattern: str | dict[str, Any] | None = None
    follow: bool | dict[str, Any] | None = None
    loud: bool | dict[str, Any] | None = None


class ReplayedEvent(BaseModel):
    """An event that other thresholds would have given."""

    source: str
    onset: str
    duration_s: float
    peak: float


class ReplayRequest(BaseModel):
    """Keys of a label that might be otherwise; those left out stay as they were set.

    null is the default again.
    """

    model_config = ConfigDict(extra="forbid")
    threshold: Probability | None = None
    off_threshold: Probability | None = None
    smooth_s: Annotated[float, Field(ge=0, le=SMOOTHEST_S)] | None = None
    min_on_s: Annotated[float, Field(ge=0, le=60)] | None = None
    min_off_s: Annotated[float, Field(ge=0, le=3600)] | None = None
    pattern: str | dict[str, Any] | None = None
    follow: bool | dict[str, Any] | None = None
    hours: Annotated[float, Field(gt=0, le=24 * 7)] = 24.0
    source: Name | None = None


class Preview(BaseModel):
    """How often a label would have fired; `count_now`: as it is set, null where unknown.

    hours: so far back; less than was asked for where a threshold follows the room.
    """

    hours: float
    covered_s: float
    count: int
    count_now: int | None
    events: list[ReplayedEvent]


class PromptsRequest(BaseModel):
    """Prompts to look at."""

    model_config = ConfigDict(extra="forbid")
    prompts: Texts


class OddPromptState(BaseModel):
    """A prompt that scores may say nothing about; `hint` says why, in a sentence.

    words: those that no sound was described with where the checkpoint was taught.
    """

    prompt: str
    kind: HintKind
    words: list[str]
    hint: str


class Hints(BaseModel):
    """The odd ones of some prompts, in their order."""

    hints: list[OddPromptState]


class TrialRequest(BaseModel):
    """A text to compare with what was just heard."""

    model_config = ConfigDict(extra="forbid")
    text: Annotated[str, Field(min_length=1, max_length=500)]
    source: Name


class TrialScores(BaseModel):
    """Scores of the last minute, a frame each."""

    source: str
    start: str
    frame_s: float
    scores: list[float]
    peak: float
    peak_at: str | None


class NewExample(BaseModel):
    """Which label an event's clip is to be an example of. prompts: of a new one, or besides."""

    model_config = ConfigDict(extra="forbid")
    label: Annotated[str, Field(min_length=1, max_length=100)]
    prompts: Texts = []


class Enrolled(OneLabel):
    """A label that has learned. report: lines on what it hears, and what it confuses that with."""

    report: list[str]
