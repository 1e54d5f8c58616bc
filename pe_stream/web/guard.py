"""What every request goes through: who asks, from where, how often, how much.

A page of another site that the browser happens to show must not be able to do anything here. Three
things prevent that: changes need JSON, which it cannot send unasked; their Origin must be ours; and
the Host must be one that we know, so that no name of its own can be made to point here.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import math
import time
from collections.abc import Iterable
from ipaddress import ip_address, ip_network
from itertools import islice
from urllib.parse import urlsplit

from limits import RateLimitItem
from limits import parse as rate
from limits.storage import MemoryStorage
from limits.strategies import MovingWindowRateLimiter
from starlette.datastructures import Headers, MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from pe_stream.config import WebSettings
from pe_stream.config.addresses import is_loopback
from pe_stream.outputs.http_server import KNOWN
from pe_stream.outputs.listening import network_of
from pe_stream.outputs.shortage import shortage
from pe_stream.web.passwords import Authenticator

COOKIE = "pe_stream_session"

_HEALTH = "/api/v1/health"
"""Who asks restarts what gives no answer, so it is given whatever else comes from there; a refusal
would cost as much."""

_FOR_ALL = frozenset({"/api/v1/session", _HEALTH})
"""What whoever has not logged in may ask too."""

MOST_BYTES = 64 * 1024
"""Most bytes of a request's body."""

DISCARD_S, DISCARD_BYTES = 2.0, 1024 * 1024
"""Seconds and bytes of a refused body that are drained."""

REQUESTS = rate("3000/minute")
"""Requests of one address without a password or token. Opening the page takes about 60."""

LOGINS = rate("10/minute")
"""Tries of one address."""

ALL_LOGINS = rate("30/minute")
"""Tries of all addresses together: each takes a tenth of a second of a core."""

FIRST_LOGINS = rate("3/10 minutes")
"""Tries of an address that are not among these: whoever tries on and on keeps nobody else out. Of
IPv6 a /48 counts as one: a house may have 256 networks, and more."""

ALL_FIRST_LOGINS = rate("30/minute")
"""Those of all addresses together: ten use them up for a minute in ten, a hundred for good."""

_HEADERS = {
    "Content-Security-Policy": "default-src 'self'; img-src 'self' data: blob:; "
    "media-src 'self' blob:; object-src 'none'; base-uri 'none'; form-action 'self'; "
    "frame-ancestors 'self'",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Cache-Control": "no-cache",
}
_COOKIES = 5
"""So many of our name are looked at: pages below several paths of one host have one each."""

_SAFE = {"GET", "HEAD", "OPTIONS"}


class RefusedRequest(Exception):  # noqa: N818 - nothing of ours went wrong
    """The request ends here."""

    def __init__(self, status: int, detail: str, headers: dict[str, str] | None = None) -> None:
        """Take the answer."""
        super().__init__(detail)
        self.status, self.detail, self.headers = status, detail, headers or {}


