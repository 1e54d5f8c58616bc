"""Schemas of calibration over HTTP."""

from __future__ import annotations

from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field

from pe_stream.web.calibration_view import CalibrationPhase
from pe_stream.web.schemas import Moment, Name, Version

MOST_A_DAY = 86_400.0

Names = Annotated[list[Name], Field(max_length=2000)]


class CalibrationRequest(BaseModel):
    """What to calibrate for, and on what: as the options of `pe-stream calibrate`."""

    model_config = ConfigDict(extra="forbid")
    false_alarms: Annotated[
        float, Field(gt=0, le=MOST_A_DAY, description="wanted a day, of each label")
    ] = 1.0
    since: Annotated[Moment | None, Field(description="stored scores from then on; 24h")] = None
    until: Moment | None = None
    labels: Annotated[Names, Field(description="all, where it is empty")] = []
    sources: Annotated[Names, Field(description="all, where it is empty")] = []


class ScoreSpread(BaseModel):
    """How scores are distributed: half are below `middle`, 99 % below `high`."""

    middle: float
    high: float
    highest: float


class FoundExamples(BaseModel):
    """Events marked right that the suggested and the present threshold find, of `total`."""

    total: int
    found: int
    now: int


class Suggestion(BaseModel):
    """A threshold for a label, and what it rests on; without one, `lack` says why.

    off_threshold: to be set with it, where the label has one of its own. rate, low, high: false
    alarms a day at it, and between what they truly are; now: those of the present one. hours: of
    sound. extrapolated: whether from how the highest scores fall off. reached: whether the wanted
    rate is met. right: events marked right, which were left out. changed: whether the label has
    become another since, so that it is no threshold of it.
    """

    label: str
    threshold_now: float
    lack: str | None
    threshold: float | None
    off_threshold: float | None
    rate: float | None
    low: float | None
    high: float | None
    now: float | None
    hours: float | None
    extrapolated: bool | None
    reached: bool | None
    spread: ScoreSpread | None
    examples: FoundExamples | None
    right: int
    changed: bool


class Calibration(BaseModel):
    """The calibration that runs, or the last one since the daemon began.

    reason: why none can be made; null where it can. version: of the configuration as it is in
    force, which a change of a label has to name. error: why it failed. command: what gives the same
    figures on the command line.
    """

    reason: str | None
    phase: CalibrationPhase
    false_alarms: float | None
    since: str | None
    until: str | None
    labels: list[str]
    sources: list[str]
    began: str | None
    ended: str | None
    error: str | None
    command: str | None
    version: Version
    suggestions: list[Suggestion]
    notes: list[str]
