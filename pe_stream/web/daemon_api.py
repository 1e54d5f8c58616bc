"""The daemon's present state over HTTP."""

from __future__ import annotations

import time
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import aclosing
from typing import Annotated, Any

import numpy as np
from fastapi import APIRouter, HTTPException, Query, Request, Response
from fastapi.responses import StreamingResponse
from limits import parse as rate
from limits.storage import MemoryStorage
from limits.strategies import MovingWindowRateLimiter
from numpy.typing import NDArray

from pe_stream.core.types import FRAME_NS, FRAME_S, NO_CHECKPOINT
from pe_stream.version import __version__
from pe_stream.web import event_schemas, schemas
from pe_stream.web.daemon_view import DaemonView
from pe_stream.web.dependencies import DaemonDep, Turns
from pe_stream.web.guard import address, knows
from pe_stream.web.live_audio import refusal
from pe_stream.web.passwords import Authenticator
from pe_stream.web.stream import EndlessResponse
from pe_stream.web.times import ns_of, utc_of
from pe_stream.web.viewers import Viewers, sse

TRIES = rate("60/minute")
"""Texts that one address may try."""

LONGEST_S = 3600
"""Seconds of scores in one answer."""

_SLACK_NS = 10**9
"""Two times that are told by how long ago they were are of nows that differ a little."""

_PROBLEMS: dict[int | str, dict[str, Any]] = {
    status: {"model": schemas.ErrorDetail} for status in (404, 409, 422, 429, 503)
}

SILENCE_S = 15.0
"""So often something is sent, so that nobody takes the connection for dead."""

_limiter = MovingWindowRateLimiter(MemoryStorage())

router = APIRouter(tags=["now"])


@router.get("/info")
def info(
    daemon: DaemonDep,
) -> schemas.Info:
    """What this is, and what it can do."""
    settings, broker, config = daemon.settings(), daemon.broker(), daemon.config
    unavailable_reason = (
        "its labels are not in a file" if config is None else config.unavailable_reason
    )
    return schemas.Info(
        node=settings.node,
        version=__version__,
        checkpoint=daemon.checkpoint,
        frame_s=FRAME_S,
        timezone=settings.location.timezone,
        store=None if daemon.events is None else daemon.events.unavailable_reason or "ok",
        history=daemon.scores is not None,
        search=daemon.embeddings is not None,
        event_search=daemon.event_probe is not None and daemon.event_queries is not None,
        clips=settings.clips.enabled,
        listen=refusal(settings) is None,
        broker=schemas.BrokerState(connected=broker.connected, waiting=broker.waiting),
        resources=daemon.shortage() or "ok",
        config=schemas.ConfigState(
            path=None if config is None else str(config.path),
            writable=unavailable_reason is None,
            reason=unavailable_reason,
        ),
    )


@router.get("/health", responses={503: {"model": schemas.Liveness}})
async def health(daemon: DaemonDep, response: Response) -> schemas.Liveness:
    """Whether the scores of every source advance, for whoever restarts what does not; no login."""
    # On the loop, so that it waits for no thread.
    alive = daemon.alive()
    response.status_code = 200 if alive else 503
    return schemas.Liveness(status="ok" if alive else "failing")


@router.get("/sources")
def sources(
    daemon: DaemonDep,
) -> schemas.Sources:
    """What each source has heard, lost, and hears."""
    return schemas.Sources.model_validate({"sources": daemon.sources()})


@router.get("/scores", responses=_PROBLEMS)
def scores(
    *,
    daemon: DaemonDep,
    source: Annotated[str, Query(max_length=100)],
    label: Annotated[str, Query(max_length=100)],
    since: schemas.Moment,
    until: Annotated[schemas.Moment | None, Query()] = None,
) -> event_schemas.Runs:
    """Stored scores of a label, at most an hour; without `until`, up to now."""
    _require(daemon, source, label)
    if daemon.scores is None:
        raise HTTPException(409, "no scores are kept: history.enabled is false")
    since_ns = ns_of(since)
    until_ns = time.time_ns() if until is None else ns_of(until)
    if not 0 < until_ns - since_ns <= LONGEST_S * 1_000_000_000 + _SLACK_NS:
        raise HTTPException(422, f"until is after since, by {LONGEST_S} s at most")
    runs = [
        event_schemas.Run(start=utc_of(run.start_ns), scores=shown(run.scores))
        for run in daemon.scores.runs(source, label, since_ns, until_ns)
    ]
    return event_schemas.Runs(source=source, label=label, frame_s=FRAME_S, runs=runs)


