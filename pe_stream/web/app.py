"""The application: the API below api/v1, the page beside it, the guard around both."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from fastapi import APIRouter, FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from fastapi.staticfiles import StaticFiles
from starlette.types import ASGIApp

from pe_stream.config import WebSettings
from pe_stream.config.edit import ConflictError, NotWritableError
from pe_stream.config.redaction import redacted
from pe_stream.errors import ConfigError, PeStreamError
from pe_stream.outputs.shortage import shortage
from pe_stream.version import __version__
from pe_stream.web import (
    audio_api,
    calibration_api,
    daemon_api,
    events_api,
    examples_api,
    labels_api,
    schemas,
    search_api,
    session_api,
)
from pe_stream.web.daemon_view import DaemonView
from pe_stream.web.error_text import in_words
from pe_stream.web.gate import Gate
from pe_stream.web.guard import Guard
from pe_stream.web.live_audio import LiveAudio
from pe_stream.web.passwords import Authenticator
from pe_stream.web.viewers import Viewers

STATIC = Path(__file__).parent / "static"

_STATUS: dict[type[PeStreamError], int] = {
    ConfigError: 422,
    ConflictError: 412,
    NotWritableError: 409,
}


_PARTS = (
    session_api,
    daemon_api,
    audio_api,
    labels_api,
    calibration_api,
    events_api,
    examples_api,
    search_api,
)

_ANYWHERE: dict[int | str, dict[str, Any]] = {
    status: {"model": schemas.ErrorDetail} for status in (401, 403, 409, 413, 415, 422, 429, 503)
}
"""Answers that every route may give."""


def build(
    settings: WebSettings,
    daemon: DaemonView,
    viewers: Viewers,
    live_audio: LiveAudio,
    gate: Gate,
) -> ASGIApp:
    """Make the application. Raises ConfigError where the password or token cannot be used."""
    door = Authenticator(settings)
    app = FastAPI(
        title="pe_stream",
        version=__version__,
        description="What a house sounds like: events, scores, clips, labels.",
        servers=[{"url": settings.prefix}] if settings.prefix else None,
        openapi_url="/api/v1/openapi.json",
        docs_url=None,  # it would load scripts from the internet
        redoc_url=None,
    )
    app.add_exception_handler(PeStreamError, _told)
    app.add_exception_handler(RequestValidationError, _not_valid)
    for kind in (OSError, RuntimeError):
        app.add_exception_handler(kind, _run_out)
    app.state.daemon, app.state.viewers, app.state.door = daemon, viewers, door
    app.state.gate, app.state.live_audio = gate, live_audio
    api = APIRouter(prefix="/api/v1")
    for part in _PARTS:
        api.include_router(part.router, responses=_ANYWHERE)
    app.include_router(api)
    app.mount("/", StaticFiles(directory=STATIC, html=True))
    return Guard(app, settings, door)


def _told(_: Request, error: Exception) -> JSONResponse:
    """An error of ours as an answer; what names a line of the file for its author is left out."""
    status = next((s for kind, s in _STATUS.items() if isinstance(error, kind)), 503)
    detail = re.sub(r"^\S*:\d+(:\d+)?: ", "", redacted(str(error)), flags=re.MULTILINE)
    return JSONResponse({"detail": detail}, status)


def _run_out(_: Request, error: Exception) -> JSONResponse:
    """Descriptors or threads are used up, which passes; anything else is a fault of ours."""
    if (what := shortage(error)) is None:
        raise error
    return JSONResponse({"detail": what}, 503, headers={"Retry-After": "5"})


def _not_valid(_: Request, error: Exception) -> JSONResponse:
    """What FastAPI found wrong, as sentences."""
    assert isinstance(error, RequestValidationError)  # noqa: S101 - registered for it
    return JSONResponse({"detail": in_words(error.errors(), skipped=1)}, 422)
