"""What the API answers and takes, for the OpenAPI document and to be checked on the way."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Annotated, Any, Literal

from pydantic import (
    AwareDatetime,
    BaseModel,
    ConfigDict,
    Field,
    ValidationError,
    ValidatorFunctionWrapHandler,
    WithJsonSchema,
    WrapValidator,
)
from pydantic_core import PydanticCustomError

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


class Trouble(BaseModel):
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
    """What this is."""

    node: str
    version: str
    checkpoint: str
    frame_s: float
    timezone: str | None
    store: str | None
    history: bool
    search: bool
    clips: bool
    broker: BrokerState
    config: ConfigState


class SourceState(BaseModel):
    """What a source has heard so far; seconds, by the count of its samples."""

    name: str
    state: Literal["starting", "hearing", "flat", "lost"]
    since: str
    heard_s: float
    lost_s: float
    flat_s: float
    clipped_s: float
    level_dbfs: float | None
    rtf: float | None
    labels: list[str]


class Sources(BaseModel):
    """All sources."""

    sources: list[SourceState]


class RuleState(BaseModel):
    """What is in force for a label of a source."""

    threshold: float
    off_threshold: float
    smooth_s: float
    enabled: bool


class LabelState(BaseModel):
    """A label as configured, and what is in force."""

    model_config = ConfigDict(serialize_by_alias=True, validate_by_name=True)
    name: str
    prompts: list[str]
    negatives: Annotated[list[str], Field(alias="not")]
    examples: list[str]
    background: list[str]
    threshold: float | None
    off_threshold: float | None
    smooth_s: float | None
    min_on_s: float
    min_off_s: float
    max_s: float
    cooldown_s: float
    update_s: float
    sources: list[str] | None
    enabled: bool
    schedule: list[dict[str, Any]]
    pattern: dict[str, Any] | None
    follow: dict[str, Any] | None
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


class LabelChange(BaseModel):
    """Keys of a label, as in the configuration; null goes back to the default."""

    model_config = ConfigDict(extra="forbid", validate_by_name=False)
    prompts: Texts | None = None
    negatives: Annotated[Texts | None, Field(alias="not")] = None
    threshold: float | None = None
    off_threshold: float | None = None
    smooth_s: float | None = None
    min_on_s: float | None = None
    min_off_s: float | None = None
    max_s: float | None = None
    cooldown_s: float | None = None
    update_s: float | None = None
    sources: list[str] | None = None
    enabled: bool | None = None
    schedule: list[dict[str, Any]] | None = None
    pattern: str | dict[str, Any] | None = None
    follow: bool | dict[str, Any] | None = None


class WouldBe(BaseModel):
    """An event that other thresholds would have given."""

    source: str
    onset: str
    duration_s: float
    peak: float


class WhatIf(BaseModel):
    """Keys of a label that might be otherwise; those left out stay as they were set.

    null is the default again.
    """

    model_config = ConfigDict(extra="forbid")
    threshold: Annotated[float, Field(gt=0, lt=1)] | None = None
    off_threshold: Annotated[float, Field(gt=0, lt=1)] | None = None
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
    events: list[WouldBe]


class Try(BaseModel):
    """A text to compare with what was just heard."""

    model_config = ConfigDict(extra="forbid")
    text: Annotated[str, Field(min_length=1, max_length=500)]
    source: Name


class Tried(BaseModel):
    """Scores of the last minute, a frame each."""

    source: str
    start: str
    frame_s: float
    scores: list[float]
    peak: float
    peak_at: str | None


class There(BaseModel):
    """An event that was on at a moment. clip_s: where in its clip that is; null without one."""

    id: str
    label: str
    clip_s: float | None


class Sounding(BaseModel):
    """When it sounded like a text; `score` is that of the best 0.4 s, which begin at `peak_at`."""

    source: str
    start: str
    duration_s: float
    score: float
    peak_at: str
    event: There | None


class LeftOut(BaseModel):
    """What another checkpoint heard: texts do not compare with it."""

    checkpoint: str
    heard_s: float


class Moments(BaseModel):
    """What a search found, the best first. searched_s: how much was kept of that time."""

    text: str
    since: str
    until: str
    searched_s: float
    left_out: list[LeftOut]
    moments: list[Sounding]


class NewExample(BaseModel):
    """Which label an event's clip is to be an example of. prompts: of a new one, or besides."""

    model_config = ConfigDict(extra="forbid")
    label: Annotated[str, Field(min_length=1, max_length=100)]
    prompts: Texts = []


class Enrolled(OneLabel):
    """A label that has learned. report: lines on what it hears, and what it confuses that with."""

    report: list[str]


class Judgement(BaseModel):
    """What somebody says of an event."""

    model_config = ConfigDict(extra="forbid")
    verdict: Literal["right", "wrong"]
    note: Annotated[str, Field(max_length=1000)] = ""


class Entry(BaseModel):
    """An event as it was last told, and what somebody said of it."""

    model_config = ConfigDict(extra="allow")
    event_schema: Annotated[int, Field(alias="schema")]
    id: str
    phase: Literal["start", "update", "end"]
    node: str
    source: str
    label: str
    onset: str
    onset_s: float
    offset: str | None
    offset_s: float | None
    duration_s: float
    peak: float
    peak_s: float
    mean: float
    threshold: float
    latency_ms: float
    late: bool
    reason: str | None
    checkpoint: str
    clip: str | None
    verdict: Literal["right", "wrong"] | None
    note: str | None
    has_clip: bool


class OneEntry(Entry):
    """A single event. clip_start: UTC of its clip's first sample."""

    previous: str | None
    following: str | None
    clip_start: str | None


class Entries(BaseModel):
    """A page of events, the newest first; `next` goes on."""

    events: list[Entry]
    next: str | None


class Track(BaseModel):
    """Scores around an event, a frame each; null where none is kept.

    smooth_s: of which the means are compared with the threshold; 0: the scores as they are.
    """

    start: str
    frame_s: float
    label: str
    scores: list[float | None]
    threshold: float
    off_threshold: float | None
    smooth_s: float


class Run(BaseModel):
    """Scores without a break."""

    start: str
    scores: list[float]


class Runs(BaseModel):
    """Stored scores of a label."""

    source: str
    label: str
    frame_s: float
    runs: list[Run]


class Bucket(BaseModel):
    """Events that began in a local hour or day."""

    start: str
    total: int
    labels: dict[str, int]


class Buckets(BaseModel):
    """All that are not empty."""

    by: Literal["hour", "day"]
    timezone: str
    buckets: list[Bucket]