@router.post("/try", responses=_PROBLEMS)
def try_text(
    daemon: DaemonDep, gate: Turns, asked: schemas.TrialRequest, request: Request
) -> schemas.TrialScores:
    """Compare any text with the last minute of a source."""
    if not _limiter.hit(TRIES, address(request.scope)):
        raise HTTPException(429, "too often: wait a little", headers={"Retry-After": "10"})
    if asked.source not in daemon.settings().sources:
        raise HTTPException(404, f"there is no source {asked.source!r}")
    last = daemon.recent.last(asked.source)
    if last is None and daemon.checkpoint == NO_CHECKPOINT:
        raise HTTPException(409, "no model is loaded to compare texts with: every label is loud")
    if last is None:
        raise HTTPException(409, f"nothing was heard from {asked.source} yet")
    start_ns, embeddings = last
    with gate.turn():
        found = daemon.compare(embeddings, asked.text)
    best = int(found.argmax())
    return schemas.TrialScores(
        source=asked.source,
        start=utc_of(start_ns),
        frame_s=FRAME_S,
        scores=shown(found),
        peak=round(float(found[best]), 4),
        peak_at=utc_of(start_ns + best * FRAME_NS),
    )


@router.get(
    "/live",
    response_class=StreamingResponse,  # what its document is made of
    responses={200: {"content": {"text/event-stream": {}}}, 503: {"model": schemas.ErrorDetail}},
)
async def live(
    daemon: DaemonDep,
    request: Request,
    source: Annotated[str | None, Query(max_length=100)] = None,
) -> Any:
    """What happens, as server-sent events; hops of one source only, if it is named.

    First comes `past`: the last half minute, in one piece where there was no break.
    """
    viewers: Viewers = request.app.state.viewers
    viewer = viewers.join(source)
    if viewer is None:
        raise HTTPException(503, "too many viewers", headers={"Retry-After": "10"})
    settings = daemon.settings()

    door: Authenticator = request.app.state.door

    async def everything() -> AsyncGenerator[str, None]:
        hello = {"sources": list(settings.sources), "bands_hz": viewers.edges_hz}
        yield sse("hello", hello)
        for each in daemon.sources():
            yield sse("health", each)
        for name, rules in list(daemon.rules().items()):  # more may come between two of them
            yield sse("rules", rules_shown(name, rules))
        async for message in viewers.past(viewer):
            yield message
        async for message in viewer.messages(SILENCE_S):
            yield message or ": nothing new\n\n"

    async def messages() -> AsyncIterator[str]:
        """As long as the session is one: it may be over, or be ended in another window."""
        async with aclosing(everything()) as all_messages:
            async for message in all_messages:
                if not knows(door, request.headers):
                    return
                yield message

    return EndlessResponse(messages(), done=lambda: viewers.leave(viewer))


def shown(scores: NDArray[np.float32]) -> list[float]:
    """Scores to four digits."""
    rounded: list[float] = np.round(scores.astype(np.float64), 4).tolist()
    return rounded


def rules_shown(source: str, rules: Any) -> dict[str, Any]:
    """The rules of a source as the page gets them."""
    return {
        "source": source,
        "rules": {
            rule.name: {
                "threshold": rule.threshold,
                "off_threshold": rule.off_threshold,
                "smooth_s": rule.smooth_s,
                "enabled": rule.enabled,
            }
            for rule in rules
        },
    }


def _require(daemon: DaemonView, source: str, label: str) -> None:
    settings = daemon.settings()
    if source not in settings.sources:
        raise HTTPException(404, f"there is no source {source!r}")
    if label not in settings.labels:
        raise HTTPException(404, f"there is no label {label!r}")
