"""A small MQTT broker of our own, on loopback only, for `demo` and `mqtt: {embedded: true}`.

It is amqtt (MQTT 3.1.1, QoS 0 to 2, retained messages, wills), without passwords and without
memory of the run before.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from concurrent.futures import Future
from typing import Any

from amqtt.adapters import ReaderAdapter, StreamWriterAdapter
from amqtt.broker import Broker

from pe_stream.config.worker import Worker
from pe_stream.errors import UnavailableError

_log = logging.getLogger(__name__)

HOST = "127.0.0.1"
"""Where the broker listens: this machine only, because it asks nobody for a password."""

_START_S = 10.0
STOP_S = 1.5

_LISTENER = "default"
_CONFIG = {
    # "external": the listening socket is ours, so that a taken port and port 0 are ours to tell.
    "listeners": {_LISTENER: {"type": "external"}},
    "plugins": {"amqtt.plugins.authentication.AnonymousAuthPlugin": {"allow_anonymous": True}},
}

_CONNECT = 0x10
_MQTT_5 = 5
_CONNACK_UNSUPPORTED_VERSION = bytes([0x20, 3, 0, 0x84, 0])


class EmbeddedBroker:
    """The broker in a thread of its own; one object is started and stopped once.

    failure: what ended the thread other than `stop`; `on_failure` is called with it, on the
        broker's thread.
    """

    def __init__(
        self, port: int = 0, *, on_failure: Callable[[BaseException], None] | None = None
    ) -> None:
        """Take the port to listen on; 0 means any free one."""
        self.failure: BaseException | None = None
        self._port = port
        self.on_failure = on_failure
        self._ready: Future[int] = Future()
        self._stopping = asyncio.Event()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._serving: asyncio.Task[object] | None = None
        self._worker = Worker("mqtt-broker", lambda: asyncio.run(self._serve()), self._fail)

    @property
    def port(self) -> int:
        """The port it listens on, once started."""
        return self._port

    def start(self) -> None:
        """Return when connections are accepted.

        Raises UnavailableError where the port is taken, or that takes longer than 10 s.
        """
        for chatty in ("amqtt", "transitions"):
            logging.getLogger(chatty).setLevel(logging.CRITICAL)
        self._worker.start()
        try:
            self._port = self._ready.result(_START_S)
        except TimeoutError:
            self.stop()
            raise UnavailableError(
                f"the embedded MQTT broker did not start within {_START_S:g} s: this machine is "
                "too busy; try again, or set mqtt.embedded: false and use another broker"
            ) from None

    def stop(self) -> None:
        """End it, in under 2 s; clients see their connections close."""
        if self._loop is not None and self._worker.running:
            self._loop.call_soon_threadsafe(self._end)
            self._worker.join(STOP_S)

    def _end(self) -> None:
        """End what the loop does; on its thread."""
        self._stopping.set()
        if not self._ready.done() and self._serving is not None:  # it has not come so far
            self._serving.cancel()

    def _fail(self, error: BaseException) -> None:
        """Pass it on to whoever starts us, or watches."""
        if not self._ready.done():
            self._ready.set_exception(error)
            return
        self.failure = error
        if self.on_failure is not None:
            self.on_failure(error)

    async def _serve(self) -> None:
        self._loop, self._serving = asyncio.get_running_loop(), asyncio.current_task()
        self._loop.set_exception_handler(_log_exception)
        broker = Broker(_CONFIG)
        server = await self._listen(broker)
        try:
            await broker.start()
            await server.start_serving()
            self._ready.set_result(server.sockets[0].getsockname()[1])
            await self._stopping.wait()
        finally:
            server.close()
        await broker.shutdown()

    async def _listen(self, broker: Broker) -> asyncio.Server:
        async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            await _serve_client(broker, reader, writer)

        try:
            return await asyncio.start_server(serve, HOST, self._port, start_serving=False)
        except OSError as error:
            raise UnavailableError(
                f"the embedded MQTT broker cannot listen on {HOST}:{self._port} "
                f"({error.strerror}): set mqtt.port to a free port"
            ) from error


async def _serve_client(
    broker: Broker, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
) -> None:
    """Refuse MQTT 5, hand everyone else to amqtt.

    amqtt reads the CONNECT of MQTT 5 as one of 3.1.1 and waits for bytes that never come, which
    leaves a client without the answer it needs to fall back to 3.1.1.
    """
    try:
        head = await _read_head(reader)
        if head[0] == _CONNECT and head[-1] == _MQTT_5:
            writer.write(_CONNACK_UNSUPPORTED_VERSION)
            await writer.drain()
        else:
            rest = _HeadFirst(head, reader)
            await broker.external_connected(rest, StreamWriterAdapter(writer), _LISTENER)
    except (asyncio.IncompleteReadError, ConnectionError):
        _log.debug("a client of the embedded MQTT broker left in the middle of a packet")
    finally:
        writer.close()


async def _read_head(reader: asyncio.StreamReader) -> bytes:
    """Read a packet up to the protocol level a CONNECT has there (MQTT 3.1.1, section 3.1)."""
    head = await reader.readexactly(2)
    length = head[-1] & 0x7F
    for shift in (7, 14, 21):
        if not head[-1] & 0x80:
            break
        head += await reader.readexactly(1)
        length |= (head[-1] & 0x7F) << shift
    return head + await reader.readexactly(min(length, len(b"\x00\x04MQTT\x05")))


class _HeadFirst(ReaderAdapter):
    """What was read already, then the rest of the connection."""

    def __init__(self, head: bytes, reader: asyncio.StreamReader) -> None:
        self._head = head
        self._reader = reader

    async def read(self, n: int = -1) -> bytes:
        if n < 0:
            head, self._head = self._head, b""
            return head + await self._reader.read()
        head, self._head = self._head[:n], self._head[n:]
        return head + await self._reader.readexactly(n - len(head))

    def feed_eof(self) -> None:
        self._reader.feed_eof()


def _log_exception(_: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
    _log.warning("embedded MQTT broker: %s", context.get("exception") or context["message"])