class Guard:
    """ASGI middleware around the whole application."""

    def __init__(self, app: ASGIApp, settings: WebSettings, door: Authenticator) -> None:
        """Guard `app` by the settings."""
        self._app = app
        self._door = door
        self._prefix = settings.prefix
        self._trusted_proxies = settings.trusted_proxies
        self._origins = {urlsplit(origin).netloc.lower() for origin in settings.origins}
        # Beyond this machine the password protects, whatever name we are called by.
        self._names = (
            {"localhost", "127.0.0.1", "::1", settings.host.lower()}
            | {urlsplit(origin).hostname or "" for origin in settings.origins}
            if is_loopback(settings.host)
            else None
        )
        self._limiter = MovingWindowRateLimiter(MemoryStorage())

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Let a request through, or answer it."""
        if scope["type"] == "lifespan":
            await self._app(scope, receive, send)
            return
        if scope["type"] != "http":
            await send({"type": "websocket.close", "code": 1008})
            return
        scope = {**scope, "client": _client(scope, self._trusted_proxies)}
        begun = False
        body = _Body(receive)

        async def answer(message: Message) -> None:
            nonlocal begun
            if body.too_long:
                return  # whatever is made of half a body
            if message["type"] == "http.response.start":
                begun = True
                headers = MutableHeaders(scope=message)
                for name, value in _HEADERS.items():
                    headers.setdefault(name, value)
            await send(message)

        try:
            self._look(scope)
            # Whether a proxy takes the prefix off or leaves it, the routes are the same.
            await self._app({**scope, "root_path": self._prefix}, body.receive, answer)
        except RefusedRequest as refused:
            if not begun:
                await body.discard()
                await _refuse(refused, send)
            return
        if body.too_long and not begun:
            await body.discard()
            await _refuse(body.refusal, send)

    def _look(self, scope: Scope) -> None:
        headers = Headers(scope=scope)
        path = scope["path"].removeprefix(self._prefix)
        # First, so that nobody is kept out by what others ask from the same address.
        known = not self._door.open and knows(self._door, headers)
        if known:
            scope.setdefault("state", {})[KNOWN] = True
        elif path != _HEALTH or scope["method"] != "GET":
            self._allow(REQUESTS, "requests", address(scope))
        host = headers.get("host", "").lower()
        if self._names is not None and _hostname(host) not in self._names:
            raise RefusedRequest(421, "not a name of this server: set web.origins")
        if scope["method"] not in _SAFE:
            self._require_own(scope["method"], headers, host)
        if self._prefix and not path:  # addresses in the page are relative to where it is
            raise RefusedRequest(308, "over there", {"Location": f"{self._prefix}/"})
        if path == "/api/v1/session" and scope["method"] == "POST" and not known:
            self._allow_login(address(scope))
        let_in = known or self._door.open
        if path.startswith("/api/") and path not in _FOR_ALL and not let_in:
            raise RefusedRequest(401, "log in first", {"WWW-Authenticate": "Bearer"})

    def _require_own(self, method: str, headers: Headers, host: str) -> None:
        origin = headers.get("origin")
        where = None if origin is None else _netloc(origin)
        if origin is not None and where not in {host, *self._origins}:
            raise RefusedRequest(403, f"changes from {origin[:100]!r} are not accepted")
        site = headers.get("sec-fetch-site", "none")
        if site not in ("same-origin", "none") and where not in self._origins:
            raise RefusedRequest(403, "changes from another site are not accepted")
        kind = headers.get("content-type", "").partition(";")[0].strip()
        if kind != "application/json" and method != "DELETE":  # that no form can send
            raise RefusedRequest(415, "a change is sent as application/json")
        length = headers.get("content-length", "0")
        if not length.isdecimal() or int(length) > MOST_BYTES:
            raise RefusedRequest(413, f"more than {MOST_BYTES} bytes")

    def _allow_login(self, who: str) -> None:
        self._allow(LOGINS, "login", who)
        house = _house(who)
        if self._limiter.test(FIRST_LOGINS, "first login", house):
            self._allow(ALL_FIRST_LOGINS, "first logins", "all")
            self._allow(FIRST_LOGINS, "first login", house)
        else:
            self._allow(ALL_LOGINS, "logins", "all")

    def _allow(self, most: RateLimitItem, kind: str, who: str) -> None:
        try:
            allowed = self._limiter.hit(most, kind, who)
        except RuntimeError as error:  # it starts threads
            raise RefusedRequest(503, shortage(error) or str(error)) from error
        if not allowed:
            stats = self._limiter.get_window_stats(most, kind, who)
            wait_s = max(1, math.ceil(stats.reset_time - time.time()))
            raise RefusedRequest(429, f"too often: wait {wait_s} s", {"Retry-After": str(wait_s)})


def knows(door: Authenticator, headers: Headers) -> bool:
    """Whether who asks may come in."""
    if door.open:
        return True
    kind, _, token = headers.get("authorization", "").partition(" ")
    if kind.lower() == "bearer":
        return door.knows_token(token.strip())
    return any(door.knows_session(cookie) for cookie in islice(_cookies(headers), _COOKIES))


def address(scope: Scope) -> str:
    """Who a request counts for: where it comes from, as `network_of`."""
    client = scope.get("client")
    return str(client[0]) if client else "unknown"


def _house(who: str) -> str:
    """Of an `address`: itself, or the /48 that a network of IPv6 is in."""
    return str(ip_network(who).supernet(new_prefix=48)) if "/" in who else who


def _client(scope: Scope, trusted_proxies: int) -> tuple[str, int] | None:
    """Where a request comes from: the other end, or what the outermost proxy of ours says.

    Each proxy adds the address that it was asked from at the end, so that only the last ones are
    to be trusted: what comes before them, the client may have written itself.
    """
    client = scope.get("client")
    if client is None:
        return None
    host = str(client[0])
    if trusted_proxies:
        lines = Headers(scope=scope).getlist("x-forwarded-for")
        hops = [hop for line in lines for hop in line.split(",")][-trusted_proxies:]
        host = _address_in(hops[0]) or host if hops else host
    return network_of(host), client[1]


def _address_in(hop: str) -> str | None:
    """The address in what a proxy says, which may have a port too; None where there is none."""
    text = hop.strip()
    for candidate in (text, _hostname(text)):
        try:
            return str(ip_address(candidate))
        except ValueError:
            continue
    return None


def _netloc(origin: str) -> str | None:
    """Host and port of an origin; None for what is none."""
    try:
        return urlsplit(origin).netloc.lower() or None
    except ValueError:
        return None


def _hostname(host: str) -> str:
    try:
        return urlsplit(f"//{host}").hostname or ""
    except ValueError:
        return ""


def _cookies(headers: Headers) -> Iterable[str]:
    for line in headers.getlist("cookie"):
        for part in line.split(";"):
            name, _, value = part.partition("=")
            if name.strip() == COOKIE:
                yield value.strip().strip('"')


class _Body:
    """The body of a request, as far as it may go on."""

    def __init__(self, receive: Receive) -> None:
        self._receive = receive
        self._seen = 0
        self._more = True
        self.refusal = RefusedRequest(413, f"more than {MOST_BYTES} bytes")

    @property
    def too_long(self) -> bool:
        return self._seen > MOST_BYTES

    async def discard(self) -> None:
        """Take what is still sent, within reason: who is still sending does not read the answer."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(DISCARD_S):
                while self._more and self._seen < DISCARD_BYTES:
                    message = await self._receive()
                    self._seen += len(message.get("body", b""))
                    self._more = message.get("more_body", False)

    async def receive(self) -> Message:
        message = await self._receive()
        self._more = message.get("more_body", False)
        self._seen += len(message.get("body", b""))
        if self.too_long:
            raise self.refusal
        return message


async def _refuse(refused: RefusedRequest, send: Send) -> None:
    body = json.dumps({"detail": refused.detail}).encode()
    headers = {
        "content-type": "application/json",
        "content-length": str(len(body)),
        "connection": "close",  # the rest of a body that is too long is not read
    } | refused.headers
    headers |= {name.lower(): value for name, value in _HEADERS.items()}
    raw = [(name.encode(), value.encode()) for name, value in headers.items()]
    await send({"type": "http.response.start", "status": refused.status, "headers": raw})
    await send({"type": "http.response.body", "body": body})
