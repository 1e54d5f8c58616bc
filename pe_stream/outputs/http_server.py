"""An HTTP server that serves on while somebody holds connections: for the page, and for metrics.

uvicorn has a time limit between two requests only, and none that a byte of the next does not end.
Here every state of a connection has one; `ListeningSocket` has the bounds on their number.
"""

from __future__ import annotations

import asyncio
import contextlib
import math
import threading
from collections.abc import Callable
from functools import partial
from typing import Any, cast

import h11
import uvicorn
from uvicorn.protocols.http.h11_impl import H11Protocol

from pe_stream.config.worker import Worker
from pe_stream.outputs.listening import BACKLOG, ListeningSocket, Rank, tell_of_loop

HEAD_S = 10.0
"""A connection has to bring the head of its first request by then."""

IDLE_S = 15.0
"""And that of the next."""

BODY_S = 20.0
"""A body has to be there by then, whether it is read or not."""

RESPONSE_S = 300.0
"""An answer has to be taken by then, but for one that has no end (ENDLESS)."""

TOTAL_S = 600.0
"""A connection that has lasted so long ends with the request under way."""

LINGER_S = 5.0
"""One that is being closed is cut after that."""

LOOK_S = 0.5
"""Time limits are looked at this often."""

START_S = 10.0

GRACE_S = 0.5
"""At a stop, whoever is being served has so long."""

KNOWN = "known"
"""State of a request from somebody who may be here: its connection is ended for nobody else's."""

ENDLESS = "endless"
"""State of a request whose answer has no end; it sees to its readers itself."""


def words(status: int, phrase: str, text: str) -> bytes:
    """A whole answer in plain text, after which the connection ends."""
    body = f"{text}\n".encode()
    head = (
        f"HTTP/1.1 {status} {phrase}\r\nContent-Type: text/plain; charset=utf-8\r\n"
        f"Content-Length: {len(body)}\r\nRetry-After: 5\r\nConnection: close\r\n\r\n"
    )
    return head.encode() + body


TOO_MANY = words(503, "Service Unavailable", "too many connections: try again in some seconds")
TOO_SLOW = words(408, "Request Timeout", "the request did not come in time")


class BoundedProtocol(H11Protocol):
    """One connection; belongs to the loop."""

    def __init__(self, listening: ListeningSocket, **given: Any) -> None:
        """Take what uvicorn gives a protocol, and where the connection came from."""
        super().__init__(**given)
        self._listening = listening
        self._phase: tuple[object, ...] = ()
        self._opened_s = self._since_s = self.loop.time()

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]  # as uvicorn has it
        """Begin; asyncio calls it."""
        super().connection_made(transport)
        accepted = self._listening.of(transport.get_extra_info("socket"))
        if accepted is None:  # it had to go before it began
            transport.abort()
            return
        accepted.rank, accepted.end = self._rank, self._make_way

    def look(self, now_s: float) -> None:
        """End it where its time is up. now_s: of the loop."""
        closing = self.transport.is_closing()
        phase = (closing, self.cycle, self.conn.our_state, self.conn.their_state)
        if phase != self._phase:
            self._phase, self._since_s = phase, now_s
        spent_s = now_s - self._since_s
        if closing:
            if spent_s > LINGER_S:
                self.transport.abort()
        elif spent_s > self._limit_s():
            if self._answering:  # what is left of it would wait for ever
                self.transport.abort()
            else:
                self._end(TOO_SLOW)
        elif now_s - self._opened_s > TOTAL_S:
            if self.cycle is None or self.cycle.response_complete:
                self._end(b"")
            else:
                self.cycle.keep_alive = False

    @property
    def _answering(self) -> bool:
        cycle = self.cycle
        return cycle is not None and cycle.response_started and not cycle.response_complete

    def _limit_s(self) -> float:
        if self.conn.their_state is h11.IDLE:
            return HEAD_S if self.cycle is None else IDLE_S
        if self.conn.their_state is h11.SEND_BODY:
            return BODY_S
        if self.cycle is not None and not self.cycle.response_complete:
            return float("inf") if self._state(ENDLESS) else RESPONSE_S
        return LINGER_S

    def _rank(self) -> Rank:
        if self.cycle is None or self.cycle.response_complete:
            return Rank.WAITING
        return Rank.KNOWN if self._state(KNOWN) or self._state(ENDLESS) else Rank.ASKING

    def _state(self, name: str) -> bool:
        return bool(self.scope["state"].get(name))

    def _make_way(self) -> None:
        """End it for another, whose descriptor cannot wait until what was said is taken."""
        self._end(TOO_MANY)
        if self.scheme == "https" or self.transport.get_write_buffer_size():
            self.transport.abort()

    def _end(self, said: bytes) -> None:
        """Close it, with an answer where one is owed."""
        if self.transport.is_closing():
            return
        waits = self.cycle is None or self.cycle.response_complete
        owed = self.conn.trailing_data[0] != b"" if waits else not self._answering
        if said and owed:
            self.transport.write(said)
        self.transport.close()


