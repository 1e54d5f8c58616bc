"""The engine's HTTP API, an ASGI application: /v1/hear, /v1/about and /v1/metrics.

It needs no server of ours: `pe-stream engine serve` runs it in a process of its own, and others may
wrap it.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import secrets
from collections import Counter
from collections.abc import Awaitable, Callable, Mapping, MutableMapping
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from pe_stream.model.checkpoint import Checkpoint
from pe_stream.outputs.http_server import KNOWN
from pe_stream.serving.figures import KIND, exposition
from pe_stream.serving.heads import BYTES, MOST_BODY, MOST_FRAMES, MOST_ITEMS, VERSION
from pe_stream.serving.scoring import FullError, Scoring
from pe_stream.serving.tokens import ANYBODY, OPERATOR, Tokens
from pe_stream.serving.wire import HearRequest, WireError, pack_reply, unpack_request
from pe_stream.serving.work import Work
from pe_stream.version import __version__

Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]

MOST_WAITING = 6 * MOST_BODY
"""Bytes of all requests together that are being received or scored, and of their sound, decoded; of
several tenants, each may have half of them."""

DISCARD_S, DISCARD_BYTES = 2.0, 1024 * 1024
"""Seconds and bytes of a refused body that are drained, so that its sender reads the answer."""

_SEE_ALL = frozenset({ANYBODY, OPERATOR})
"""Tenants that see the figures of all."""


class _Refused(Exception):  # noqa: N818 - nothing of ours went wrong
    def __init__(self, status: int, detail: str) -> None:
        super().__init__(detail)
        self.status, self.detail = status, detail


class EngineApplication:
    """Answers requests for scores; belongs to the loop that runs it."""

    def __init__(self, scoring: Scoring, checkpoint: Checkpoint, tokens: Tokens) -> None:
        """scoring: has begun, and is stopped by whoever began it."""
        self._scoring, self._checkpoint, self._tokens = scoring, checkpoint, tokens
        self._name = secrets.token_hex(4)
        self._waiting = Counter[str]()  # bytes, by tenant
        self._readers = ThreadPoolExecutor(max_workers=2, thread_name_prefix="decode")

    async def __call__(self, scope: MutableMapping[str, Any], receive: Receive, send: Send) -> None:
        """Answer a request; ASGI calls it."""
        if scope["type"] != "http":
            return
        headers = {
            name.decode("latin-1"): value.decode("latin-1") for name, value in scope["headers"]
        }
        body = _RequestBody(receive)
        try:
            status, kind, answer = 200, BYTES, await self._answer(scope, headers, body)
        except _Refused as refused:
            await body.discard()
            status, kind = refused.status, "application/json"
            answer = json.dumps({"detail": refused.detail}).encode()
        if status == 200 and scope["method"] == "GET":
            kind = KIND if scope["path"] == "/v1/metrics" else "application/json"
        more = {"content-type": kind}
        if status != 200:
            more |= {"connection": "close"}
        if status == 401:
            more |= {"www-authenticate": "Bearer"}
        if status == 503:
            more |= {"retry-after": "1"}
        named = {**more, "content-length": str(len(answer)), "cache-control": "no-store"}
        raw = [(name.encode(), value.encode()) for name, value in named.items()]
        await send({"type": "http.response.start", "status": status, "headers": raw})
        await send({"type": "http.response.body", "body": answer})

    def about(self, tenant: str) -> dict[str, Any]:
        """What this engine is, and does for the tenant; for all, to those who see to it."""
        streams, work = self._scoring.streams, self._scoring.work
        if tenant not in _SEE_ALL:
            streams = self._scoring.streams_of()[tenant]
            work = self._scoring.work_of.get(tenant, Work())
        return {
            "pe_stream": __version__,
            "replica": self._name,
            "version": VERSION,
            "checkpoint": self._checkpoint.name,
            "identity": self._checkpoint.identity,
            "describe": self._checkpoint.describe(),
            "context": self._scoring.context,
            "most_items": MOST_ITEMS,
            "most_frames": MOST_FRAMES,
            "width": self._scoring.width,
            "streams": streams,
            "work": work.as_dict(),
        }

    async def _answer(
        self, scope: MutableMapping[str, Any], headers: Mapping[str, str], body: _RequestBody
    ) -> bytes:
        methods = {"/v1/hear": "POST", "/v1/about": "GET", "/v1/metrics": "GET"}
        tenant = self._tokens.tenant_of(headers.get("authorization", ""))
        if tenant is None:
            raise _Refused(401, "a token is needed: Authorization: Bearer TOKEN")
        scope.setdefault("state", {})[KNOWN] = True
        if scope["path"] not in methods:
            raise _Refused(404, "there are /v1/hear, /v1/about and /v1/metrics")
        if scope["method"] != methods[scope["path"]]:
            raise _Refused(405, f"{scope['path']} is asked by {methods[scope['path']]}")
        if scope["path"] == "/v1/about":
            return json.dumps(self.about(tenant)).encode()
        if scope["path"] == "/v1/metrics":
            return self._figures(tenant)
        if headers.get("content-type", "") != BYTES:
            raise _Refused(415, f"a request is {BYTES}")
        return await self._hear(tenant, headers, body)

    def _figures(self, tenant: str) -> bytes:
        """Of the tenant; of all tenants for those who see to the engine."""
        works = dict(self._scoring.work_of)
        if tenant not in _SEE_ALL:
            works = {tenant: works.get(tenant, Work())}
        return exposition(self._name, works, self._scoring.streams_of())

    async def _hear(self, tenant: str, headers: Mapping[str, str], body: _RequestBody) -> bytes:
        length = headers.get("content-length", "")
        if not length.isdecimal():
            raise _Refused(411, "the length of a request has to be stated")
        if len(length) > 12 or int(length) > MOST_BODY:
            raise _Refused(413, f"more than {MOST_BODY} bytes")
        held = 0
        try:
            pieces: list[bytes] = []
            while piece := await body.next():
                held += self._hold(tenant, len(piece))
                if held > int(length):  # as where it comes in chunks, too
                    raise _Refused(400, "it is longer than was stated")
                pieces.append(piece)
            request = await self._read(b"".join(pieces))
            pieces.clear()
            if request.identity != self._checkpoint.identity:
                raise _Refused(
                    409, f"the checkpoint here is {self._checkpoint.name}, and not the same"
                )
            held += self._hold(tenant, sum(each.window.samples.nbytes for each in request.items))
            return await self._scored(tenant, request, body)
        except WireError as error:
            raise _Refused(400, str(error)) from None
        except FullError as error:
            raise _Refused(503, str(error)) from None
        finally:
            self._waiting[tenant] -= held

    def _hold(self, tenant: str, size: int) -> int:
        share = MOST_WAITING if self._tokens.tenants == 1 else MOST_WAITING // 2
        if self._waiting[tenant] + size > share or self._waiting.total() + size > MOST_WAITING:
            raise _Refused(503, "too much is being received: try again")
        self._waiting[tenant] += size
        return size

    async def _scored(self, tenant: str, request: HearRequest, body: _RequestBody) -> bytes:
        """The answer, unless whoever asked goes before: nothing is computed for nobody."""
        answer = asyncio.wrap_future(self._scoring.ask(tenant, request))
        gone = asyncio.ensure_future(body.gone())
        either: set[asyncio.Future[Any]] = {answer, gone}
        try:
            await asyncio.wait(either, return_when=asyncio.FIRST_COMPLETED)
            if not answer.done():
                raise _Refused(499, "whoever asked has gone")
            if answer.cancelled():
                raise _Refused(503, "it is stopping")
            return pack_reply(answer.result())
        finally:
            gone.cancel()
            answer.cancel()

    async def _read(self, body: bytes) -> HearRequest:
        """Read a request beside the loop: decoding takes milliseconds."""
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(self._readers, unpack_request, body)


class _RequestBody:
    """The body of a request, as far as it was read."""

    def __init__(self, receive: Receive) -> None:
        self._receive = receive
        self._more = True

    async def next(self) -> bytes:
        """The next piece of it; b"" at its end."""
        piece = b""
        while self._more and not piece:
            message = await self._receive()
            if message["type"] == "http.disconnect":
                self._more = False
                raise _Refused(400, "the rest did not come")
            self._more = message.get("more_body", False)
            piece = message.get("body", b"")
        return piece

    async def gone(self) -> None:
        """Return once whoever sent it has gone, or has the answer."""
        while (await self._receive())["type"] != "http.disconnect":
            pass

    async def discard(self) -> None:
        size = 0
        with contextlib.suppress(TimeoutError, _Refused):
            async with asyncio.timeout(DISCARD_S):
                while size < DISCARD_BYTES and (piece := await self.next()):
                    size += len(piece)
