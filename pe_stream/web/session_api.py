"""Logging in and out."""

from __future__ import annotations

from typing import Annotated, cast

from fastapi import APIRouter, Depends, HTTPException, Request, Response

from pe_stream.web import schemas
from pe_stream.web.guard import COOKIE, knows
from pe_stream.web.passwords import SESSION_S, Authenticator
from pe_stream.web.viewers import Viewers

router = APIRouter(tags=["session"])


def _door(request: Request) -> Authenticator:
    return cast("Authenticator", request.app.state.door)


Known = Annotated[Authenticator, Depends(_door)]


@router.get("/session")
def session(request: Request, door: Known) -> schemas.Session:
    """Whether one has to log in, and has."""
    return schemas.Session(required=not door.open, authenticated=knows(door, request.headers))


@router.post("/session", responses={401: {"model": schemas.ErrorDetail}})
def log_in(
    given: schemas.Password, request: Request, response: Response, door: Known
) -> schemas.Session:
    """Log in with the password, or the token."""
    if not door.open:
        if not door.knows_password(given.password):
            raise HTTPException(401, "that is not the password")
        secure = "https" in (request.url.scheme, request.headers.get("origin", "")[:5])
        response.set_cookie(
            COOKIE,
            door.session(),
            max_age=SESSION_S,
            path=_path(request),
            secure=secure,
            httponly=True,
            samesite="strict",
        )
    return schemas.Session(required=not door.open, authenticated=True)


@router.delete("/session")
def log_out(request: Request, response: Response, door: Known) -> schemas.Session:
    """Log out, in this browser."""
    door.end_session(request.cookies.get(COOKIE, ""))
    viewers: Viewers = request.app.state.viewers
    viewers.wake()
    response.delete_cookie(COOKIE, path=_path(request), httponly=True, samesite="strict")
    return schemas.Session(required=not door.open, authenticated=door.open)


def _path(request: Request) -> str:
    """Path of the cookie: this page only, not other pages behind the same proxy."""
    return f"{request.scope['root_path']}/"
