"""Labels over HTTP: what is configured, what is in force, what others would have done."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Annotated, Any

from fastapi import APIRouter, Header, HTTPException, Query
from fastapi import Path as InPath
from pydantic import ValidationError

from pe_stream.config import LabelSettings, ScheduleSettings
from pe_stream.config.edit import Edit
from pe_stream.core.replay import Replayed, replay, untold
from pe_stream.core.types import FRAME_NS, FRAME_S, SMOOTHEST_S, LabelRule, Rhythm, ScoreRun
from pe_stream.web import schemas
from pe_stream.web.daemon_view import DaemonView
from pe_stream.web.dependencies import DaemonDep, Turns
from pe_stream.web.error_text import in_words
from pe_stream.web.gate import Gate
from pe_stream.web.times import utc_of

MOST_SHOWN = 100
"""Events that a preview lists."""

DAYS = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")

LabelName = Annotated[str, InPath(min_length=1, max_length=100)]
IfMatch = Annotated[str | None, Header(max_length=100)]

_PROBLEMS: dict[int | str, dict[str, Any]] = {
    status: {"model": schemas.ErrorDetail} for status in (404, 409, 412, 422, 428, 503)
}

FOLLOWED_H = 2.0
"""Hours that are replayed at most where a threshold follows the room: every frame counts then, and
an hour of a source takes half a second."""

_KEYS = {
    "threshold",
    "off_threshold",
    "smooth_s",
    "min_on_s",
    "min_off_s",
    "pattern",
    "follow",
}
"""Keys of a label that a preview may change."""

router = APIRouter(tags=["labels"])


@router.get("/labels")
def labels(
    daemon: DaemonDep,
) -> schemas.Labels:
    """All labels in their order, and the version that a change has to name."""
    found = daemon.settings().labels
    return schemas.Labels(
        version=daemon.version(),
        labels=[_label(daemon, name, each) for name, each in found.items()],
    )


@router.post("/hints")
def hints(daemon: DaemonDep, wanted: schemas.PromptsRequest) -> schemas.Hints:
    """Which prompts are not English, or in words that no sound was described with."""
    return schemas.Hints(
        hints=[
            schemas.OddPromptState(
                prompt=each.prompt, kind=each.kind, words=list(each.words), hint=each.describe()
            )
            for each in daemon.hints(wanted.prompts)
        ],
    )


@router.patch("/labels/{name:path}", responses=_PROBLEMS)
def patch(
    daemon: DaemonDep, name: LabelName, wanted: schemas.LabelChange, if_match: IfMatch = None
) -> schemas.OneLabel:
    """Change some keys of a label in the configuration file, and go on with them."""
    _settings(daemon, name)
    keys = wanted.model_dump(exclude_unset=True, by_alias=True)
    version = daemon.change(Edit(name, keys), seen(if_match))
    return schemas.OneLabel(version=version, label=shown_label(daemon, name))


@router.put("/labels/{name:path}", status_code=201, responses=_PROBLEMS)
def put(
    daemon: DaemonDep, name: LabelName, wanted: schemas.LabelChange, if_match: IfMatch = None
) -> schemas.OneLabel:
    """Add a label."""
    if name in daemon.settings().labels:
        raise HTTPException(409, f"there is a label {name!r} already")
    keys = wanted.model_dump(exclude_none=True, by_alias=True)
    version = daemon.change(Edit(name, keys, create=True), seen(if_match))
    return schemas.OneLabel(version=version, label=shown_label(daemon, name))


@router.delete("/labels/{name:path}", responses=_PROBLEMS)
def delete(daemon: DaemonDep, name: LabelName, if_match: IfMatch = None) -> schemas.NewVersion:
    """Remove a label; its stored events stay."""
    _settings(daemon, name)
    return schemas.NewVersion(version=daemon.change(Edit(name, None), seen(if_match)))


@router.get("/labels/{name:path}/preview", responses=_PROBLEMS)
def preview(
    *,
    daemon: DaemonDep,
    gate: Turns,
    name: LabelName,
    threshold: Annotated[float | None, Query(gt=0, lt=1)] = None,
    off_threshold: Annotated[float | None, Query(gt=0, lt=1)] = None,
    smooth_s: Annotated[float | None, Query(ge=0, le=SMOOTHEST_S)] = None,
    min_on_s: Annotated[float | None, Query(ge=0, le=60)] = None,
    min_off_s: Annotated[float | None, Query(ge=0, le=3600)] = None,
    hours: Annotated[float, Query(gt=0, le=24 * 7)] = 24.0,
    source: Annotated[str | None, Query(max_length=100)] = None,
) -> schemas.Preview:
    """How often it would have fired lately, from stored scores. What is not given stays."""
    given = {
        "threshold": threshold,
        "off_threshold": off_threshold,
        "smooth_s": smooth_s,
        "min_on_s": min_on_s,
        "min_off_s": min_off_s,
    }
    keys = {key: value for key, value in given.items() if value is not None}
    wanted = schemas.ReplayRequest.model_validate({"hours": hours, "source": source, **keys})
    return _preview(daemon, gate, name, wanted)


@router.post("/labels/{name:path}/preview", responses=_PROBLEMS)
def preview_of(
    daemon: DaemonDep, gate: Turns, name: LabelName, wanted: schemas.ReplayRequest
) -> schemas.Preview:
    """The same, also under another pattern, and with a threshold that follows the room."""
    return _preview(daemon, gate, name, wanted)


def _preview(
    daemon: DaemonView, gate: Gate, name: str, wanted: schemas.ReplayRequest
) -> schemas.Preview:
    _settings(daemon, name)
    if daemon.scores is None:
        raise HTTPException(409, "no scores are kept: history.enabled is false")
    rules = {
        source: (rule, _other(daemon, name, rule, wanted))
        for source, rules in daemon.rules_as_set().items()
        for rule in rules
        if rule.name == name and wanted.source in (None, source)
    }
    if why := next(filter(None, (untold(other) for _, other in rules.values())), None):
        raise HTTPException(409, f"stored scores do not tell: {why}")
    with gate.turn():
        return _previewed(daemon, name, rules, wanted.hours)


def _other(
    daemon: DaemonView, name: str, rule: LabelRule, wanted: schemas.ReplayRequest
) -> LabelRule:
    """The rule of the label with other keys. Answers 422 for what cannot be."""
    given = wanted.model_fields_set & _KEYS
    settings = _settings(daemon, name)
    left_out = {"schedule"} if settings.prompts else {"schedule", "prompts"}
    keys = settings.model_dump(by_alias=True, exclude_none=True, exclude=left_out)
    keys |= {"threshold": rule.threshold, "off_threshold": None, "enabled": True}
    keys |= {key: getattr(wanted, key) for key in given}
    set_keys = {key: value for key, value in keys.items() if value is not None}
    try:
        other = LabelSettings.model_validate(set_keys).rule(name, daemon.recommended.get(name))
    except ValidationError as error:
        raise HTTPException(422, in_words(error.errors())) from None
    was_rhythm = isinstance(rule.pattern, Rhythm) and not isinstance(other.pattern, Rhythm)
    if was_rhythm and "threshold" not in given:
        raise HTTPException(
            409, "the threshold in force is that of the rhythm: set one, or save first"
        )
    if "off_threshold" in given:
        return other
    return replace(other, off_threshold=rule.off_threshold / rule.threshold * other.threshold)


def _previewed(
    daemon: DaemonView, name: str, rules: Mapping[str, tuple[LabelRule, LabelRule]], hours: float
) -> schemas.Preview:
    assert daemon.scores is not None  # noqa: S101 - it was asked for
    told = all(untold(rule) is None for rule, _ in rules.values())
    if any(each.follow is not None for both in rules.values() for each in both):
        hours = min(hours, FOLLOWED_H)
    until_ns = time.time_ns()
    since_ns = until_ns - round(hours * 3600e9)
    frames, now, would_be = 0, 0, list[schemas.ReplayedEvent]()
    for source, (rule, other) in rules.items():
        runs = daemon.scores.runs(source, name, since_ns, until_ns)
        frames += sum(len(run.scores) for run in runs)
        now += len(replay(runs, rule)) if told else 0
        would_be += _told(source, runs, other)
    would_be.sort(key=lambda each: each.onset, reverse=True)
    return schemas.Preview(
        hours=hours,
        covered_s=round(frames * FRAME_S, 2),
        count=len(would_be),
        count_now=now if told else None,
        events=would_be[:MOST_SHOWN],
    )


def seen(if_match: str | None) -> str:
    """The version of the labels that a change was made to. Answers 428 where it is not told."""
    if if_match is None:
        raise HTTPException(428, "say with If-Match which version (GET labels) you saw")
    return if_match.strip().removeprefix("W/").strip('"')


def _settings(daemon: DaemonView, name: str) -> LabelSettings:
    labels = daemon.settings().labels
    if name not in labels:
        raise HTTPException(404, f"there is no label {name!r}")
    return labels[name]


def _told(source: str, runs: Sequence[ScoreRun], rule: LabelRule) -> list[schemas.ReplayedEvent]:
    def shown(each: Replayed) -> schemas.ReplayedEvent:
        return schemas.ReplayedEvent(
            source=source,
            onset=utc_of(each.onset_ns),
            duration_s=round((each.offset_ns - each.onset_ns) / FRAME_NS * FRAME_S, 3),
            peak=round(each.peak, 4),
        )

    return [shown(each) for each in replay(runs, rule)]


def shown_label(daemon: DaemonView, name: str) -> schemas.LabelState:
    """A label as configured, and what is in force. Answers 404 where there is none."""
    return _label(daemon, name, _settings(daemon, name))


def _label(daemon: DaemonView, name: str, settings: LabelSettings) -> schemas.LabelState:
    kept = settings.model_dump(mode="json", by_alias=True) | {
        "schedule": [_times(each) for each in settings.schedule]
    }
    now = {
        source: schemas.RuleState(
            threshold=round(rule.threshold, 4),
            off_threshold=round(rule.off_threshold, 4),
            smooth_s=rule.smooth_s,
            enabled=rule.enabled,
        )
        for source, rules in daemon.rules().items()
        for rule in rules
        if rule.name == name and daemon.settings().hears(source, name)
    }
    return schemas.LabelState.model_validate({"name": name, "now": now, **kept})


def _times(entry: ScheduleSettings) -> dict[str, Any]:
    """An entry of a schedule, its days one by one; null is every day."""
    days = sorted(entry.span.days)
    told: dict[str, Any] = entry.model_dump(mode="json", by_alias=True)
    return told | {"days": None if len(days) == len(DAYS) else [DAYS[day] for day in days]}
