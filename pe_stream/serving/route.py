"""Which engine is asked, and what is told of one that does not answer: no socket is in here."""

from __future__ import annotations

import json
import ssl
from collections.abc import Sequence
from urllib.parse import quote, urlsplit

from pe_stream.config.addresses import is_loopback
from pe_stream.core.words import visible
from pe_stream.errors import UnavailableError
from pe_stream.serving.heads import Coding

_STATED = 300
"""Characters of what an engine says that are told on."""


class EngineAway(UnavailableError):  # noqa: N818 - a state, told as it is
    """An engine gives no answer, in one line that begins with its address."""

    def __init__(self, address: str, why: str) -> None:
        super().__init__(f"{address}: {why}")
        self.address = address


class Refusal(Exception):  # noqa: N818 - of theirs
    """What an engine answered instead."""


class Route:
    """The present one of some engines, and the session under which it is asked. Of one thread."""

    def __init__(
        self, addresses: Sequence[str], session: str, *, timeout_s: float, wire: str
    ) -> None:
        """session: a name by which a cluster sends us to the same engine each time."""
        self._addresses, self._session = addresses, quote(session)
        self._timeout_s, self._wire = timeout_s, wire
        self._number = self._at = 0

    @property
    def address(self) -> str:
        """Of the present engine."""
        return self._addresses[self._at]

    @property
    def session(self) -> str:
        """Another one after each time-out, by which a cluster may choose another engine."""
        return f"{self._session}~{self._number}" if self._number else self._session

    @property
    def coding(self) -> Coding:
        """How audio is sent to the present engine."""
        if self._wire == "auto":
            return "pcm16" if is_loopback(urlsplit(self.address).hostname or "") else "flac"
        coding: Coding = self._wire  # type: ignore[assignment]  # one of the others, as the settings check
        return coding

    def failed(self, error: Exception) -> EngineAway:
        """Leave this engine for the next, and say why in one line."""
        away = EngineAway(self.address, self._reason(error))
        if isinstance(error, TimeoutError):
            self._number += 1  # another replica: this one may be frozen
        self._at = (self._at + 1) % len(self._addresses)
        return away

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


def refusal(status: int, answer: bytes) -> Refusal:
    """What is told of an answer other than 200."""
    if status == 401:
        return Refusal("it does not take the token: see model.engine_token_file")
    detail = _detail(answer)
    if status == 409 and detail:
        return Refusal(f"refused: {detail}: model.checkpoint has to be the same on both machines")
    if detail and status in {400, 411, 413, 415, 503}:
        return Refusal(f"refused: {detail}")
    if status == 503:
        return Refusal("it is too busy, or starting")
    return Refusal(f"it is no engine of pe_stream, or is not there (HTTP {status})")


def _detail(answer: bytes) -> str:
    """What a refusal of ours says."""
    try:
        found = json.loads(answer)
    except ValueError:
        return ""
    detail = found.get("detail") if isinstance(found, dict) else None
    return visible(detail[:_STATED]) if isinstance(detail, str) else ""
