"""Stored events over HTTP: lists, counts, single ones with their clips, scores and verdicts."""

from __future__ import annotations

import io
import json
from collections.abc import Iterator
from datetime import datetime, timedelta
from pathlib import Path
from typing import Annotated, Any, Literal
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from fastapi import APIRouter, HTTPException, Query
from fastapi import Path as InPath
from fastapi.responses import FileResponse, StreamingResponse

from pe_stream.core.types import FRAME_NS, FRAME_S
from pe_stream.storage import event_queries
from pe_stream.storage.event_queries import MOST, EventFilter, EventQueries
from pe_stream.storage.events_table import write_csv
from pe_stream.web import event_schemas, schemas
from pe_stream.web.daemon_api import shown
from pe_stream.web.daemon_view import DaemonView
from pe_stream.web.dependencies import DaemonDep, Turns
from pe_stream.web.pictures import picture
from pe_stream.web.times import ns_of, utc, utc_of, utc_or_none

EventId = Annotated[str, InPath(pattern="^[0-9A-Za-z-]{1,64}$")]
Filter = Annotated[str | None, Query(max_length=100)]
Since = Annotated[schemas.Moment | None, Query()]

_KINDS = {".flac": "audio/flac", ".opus": "audio/ogg"}

MOST_TRACK_NS = 600 * 1_000_000_000
"""Longest part of an event whose scores are shown (ns)."""

_MISSING: dict[int | str, dict[str, Any]] = {404: {"model": schemas.ErrorDetail}}
router = APIRouter(tags=["events"])


@router.get("/events")
def events(
    *,
    daemon: DaemonDep,
    since: Since = None,
    until: Since = None,
    source: Filter = None,
    label: Filter = None,
    verdict: Literal["right", "wrong", "any", "none"] | None = None,
    limit: Annotated[int, Query(ge=1, le=MOST)] = 50,
    before: Annotated[str | None, Query(max_length=200)] = None,
) -> event_schemas.Entries:
    """The newest first."""
    asked = EventFilter(
        since=utc_or_none(since),
        until=utc_or_none(until),
        source=source,
        label=label,
        verdict=verdict,
    )
    try:
        found, following = queries_of(daemon).page(asked, limit=limit, before=before)
    except ValueError as error:
        raise HTTPException(422, str(error)) from None
    return event_schemas.Entries(events=[entry_of(daemon, each) for each in found], next=following)


@router.get("/timeline")
def counts(
    *,
    daemon: DaemonDep,
    since: Since = None,
    until: Since = None,
    source: Filter = None,
    label: Filter = None,
    by: Literal["hour", "day"] = "hour",
    timezone: Annotated[str, Query(max_length=64)] = "UTC",
) -> event_schemas.Buckets:
    """How many events began in each local hour or day; empty ones are left out."""
    try:
        zone = ZoneInfo(timezone)
    except (ZoneInfoNotFoundError, ValueError, OSError):
        raise HTTPException(422, f"timezone: {timezone!r} is not known here") from None
    asked = EventFilter(
        since=utc_or_none(since), until=utc_or_none(until), source=source, label=label
    )
    buckets = [
        event_schemas.Bucket(
            start=utc(b.start), total=sum(b.labels.values()), labels=dict(b.labels)
        )
        for b in queries_of(daemon).counts(asked, by=by, zone=zone)
    ]
    return event_schemas.Buckets(by=by, timezone=timezone, buckets=buckets)


@router.get("/events/{event_id}", responses=_MISSING)
def event(daemon: DaemonDep, event_id: EventId) -> event_schemas.OneEntry:
    """A single event."""
    entry = one(daemon, event_id)
    previous, following = queries_of(daemon).beside(entry.event)
    shown = entry_of(daemon, entry).model_dump(by_alias=True)
    return event_schemas.OneEntry(
        **shown,
        previous=previous,
        following=following,
        clip_start=_clip_start(daemon, entry.event),
    )


@router.put("/events/{event_id}/verdict", responses=_MISSING)
def judge(
    daemon: DaemonDep, event_id: EventId, said: event_schemas.Judgement
) -> event_schemas.Entry:
    """Say whether an event was right; such events are kept for good."""
    return _judged(daemon, event_id, said.verdict, said.note)


@router.delete("/events/{event_id}/verdict", responses=_MISSING)
def unjudge(daemon: DaemonDep, event_id: EventId) -> event_schemas.Entry:
    """Take that back."""
    return _judged(daemon, event_id, None, "")


@router.get("/verdicts", response_class=StreamingResponse)
def verdicts(
    daemon: DaemonDep, form: Annotated[Literal["jsonl", "csv"], Query(alias="format")] = "jsonl"
) -> Any:
    """All events that somebody judged, with verdict and note, to tune with."""
    rows = [
        entry.event | {"verdict": entry.verdict, "note": entry.note}
        for entry in queries_of(daemon).events(EventFilter(verdict="any"))
    ]
    name = {"Content-Disposition": f"attachment; filename=verdicts.{form}"}
    if form == "csv":
        table = io.StringIO()
        write_csv(rows, table, judged=True)
        return StreamingResponse(iter([table.getvalue()]), media_type="text/csv", headers=name)
    return StreamingResponse(_lines(rows), media_type="application/jsonl", headers=name)