class HttpServer:
    """Serves an ASGI application on a thread, from a socket that listens already.

    Requests' `scope["state"]` may say KNOWN and ENDLESS. on_failure: called on the thread, with
    what ended it, if that was an error. began: called on the thread with its loop, at first.
    """

    def __init__(
        self,
        app: Any,
        listening: ListeningSocket,
        on_failure: Callable[[BaseException], None],
        *,
        began: Callable[[asyncio.AbstractEventLoop], None] = lambda _: None,
        certificate: str | None = None,
        key: str | None = None,
    ) -> None:
        """Prepare; certificate, key: PEM files, for TLS. Raises OSError where they are unusable."""
        self._listening, self._began = listening, began
        config = uvicorn.Config(
            _ending_quietly(app),
            lifespan="off",
            log_config=None,
            access_log=False,
            server_header=False,
            proxy_headers=False,
            ws="none",
            loop="asyncio",
            http=cast("type[asyncio.Protocol]", partial(BoundedProtocol, listening)),
            backlog=BACKLOG,
            timeout_keep_alive=math.ceil(IDLE_S) + 1,  # ours is first
            timeout_graceful_shutdown=2,
            ssl_certfile=certificate,
            ssl_keyfile=key,
        )
        config.load()
        self._server = uvicorn.Server(config)
        self._ready = threading.Event()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._stopping = asyncio.Event()
        self._worker = Worker(listening.name, self._run, on_failure)

    def start(self) -> None:
        """Begin, and return once it serves; once."""
        self._worker.start()
        self._ready.wait(START_S)

    def stop(self, timeout_s: float) -> bool:
        """Send everybody away; whether the thread has ended by then."""
        self._server.should_exit = True
        if self._loop is not None and self._worker.running:
            with contextlib.suppress(RuntimeError):  # it was faster
                self._loop.call_soon_threadsafe(self._stopping.set)
        return self._worker.join(timeout_s)

    def _run(self) -> None:
        try:
            asyncio.run(self._serve())
        finally:
            self._ready.set()
            self._listening.close()

    async def _serve(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._loop.set_exception_handler(partial(tell_of_loop, self._listening.name))
        self._began(self._loop)
        self._ready.set()
        async with asyncio.TaskGroup() as both:
            watching = both.create_task(self._watch())
            await self._server.serve([self._listening])
            watching.cancel()

    async def _watch(self) -> None:
        """End what has lasted too long; at the stop, what uvicorn would wait for."""
        state = self._server.server_state
        while not self._server.should_exit:
            try:
                await asyncio.wait_for(self._stopping.wait(), LOOK_S)
            except TimeoutError:
                for each in self._connections():
                    each.look(self._loop_s())
        await asyncio.sleep(GRACE_S)
        for each in self._connections():
            each.transport.abort()
        await asyncio.sleep(0.1)  # they notice
        for task in list(state.tasks):
            task.cancel()

    def _connections(self) -> list[BoundedProtocol]:
        return list(cast("set[BoundedProtocol]", self._server.server_state.connections))

    @staticmethod
    def _loop_s() -> float:
        return asyncio.get_running_loop().time()


def _ending_quietly(app: Any) -> Any:
    """The same; where a stop cancels it, its connection has ended, and nothing is wrong."""

    async def answer(scope: Any, receive: Any, send: Any) -> None:
        with contextlib.suppress(asyncio.CancelledError):
            await app(scope, receive, send)

    return answer
