"""A small MQTT broker of our own, on loopback only, for `demo` and `mqtt: {embedded: true}`.

It is amqtt (MQTT 3.1.1, QoS 0 to 2, retained messages, wills), without passwords and without
memory of the run before.
"""

from __future__ import annotations

import asyncio
import hmac
import logging
import secrets
import socket
from collections.abc import Callable
from concurrent.futures import Future
from functools import partial

from pe_stream.config.worker import Worker
from pe_stream.errors import UnavailableError
from pe_stream.outputs.listening import (
    BACKLOG,
    ListeningSocket,
    Rank,
    places,
    tell_of_loop,
)
from pe_stream.outputs.mqtt.bounded_broker import BoundedBroker
from pe_stream.outputs.mqtt.bounded_streams import BoundedReader, BoundedWriter

_log = logging.getLogger(__name__)

HOST = "127.0.0.1"
"""Where the broker listens: this machine only, because it asks nobody for a password."""

_START_S = 10.0
STOP_S = 1.5

CONNECTIONS = 100
"""Most clients at a time."""

OWN_PLACES = 2
"""So many of them nobody else may take: our own publisher may come again before its last connection
is known to have ended, and `demo` and `bench` have a subscriber."""

_RATE = 100
"""Connections accepted in a second."""

CONNECT_S = 10.0
"""A client has to have sent its whole CONNECT by then."""

LONGEST_KEEPALIVE_S = 600
"""Who does not promise to be heard this often (0 promises nothing) goes first where all is full."""

LARGEST_CONNECT = 1 << 16
"""Bytes of a CONNECT, which has the will in it, and is kept."""

_LISTENER = "default"
_CONFIG = {
    # "external": the listening socket is ours, so that a taken port and port 0 are ours to tell.
    "listeners": {_LISTENER: {"type": "external"}},
    "plugins": {"amqtt.plugins.authentication.AnonymousAuthPlugin": {"allow_anonymous": True}},
}

_CONNECT = 0x10
_MQTT_5 = 5
_LEVEL, _KEEPALIVE = slice(6, 7), slice(8, 10)  # of CONNECT's body (MQTT 3.1.1, section 3.1.2)
_CONNACK_UNSUPPORTED_VERSION = bytes([0x20, 3, 0, 0x84, 0])
_CONNACK_UNAVAILABLE = bytes([0x20, 2, 0, 3])


class EmbeddedBroker:
    """The broker in a thread of its own; one object is started and stopped once.

    failure: what ended the thread other than `stop`; `on_failure` is called with it, on the
        broker's thread.
    password: whoever connects with it has a place that is kept for our own clients.
    """

    def __init__(
        self, port: int = 0, *, on_failure: Callable[[BaseException], None] | None = None
    ) -> None:
        """Take the port to listen on; 0 means any free one."""
        self.failure: BaseException | None = None
        self.password = secrets.token_hex(16)
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
        self._loop.set_exception_handler(partial(tell_of_loop, "embedded MQTT broker"))
        broker = BoundedBroker(_CONFIG, self.password)
        server = await self._listen(broker)
        try:
            await broker.start()
            await server.start_serving()
            self._ready.set_result(server.sockets[0].getsockname()[1])
            await self._stopping.wait()
        finally:
            server.close()
        await broker.shutdown()

    async def _listen(self, broker: BoundedBroker) -> asyncio.Server:
        most = places(CONNECTIONS, part=8)
        # All of them come from this machine.
        listening = ListeningSocket(
            socket.AF_INET,
            name="embedded MQTT broker",
            most=most,
            share=most,
            rate=_RATE,
            rate_share=_RATE,
        )

        async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            await _serve_client(broker, self.password, listening, reader, writer)

        listening.begin(HOST, self._port, "set mqtt.port to a free port")
        return await asyncio.start_server(
            serve, sock=listening, backlog=BACKLOG, start_serving=False
        )


async def _serve_client(
    broker: BoundedBroker,
    password: str,
    listening: ListeningSocket,
    reader: asyncio.StreamReader,
    writer: asyncio.StreamWriter,
) -> None:
    """Refuse MQTT 5, hand everyone else to amqtt.

    amqtt reads the CONNECT of MQTT 5 as one of 3.1.1 and waits for bytes that never come, which
    leaves a client without the answer it needs to fall back to 3.1.1.
    """
    try:
        async with asyncio.timeout(CONNECT_S):
            head, body = await _read_connect(reader)
        accepted = listening.of(writer.get_extra_info("socket"))
        if body[_LEVEL] == bytes([_MQTT_5]):
            writer.write(_CONNACK_UNSUPPORTED_VERSION)
            await writer.drain()
        elif accepted is not None:
            keepalive_s = int.from_bytes(body[_KEEPALIVE])
            # The password is the last field (MQTT 3.1.1, section 3.1.3).
            own = hmac.compare_digest(body[-len(password) :], password.encode())
            rank = Rank.KNOWN if own or 0 < keepalive_s <= LONGEST_KEEPALIVE_S else Rank.ASKING
            if rank is Rank.KNOWN and not own and not listening.spares(OWN_PLACES):
                writer.write(_CONNACK_UNAVAILABLE)
                await writer.drain()
                return
            accepted.rank = lambda: rank
            rest = BoundedReader(head + body, reader, 1.5 * keepalive_s or None)
            await broker.external_connected(rest, BoundedWriter(writer), _LISTENER)
    except (asyncio.IncompleteReadError, ConnectionError, TimeoutError):
        _log.debug("a client of the embedded MQTT broker left in the middle of a packet")
    except asyncio.CancelledError:  # at the end, which waits for nobody to take what is unsent
        writer.transport.abort()
        raise
    finally:
        writer.close()


async def _read_connect(reader: asyncio.StreamReader) -> tuple[bytes, bytes]:
    """Read a CONNECT: its fixed header, and the rest; raises ConnectionError for anything else."""
    head = await reader.readexactly(2)
    if head[0] != _CONNECT:
        raise ConnectionError("the first packet is not CONNECT")
    length = head[-1] & 0x7F
    for shift in (7, 14, 21):
        if not head[-1] & 0x80:
            break
        head += await reader.readexactly(1)
        length |= (head[-1] & 0x7F) << shift
    if length > LARGEST_CONNECT:
        raise ConnectionError(f"a CONNECT of {length} bytes")
    return head, await reader.readexactly(length)