@router.get("/events/{event_id}/clip", response_class=FileResponse, responses=_MISSING)
def clip(daemon: DaemonDep, event_id: EventId) -> Any:
    """The audio of an event."""
    path = clip_of(daemon, one(daemon, event_id).event)
    return FileResponse(path, media_type=_KINDS[path.suffix], filename=path.name)


@router.get("/events/{event_id}/spectrogram", response_class=FileResponse, responses=_MISSING)
def spectrogram(daemon: DaemonDep, gate: Turns, event_id: EventId) -> Any:
    """A picture (PNG) of that; made when first asked for, and kept beside the clip."""
    told = one(daemon, event_id).event
    path = picture(clip_of(daemon, told), told["duration_s"], gate)
    return FileResponse(path, media_type="image/png")


@router.get("/events/{event_id}/scores", responses=_MISSING)
def track(
    daemon: DaemonDep, event_id: EventId, around_s: Annotated[float, Query(ge=0, le=60)] = 10.0
) -> event_schemas.Track:
    """Scores of the event's label from before it to after it."""
    return _track(daemon, one(daemon, event_id).event, around_s)


def queries_of(daemon: DaemonView) -> EventQueries:
    """Stored events. Answers 409 where none are."""
    if daemon.event_queries is None:
        raise HTTPException(409, "no events are stored: store.enabled is false")
    return daemon.event_queries


def one(daemon: DaemonView, event_id: str) -> event_queries.EventRecord:
    """A stored event. Answers 404 where there is none."""
    entry = queries_of(daemon).one(event_id)
    if entry is None:
        raise HTTPException(404, "there is no such event")
    return entry


def entry_of(daemon: DaemonView, entry: event_queries.EventRecord) -> event_schemas.Entry:
    """A stored event as the API tells it."""
    has_clip = daemon.clips.find(entry.event) is not None
    said = {"verdict": entry.verdict, "note": entry.note, "has_clip": has_clip}
    return event_schemas.Entry.model_validate(entry.event | said)


def _judged(
    daemon: DaemonView, event_id: str, verdict: str | None, note: str
) -> event_schemas.Entry:
    one(daemon, event_id)
    store = daemon.events
    if store is None or not store.judge(event_id, verdict, note):
        unavailable_reason = None if store is None else store.unavailable_reason
        raise HTTPException(
            503, f"it could not be stored: {unavailable_reason or 'the event has just gone'}"
        )
    return entry_of(daemon, one(daemon, event_id))


def clip_of(daemon: DaemonView, event: dict[str, Any]) -> Path:
    """The clip of an event. Answers 404 where there is none."""
    path = daemon.clips.find(event)
    if path is None:
        raise HTTPException(404, "there is no clip of this event")
    return path


def _clip_start(daemon: DaemonView, event: dict[str, Any]) -> str | None:
    path = daemon.clips.find(event)
    if path is None:
        return None
    before_s = daemon.clips.before_s(path)
    return utc(datetime.fromisoformat(event["onset"]) - timedelta(seconds=before_s))


def _lines(rows: list[dict[str, Any]]) -> Iterator[str]:
    for row in rows:
        yield json.dumps(row, ensure_ascii=False) + "\n"


def _track(daemon: DaemonView, event: dict[str, Any], around_s: float) -> event_schemas.Track:
    source, label = event["source"], event["label"]
    if daemon.scores is None:
        raise HTTPException(404, "no scores are kept: history.enabled is false")
    onset_ns = ns_of(datetime.fromisoformat(event["onset"]))
    around_ns = round(around_s * 1e9)
    # What lasts for hours is shown from its beginning.
    length_ns = min(round(event["duration_s"] * 1e9), MOST_TRACK_NS)
    runs = daemon.scores.runs(source, label, onset_ns - around_ns, onset_ns + length_ns + around_ns)
    if not runs:
        raise HTTPException(404, "no scores are kept of that time")
    start_ns = runs[0].start_ns
    scores: list[float | None] = []
    for run in runs:
        missing = round((run.start_ns - start_ns) / FRAME_NS) - len(scores)
        scores += [None] * missing
        scores += shown(run.scores)
    rules = {rule.name: rule for rule in daemon.rules().get(source, ())}
    rule = rules.get(label)
    off = None if rule is None else rule.off_threshold / rule.threshold * event["threshold"]
    return event_schemas.Track(
        start=utc_of(start_ns),
        frame_s=FRAME_S,
        label=label,
        scores=scores,
        threshold=event["threshold"],
        off_threshold=off,
        smooth_s=0.0 if rule is None else rule.smooth_s,
    )
