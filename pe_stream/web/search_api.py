"""Search in what was heard, over HTTP."""

from __future__ import annotations

import time
from typing import Annotated, Any

from fastapi import APIRouter, HTTPException, Query, Request
from limits import parse as rate
from limits.storage import MemoryStorage
from limits.strategies import MovingWindowRateLimiter

from pe_stream.core.peak_picking import Moment
from pe_stream.storage import search as searching
from pe_stream.storage.search import EventAtMoment
from pe_stream.web import event_schemas, schemas
from pe_stream.web.daemon_view import DaemonView
from pe_stream.web.dependencies import DaemonDep, Turns
from pe_stream.web.guard import address
from pe_stream.web.times import ns_of, utc_of

SEARCHES = rate("30/minute")
"""Searches that one address may make."""

_DAY_NS = 86_400 * 10**9

_PROBLEMS: dict[int | str, dict[str, Any]] = {
    status: {"model": schemas.ErrorDetail} for status in (404, 409, 422, 429, 503)
}

_limiter = MovingWindowRateLimiter(MemoryStorage())

router = APIRouter(tags=["search"])


@router.get("/search", responses=_PROBLEMS)
def search(
    *,
    daemon: DaemonDep,
    gate: Turns,
    request: Request,
    text: Annotated[str, Query(min_length=1, max_length=searching.LONGEST_TEXT)],
    since: Annotated[schemas.Moment | None, Query()] = None,
    until: Annotated[schemas.Moment | None, Query()] = None,
    source: Annotated[str | None, Query(max_length=100)] = None,
    limit: Annotated[int, Query(ge=1, le=searching.MOST)] = 20,
) -> event_schemas.SearchResponse:
    """When it sounded most like a text, the best first; without `since`, of the last day."""
    if daemon.embeddings is None:
        raise HTTPException(409, f"nothing that was heard is kept: {searching.TURN_ON}")
    if source is not None and source not in daemon.settings().sources:
        raise HTTPException(404, f"there is no source {source!r}")
    until_ns = time.time_ns() if until is None else ns_of(until)
    since_ns = until_ns - _DAY_NS if since is None else ns_of(since)
    if since_ns >= until_ns:
        raise HTTPException(422, "until is not after since")
    wanted = searching.checked(text)
    if not _limiter.hit(SEARCHES, address(request.scope)):
        raise HTTPException(429, "too often: wait a little", headers={"Retry-After": "10"})
    with gate.turn():
        probe = daemon.probe(wanted)
        found = searching.search(daemon.embeddings.pieces(since_ns, until_ns, source), probe, limit)
    return event_schemas.SearchResponse(
        text=wanted,
        since=utc_of(since_ns),
        until=utc_of(until_ns),
        searched_s=found.searched_s,
        left_out=[
            event_schemas.UnsearchedAudio(checkpoint=name, heard_s=round(seconds, 2))
            for name, seconds in found.others.items()
        ],
        moments=[_shown(daemon, moment) for moment in found.moments],
    )


def _shown(daemon: DaemonView, moment: Moment) -> event_schemas.SearchMatch:
    there = searching.overlap(moment, daemon.event_queries, daemon.clips)
    return event_schemas.SearchMatch(
        source=moment.source,
        start=utc_of(moment.start_ns),
        duration_s=round((moment.end_ns - moment.start_ns) / 1e9, 2),
        score=round(moment.peak, 4),
        peak_at=utc_of(moment.peak_ns),
        event=None if there is None else _event(there),
    )


def _event(there: EventAtMoment) -> event_schemas.OverlappingEvent:
    return event_schemas.OverlappingEvent(
        id=there.event["id"], label=there.event["label"], clip_s=there.clip_s
    )
