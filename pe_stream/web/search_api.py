"""Search in what was heard, and in events, over HTTP."""

from __future__ import annotations

import time
from datetime import datetime
from typing import Annotated, Any

from fastapi import APIRouter, HTTPException, Query, Request
from limits import parse as rate
from limits.storage import MemoryStorage
from limits.strategies import MovingWindowRateLimiter

from pe_stream.core.peak_picking import Moment
from pe_stream.storage import event_search
from pe_stream.storage import search as searching
from pe_stream.storage.event_queries import EventFilter
from pe_stream.storage.search import EventAtMoment
from pe_stream.web import event_schemas, events_api, schemas
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

Text = Annotated[str, Query(min_length=1, max_length=searching.LONGEST_TEXT)]
Time = Annotated[schemas.Moment | None, Query()]
Source = Annotated[str | None, Query(max_length=100)]
Limit = Annotated[int, Query(ge=1, le=searching.MOST)]

_limiter = MovingWindowRateLimiter(MemoryStorage())

router = APIRouter(tags=["search"])


@router.get("/search", responses=_PROBLEMS)
def search(
    *,
    daemon: DaemonDep,
    gate: Turns,
    request: Request,
    text: Text,
    since: Time = None,
    until: Time = None,
    source: Source = None,
    limit: Limit = 20,
) -> event_schemas.SearchResponse:
    """When it sounded most like a text, the best first; without `since`, of the last day."""
    if daemon.embeddings is None:
        raise HTTPException(409, f"nothing that was heard is kept: {searching.TURN_ON}")
    wanted, since_ns, until_ns = _asked(daemon, request, text, (since, until), source)
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


@router.get("/search/events", responses=_PROBLEMS)
def search_events(
    *,
    daemon: DaemonDep,
    gate: Turns,
    request: Request,
    text: Text,
    since: Time = None,
    until: Time = None,
    source: Source = None,
    limit: Limit = 20,
) -> event_schemas.EventSearchResponse:
    """Events whose sound or picture goes best with a text, by second opinions on them.

    Without `since`, of the last day. The text is read by the process of second opinions, which may
    take half a minute.
    """
    if daemon.event_probe is None:
        raise HTTPException(409, f"events have no second opinions: {event_search.TURN_ON}")
    queries = events_api.queries_of(daemon)
    wanted, since_ns, until_ns = _asked(daemon, request, text, (since, until), source)
    asked = EventFilter(since=utc_of(since_ns), until=utc_of(until_ns), source=source)
    probe = daemon.event_probe(wanted)  # out of turn: nothing is computed here meanwhile
    with gate.turn():
        found = event_search.search_events(queries, asked, probe, limit)
    return event_schemas.EventSearchResponse(
        text=wanted,
        since=utc_of(since_ns),
        until=utc_of(until_ns),
        searched=found.searched,
        left_out=[
            event_schemas.UnsearchedEvents(checkpoint=name, events=count)
            for name, count in found.others.items()
        ],
        events=[
            event_schemas.EventMatch(
                score=round(each.score, 4),
                event=events_api.entry_of(daemon, each.record),
                **each.rounded,
            )
            for each in found.events
        ],
    )


def _asked(
    daemon: DaemonView,
    request: Request,
    text: str,
    span: tuple[datetime | None, datetime | None],
    source: str | None,
) -> tuple[str, int, int]:
    """The text, and since and until when (ns). Answers 404, 422 and 429."""
    since, until = span
    if source is not None and source not in daemon.settings().sources:
        raise HTTPException(404, f"there is no source {source!r}")
    until_ns = time.time_ns() if until is None else ns_of(until)
    since_ns = until_ns - _DAY_NS if since is None else ns_of(since)
    if since_ns >= until_ns:
        raise HTTPException(422, "until is not after since")
    wanted = searching.checked(text)
    if not _limiter.hit(SEARCHES, address(request.scope)):
        raise HTTPException(429, "too often: wait a little", headers={"Retry-After": "10"})
    return wanted, since_ns, until_ns


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
