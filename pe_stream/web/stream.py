"""Answers without an end of their own, which end with a reader who does not read."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping

from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from pe_stream.outputs.http_server import ENDLESS

STALLED_S = 10.0
"""A reader who takes nothing for so long is left."""


class EndlessResponse(Response):
    """A response without an end; done: called when it is over, however it ends."""

    def __init__(
        self,
        messages: AsyncIterator[str | bytes],
        done: Callable[[], None],
        media_type: str = "text/event-stream",
        headers: Mapping[str, str] | None = None,
    ) -> None:
        """Send `messages`, such as whole events; what is empty is left out."""
        super().__init__(
            headers={"X-Accel-Buffering": "no", **(headers or {})}, media_type=media_type
        )
        del self.headers["content-length"]
        self._messages = messages
        self._done = done

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send until the messages end, the reader leaves, or takes nothing any more."""
        scope.setdefault("state", {})[ENDLESS] = True
        gone = asyncio.ensure_future(_gone(receive))
        sending = asyncio.ensure_future(self._send(send))
        try:
            await asyncio.wait({gone, sending}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            self._done()
            for task in (gone, sending):
                task.cancel()
            await asyncio.gather(gone, sending, return_exceptions=True)

    async def _send(self, send: Send) -> None:
        start = {"type": "http.response.start", "status": 200, "headers": self.raw_headers}
        await send(start)
        async for message in self._messages:
            data = message if isinstance(message, bytes) else message.encode()
            if data:
                body = {"type": "http.response.body", "body": data, "more_body": True}
                await asyncio.wait_for(send(body), STALLED_S)
        await send({"type": "http.response.body", "body": b"", "more_body": False})


async def _gone(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass
