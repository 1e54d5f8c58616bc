"""Listening live to a source over HTTP."""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator
from contextlib import aclosing
from typing import Annotated, Any

from fastapi import APIRouter, HTTPException, Path, Request
from fastapi.responses import StreamingResponse

from pe_stream.web import schemas
from pe_stream.web.dependencies import DaemonDep
from pe_stream.web.guard import address, knows
from pe_stream.web.live_audio import LiveAudio, encoded, refusal
from pe_stream.web.passwords import Authenticator
from pe_stream.web.stream import EndlessResponse

log = logging.getLogger(__name__)

router = APIRouter(tags=["now"])


@router.get(
    "/sources/{source:path}/audio",
    response_class=StreamingResponse,  # what its document is made of
    responses={
        200: {"content": {"audio/ogg": {}}},
        404: {"model": schemas.ErrorDetail},
        409: {"model": schemas.ErrorDetail},
        503: {"model": schemas.ErrorDetail},
    },
)
async def audio(
    daemon: DaemonDep, request: Request, source: Annotated[str, Path(max_length=100)]
) -> Any:
    """A source as it is heard now, without an end: Opus in Ogg.

    Where clips are kept and web.listen is on; about two seconds behind, and silent where
    clips.never_when withholds clips, or nothing is heard.
    """
    if source not in daemon.settings().sources:
        raise HTTPException(404, f"there is no source {source!r}")
    if (why := refusal(daemon.settings())) is not None:
        raise HTTPException(409, why)
    live_audio: LiveAudio = request.app.state.live_audio
    door: Authenticator = request.app.state.door
    listener = live_audio.join(source)
    if listener is None:
        raise HTTPException(503, "too many listen", headers={"Retry-After": "10"})
    who = address(request.scope)

    def done() -> None:
        live_audio.leave(listener)
        log.info("web: %s no longer listens to %s", who, source)

    async def pieces() -> AsyncIterator[bytes]:
        """As long as one may listen: the session may end, and the configuration change."""
        try:
            async with aclosing(encoded(listener.sound())) as stream:
                async for piece in stream:
                    if not knows(door, request.headers) or refusal(daemon.settings()) is not None:
                        return
                    yield piece
        except OSError as error:
            log.warning("web: %s cannot be listened to: %s", source, error)

    log.info("web: %s listens to %s", who, source)
    return EndlessResponse(pieces(), done, "audio/ogg", {"Cache-Control": "no-store"})
