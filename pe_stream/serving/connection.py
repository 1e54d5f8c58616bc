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
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from http.client import HTTPConnection, HTTPException, HTTPSConnection, RemoteDisconnected
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlsplit

from pe_stream.config import ModelSettings
from pe_stream.config.addresses import is_loopback
from pe_stream.config.secrets import read_secret
from pe_stream.core.words import visible
from pe_stream.errors import ConfigError, UnavailableError
from pe_stream.serving.heads import BYTES, MOST_BODY, Coding

_STATED = 300
"""Characters of what an engine says that are told on."""


_CLOSED = RemoteDisconnected, ConnectionResetError, BrokenPipeError, ssl.SSLEOFError
"""What a kept connection says that its server has closed meanwhile."""

_PIECE = 1 << 16
"""Bytes that are sent at a time."""

_UNSENT = 1 << 17
"""Bytes that the system may hold for us."""

_LOOK_MS = 20
"""So often it is asked how many those are."""


class EngineAway(UnavailableError):  # noqa: N818 - a state, told as it is
    """An engine gives no answer, in one line that begins with its address."""

    def __init__(self, address: str, why: str) -> None:
        super().__init__(f"{address}: {why}")
        self.address = address


class Refusal(Exception):  # noqa: N818 - of theirs
    """What an engine answered instead."""


class EngineConnection:
    """Asks the first of some engines that answers. Belongs to one thread.

    coding: how audio is sent to the present one.
    """

    def __init__(
        self,
        addresses: Sequence[str],
        session: str,
        *,
        headers: dict[str, str],
        tls: ssl.SSLContext | None,
        timeout_s: float,
        wire: str,
    ) -> None:
        """session: a name by which a cluster sends us to the same engine each time."""
        self._addresses, self._tls, self._timeout_s = addresses, tls, timeout_s
        self._session, self._headers, self._wire = quote(session), headers, wire
        self._number = self._at = 0
        self._open: HTTPConnection | None = None

    @classmethod
    def factory(cls, settings: ModelSettings) -> Callable[[str], EngineConnection]:
        """What makes connections of a session's name.

        Raises ConfigError where the token's file or the authority's cannot be used.
        """
        addresses = settings.engine_addresses
        headers = {"Content-Type": BYTES}
        if settings.engine_token_file is not None:
            path = Path(settings.engine_token_file)
            token = read_secret("model.engine_token_file", path, what="token")
            if not token.isascii() or not token.isprintable():
                raise ConfigError(f"model.engine_token_file: {path} holds no token")
            headers["Authorization"] = f"Bearer {token}"
        tls = _context(settings.engine_ca) if any(map(_secure, addresses)) else None
        return lambda session: cls(
            addresses,
            session,
            headers=headers,
            tls=tls,
            timeout_s=settings.engine_timeout_s,
            wire=settings.engine_wire,
        )

    @property
    def address(self) -> str:
        """Of the present engine."""
        return self._addresses[self._at]

    @property
    def coding(self) -> Coding:
        """How audio is sent to the present engine."""
        if self._wire == "auto":
            return "pcm16" if is_loopback(urlsplit(self.address).hostname or "") else "flac"
        coding: Coding = self._wire  # type: ignore[assignment]  # one of the others, as the settings check
        return coding

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
            raise self.failed(Refusal("it is no engine of pe_stream"))
        return found

    def close(self) -> None:
        """Close it; the next request opens another."""
        if self._open is not None:
            self._open.close()
            self._open = None

    def failed(self, error: Exception) -> EngineAway:
        """Leave this engine for the next, and say why in one line."""
        address, why = self.address, self._reason(error)
        self.close()
        if isinstance(error, TimeoutError):
            self._number += 1  # another replica: this one may be frozen
        self._at = (self._at + 1) % len(self._addresses)
        return EngineAway(address, why)

    def _ask(self, method: str, path: str, body: bytes | None) -> bytes:
        begun_s = time.monotonic()
        kept = self._open is not None
        try:
            return self._answer(method, path, body)
        except _CLOSED as error:
            if not kept or time.monotonic() - begun_s > self._timeout_s / 2:
                raise self.failed(error) from None
        except (OSError, HTTPException, Refusal) as error:
            raise self.failed(error) from None
        self.close()  # it was closed while nothing was asked, as servers do
        try:
            return self._answer(method, path, body)
        except (OSError, HTTPException, Refusal) as error:
            raise self.failed(error) from None

    def _answer(self, method: str, path: str, body: bytes | None) -> bytes:
        if self._open is None:
            self._open = self._opened()
        session = f"{self._session}~{self._number}" if self._number else self._session
        headers = {**self._headers, "X-Session-Id": session}
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
            raise Refusal(self._refusal(response.status, answer))
        return answer

    def _opened(self) -> HTTPConnection:
        parts = urlsplit(self.address)
        host, port = parts.hostname or "", parts.port
        made = HTTPConnection(host, port, timeout=self._timeout_s)
        if _secure(self.address):
            made = HTTPSConnection(host, port, timeout=self._timeout_s, context=self._tls)
        made.connect()
        made.sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, _UNSENT)
        return made

    def _refusal(self, status: int, answer: bytes) -> str:
        if status == 401:
            return "it does not take the token: see model.engine_token_file"
        detail = _detail(answer)
        if status == 409 and detail:
            return f"refused: {detail}: model.checkpoint has to be the same on both machines"
        if detail and status in {400, 411, 413, 415, 503}:
            return f"refused: {detail}"
        if status == 503:
            return "it is too busy, or starting"
        return f"it is no engine of pe_stream, or is not there (HTTP {status})"

    def _reason(self, error: Exception) -> str:
        if isinstance(error, Refusal):
            return str(error)
        if isinstance(error, ssl.SSLCertVerificationError):
            why = error.verify_message or "not trusted"
            return f"its certificate is not accepted ({why}): see model.engine_ca"
        if isinstance(error, ssl.SSLError):
            return f"no TLS there: {error.reason or error}"
        if isinstance(error, TimeoutError):
            return f"no answer within {self._timeout_s:g} s"
        if isinstance(error, OSError):
            return visible(error.strerror or str(error) or type(error).__name__)
        return f"it speaks no HTTP ({type(error).__name__})"


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


def _detail(answer: bytes) -> str:
    """What a refusal of ours says."""
    try:
        found = json.loads(answer)
    except ValueError:
        return ""
    detail = found.get("detail") if isinstance(found, dict) else None
    return visible(detail[:_STATED]) if isinstance(detail, str) else ""
