"""Schemas of the API's answers about events: stored events, their scores, search results."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any, Literal, get_type_hints

from pydantic import BaseModel, ConfigDict, Field, create_model

from pe_stream.core.types import Event, Reason, SecondOpinion

_opinion_fields: Any = {name: (kind, ...) for name, kind in get_type_hints(SecondOpinion).items()}
_Opinion: Any = create_model(
    "SecondOpinion", __config__=ConfigDict(extra="allow"), **_opinion_fields
)

_JSON: dict[Any, Any] = {Reason | None: str | None, SecondOpinion | None: _Opinion | None}
"""Types of an event's fields that the API tells otherwise: reasons of later versions are text, and
a second opinion may have more."""

_LATER: dict[str, Any] = {"second_opinion": None}
"""Fields that events in the store of an earlier version lack."""


class OverlappingEvent(BaseModel):
    """An event that was on at a moment. clip_s: where in its clip that is; null without one."""

    id: str
    label: str
    clip_s: float | None


class SearchMatch(BaseModel):
    """When it sounded like a text; `score` is that of the best 0.4 s, which begin at `peak_at`."""

    source: str
    start: str
    duration_s: float
    score: float
    peak_at: str
    event: OverlappingEvent | None


class UnsearchedAudio(BaseModel):
    """What another checkpoint heard: texts do not compare with it."""

    checkpoint: str
    heard_s: float


class SearchResponse(BaseModel):
    """What a search found, the best first. searched_s: how much was kept of that time."""

    text: str
    since: str
    until: str
    searched_s: float
    left_out: list[UnsearchedAudio]
    moments: list[SearchMatch]


class Judgement(BaseModel):
    """What somebody says of an event."""

    model_config = ConfigDict(extra="forbid")
    verdict: Literal["right", "wrong"]
    note: Annotated[str, Field(max_length=1000)] = ""


if TYPE_CHECKING:
    _Event = BaseModel
else:
    _Event = create_model(
        "_Event",
        event_schema=(Annotated[int, Field(alias="schema")], ...),
        **{
            name: (_JSON.get(kind, kind), _LATER.get(name, ...))
            for name, kind in get_type_hints(Event).items()
        },
    )


class Entry(_Event):
    """An event as it was last told, and what somebody said of it."""

    model_config = ConfigDict(extra="allow")
    verdict: Literal["right", "wrong"] | None
    note: str | None
    has_clip: bool


class EventMatch(BaseModel):
    """How well an event goes with a text: `score` is the best of the others.

    Uncalibrated: of its sound, its picture, and both together; null of what there was not.
    """

    score: float
    sound: float | None
    picture: float | None
    both: float | None
    event: Entry


class UnsearchedEvents(BaseModel):
    """Events with a second opinion of another checkpoint: texts do not compare with it."""

    checkpoint: str
    events: int


class EventSearchResponse(BaseModel):
    """Events that go with a text, the best first. searched: how many of that time could be."""

    text: str
    since: str
    until: str
    searched: int
    left_out: list[UnsearchedEvents]
    events: list[EventMatch]


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
