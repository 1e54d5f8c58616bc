"""What the embedded broker reads from a client and sends to it: so much, and so long."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

from amqtt.adapters import ReaderAdapter, StreamWriterAdapter

PACKET_S = 20.0
"""A packet has to come within that time, once it has begun, and to be taken."""

CLOSE_S = 1.0
"""For what is left of it when the connection ends: the same client may be waiting on a new one."""

LARGEST_PACKET = 1 << 20
"""Most bytes of one: amqtt takes 256 MB of anybody."""


class BoundedReader(ReaderAdapter):
    """What was read already, then the rest of the connection, as far and as long as it may go.

    silence_s: a client that says nothing for so long is gone; None where it promised nothing.
    until_ready: asked before each packet; it returns when the next one may come.
    """

    def __init__(self, head: bytes, reader: asyncio.StreamReader, silence_s: float | None) -> None:
        """head: what was read already."""
        self.until_ready: Callable[[], Awaitable[None]] | None = None
        self._head = head
        self._reader = reader
        self._silence_s = silence_s
        self._heard_s = asyncio.get_running_loop().time()

    async def read(self, n: int = -1) -> bytes:
        """Return so many bytes; raises ConnectionError where they are too many, or late."""
        if n < 0:
            head, self._head = self._head, b""
            return head + await self._reader.read()
        if n > LARGEST_PACKET:
            raise ConnectionAbortedError(f"a packet of {n} bytes")
        head, self._head = self._head[:n], self._head[n:]
        if len(head) == n:
            return head
        clock = asyncio.get_running_loop().time
        try:
            if n == 1 and self.until_ready is not None:
                begun_s = clock()
                async with asyncio.timeout(PACKET_S):
                    await self.until_ready()
                self._heard_s += clock() - begun_s  # for which the client is not to blame
            # A packet begins with single bytes, which may be long in coming; amqtt asks repeatedly.
            limit_s = self._silence_s if n == 1 else PACKET_S
            async with asyncio.timeout_at(None if limit_s is None else self._heard_s + limit_s):
                head += await self._reader.readexactly(n - len(head))
        except TimeoutError:  # which amqtt takes for nothing
            raise ConnectionAbortedError("nothing came in time") from None
        self._heard_s = clock()
        return head

    def feed_eof(self) -> None:
        """Nothing more comes."""
        self._reader.feed_eof()


class BoundedWriter(StreamWriterAdapter):
    """What is sent; whoever does not take it in time is cut off."""

    async def drain(self) -> None:
        """Wait until more may be sent; raises ConnectionResetError."""
        try:
            async with asyncio.timeout(PACKET_S):
                await super().drain()
        except TimeoutError:
            self._writer.transport.abort()
            raise ConnectionResetError("the client takes nothing") from None

    async def close(self) -> None:
        """Hang up."""
        try:
            async with asyncio.timeout(CLOSE_S):
                await super().close()
        except TimeoutError:
            self._writer.transport.abort()
        except asyncio.CancelledError:  # amqtt may end a connection twice
            self._writer.transport.abort()
            raise
