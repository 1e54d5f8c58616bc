"""The way to engines on other machines: one connection, kept open, in HTTP."""

from __future__ import annotations

import fcntl
import json
import select
import socket
import ssl
import struct
import sys
import termios
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from http.client import HTTPConnection, HTTPException, HTTPSConnection, RemoteDisconnected
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from pydantic import ValidationError

from pe_stream.config import ModelSettings
from pe_stream.config.secrets import read_secret
from pe_stream.errors import ConfigError
from pe_stream.serving.heads import BYTES, MOST_BODY
from pe_stream.serving.route import EngineAway, Refusal, Route, refusal

_CLOSED = RemoteDisconnected, ConnectionResetError, BrokenPipeError, ssl.SSLEOFError
"""What a kept connection says that its server has closed meanwhile."""

_PIECE = 1 << 16
"""Bytes that are sent at a time."""

_UNSENT = 1 << 17
"""Bytes that the system may hold for us."""

_LOOK_MS = 20
"""So often it is asked how many those are."""


class EngineConnection:
    """Asks the engine that its route says. Belongs to one thread."""

    def __init__(
        self, route: Route, headers: dict[str, str], tls: ssl.SSLContext | None, timeout_s: float
    ) -> None:
        self.route = route
        self._headers, self._tls, self._timeout_s = headers, tls, timeout_s
        self._open: HTTPConnection | None = None
        self._opened_to = ""

    @classmethod
    def factory(cls, settings: ModelSettings) -> Callable[[str], EngineConnection]:
        """What makes connections of a session's name.

        Raises ConfigError where the token's file or the authority's cannot be used.
        """
        addresses, timeout_s = settings.engine_addresses, settings.engine_timeout_s
        headers = {"Content-Type": BYTES}
        if settings.engine_token_file is not None:
            path = Path(settings.engine_token_file)
            token = read_secret("model.engine_token_file", path, what="token")
            if not token.isascii() or not token.isprintable():
                raise ConfigError(f"model.engine_token_file: {path} holds no token")
            headers["Authorization"] = f"Bearer {token}"
        tls = _context(settings.engine_ca) if any(map(_secure, addresses)) else None

        def connect(session: str) -> EngineConnection:
            route = Route(addresses, session, timeout_s=timeout_s, wire=settings.engine_wire)
            return cls(route, headers, tls, timeout_s)

        return connect

    def post(self, path: str, body: bytes) -> bytes:
        """What is answered to a body; raises EngineAway."""
        return self._ask("POST", path, body)

    def get(self, path: str) -> dict[str, Any]:
        """A JSON object; raises EngineAway."""
        answer = self._ask("GET", path, None)
        try:
            found = json.loads(answer)
        except ValueError:
            found = None
        if not isinstance(found, dict):
            raise self.route.failed(Refusal("it is no engine of pe_stream"))
        return found

    def close(self) -> None:
        """Close it; the next request opens another."""
        if self._open is not None:
            self._open.close()
            self._open = None

    def _failed(self, error: Exception) -> EngineAway:
        self.close()
        return self.route.failed(error)

    def _ask(self, method: str, path: str, body: bytes | None) -> bytes:
        begun_s = time.monotonic()
        if self._opened_to != self.route.address:
            self.close()
        kept = self._open is not None
        try:
            return self._answer(method, path, body)
        except _CLOSED as error:
            if not kept or time.monotonic() - begun_s > self._timeout_s / 2:
                raise self._failed(error) from None
        except (OSError, HTTPException, Refusal) as error:
            raise self._failed(error) from None
        self.close()  # it was closed while nothing was asked, as servers do
        try:
            return self._answer(method, path, body)
        except (OSError, HTTPException, Refusal) as error:
            raise self._failed(error) from None

    def _answer(self, method: str, path: str, body: bytes | None) -> bytes:
        if self._open is None:
            self._open = self._connected(self.route.address)
        headers = {**self._headers, "X-Session-Id": self.route.session}
        if body is not None:
            headers["Content-Length"] = str(len(body))
        # In pieces, each with its time: a slow line is no frozen engine.
        with suppress(*_CLOSED):  # whoever refuses a body has answered before it was all sent
            self._open.request(method, path, None if body is None else _pieces(body), headers)
        if sys.platform == "linux":  # others do not tell
            _sent(self._open.sock, self._timeout_s)
        deadline_s = time.monotonic() + self._timeout_s
        response = self._open.getresponse()
        pieces: list[bytes] = []
        size = 0
        while piece := response.read1(1 << 16):
            pieces.append(piece)
            size += len(piece)
            if size > MOST_BODY:
                raise Refusal("its answer has no end")
            if time.monotonic() > deadline_s:
                raise TimeoutError
        answer = b"".join(pieces)
        response.close()  # it has ended, which read1 does not note
        if response.will_close:
            self.close()
        if response.status != 200:
            raise refusal(response.status, answer)
        return answer

    def _connected(self, address: str) -> HTTPConnection:
        parts = urlsplit(address)
        host, port = parts.hostname or "", parts.port
        made = HTTPConnection(host, port, timeout=self._timeout_s)
        if _secure(address):
            made = HTTPSConnection(host, port, timeout=self._timeout_s, context=self._tls)
        made.connect()
        made.sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, _UNSENT)
        self._opened_to = address
        return made


def settings_for(url: str, token_file: Path | None, ca: Path | None) -> ModelSettings:
    """Settings of one who only asks that engine; raises ConfigError."""
    given = {"engine_token_file": token_file, "engine_ca": ca}
    texts = {name: str(path) for name, path in given.items() if path is not None}
    try:
        return ModelSettings.model_validate({"engine": url, **texts})
    except ValidationError as error:
        raise ConfigError(f"--url: {error.errors()[0]['msg']}") from None


def _pieces(body: bytes) -> Iterator[memoryview]:
    for at in range(0, len(body), _PIECE):
        yield memoryview(body)[at : at + _PIECE]


def _sent(sent: socket.socket, patience_s: float) -> None:
    """Return once the other machine has all, or says something.

    Raises TimeoutError where it takes nothing for so long.
    """
    heard = select.poll()
    heard.register(sent, select.POLLIN)
    left, since_s = 0, time.monotonic()
    while not heard.poll(0):
        now_s = time.monotonic()
        (unsent,) = struct.unpack("i", fcntl.ioctl(sent, termios.TIOCOUTQ, bytes(4)))
        if not unsent:
            return
        if unsent != left:
            left, since_s = unsent, now_s
        elif now_s - since_s > patience_s:
            raise TimeoutError
        heard.poll(_LOOK_MS)


def _secure(address: str) -> bool:
    return address.lower().startswith("https://")


def _context(authority: str | None) -> ssl.SSLContext:
    try:
        return ssl.create_default_context(cafile=authority)
    except OSError as error:  # ssl.SSLError is one
        raise ConfigError(f"model.engine_ca: cannot use {authority}: {error}") from error
