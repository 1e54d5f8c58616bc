"""The thread that keeps a connection to the broker and delivers what it is given."""

from __future__ import annotations

import contextlib
import itertools
import logging
import random
import socket
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace

from pe_stream.config import MqttSettings
from pe_stream.config.worker import Worker
from pe_stream.core.backoff import delay_s
from pe_stream.core.messages import Message, Topics, slug
from pe_stream.errors import UnavailableError
from pe_stream.outputs.mqtt.commands import ALLOWED, SetCommand, parse_set
from pe_stream.outputs.mqtt.connection import (
    Acknowledged,
    Arrival,
    Connection,
    HostileError,
    Received,
    SubscriptionRefused,
    TooLarge,
)
from pe_stream.outputs.mqtt.connector import Connector
from pe_stream.outputs.mqtt.outbox import Outbox

_log = logging.getLogger(__name__)

FLUSH_S = 2.0
"""How long `stop` waits for the broker to acknowledge what is left."""

STOP_S = 1.0
"""And then for the thread to end (s)."""

LONGEST_S = 60.0
"""The longest pause before the next attempt to connect."""

_STEADY_S = 10.0
"""A connection that held this long was a good one: the next attempt begins with short delays."""

_DROP_WARNING_S = 10.0

DEAF_S = 600.0
"""After a connection that ended for what the broker sent, nothing is subscribed for so long (s):
what is retained may come with each subscription."""


def backoff() -> Iterator[float]:
    """Delays before the next attempt (s), without end."""
    return (delay_s(attempt, LONGEST_S, random.random()) for attempt in itertools.count(1))  # noqa: S311 - no secret is made of it


class Publisher:
    """Delivers messages to the broker, over as many connections as it takes.

    Every connection begins with the status `online` and all retained states as they are then; the
    events follow in order, each delivered at least once (see Outbox). The will says `offline`.

    failure: what ended the thread other than `stop`; `on_failure` is called with it, on the
        publisher's thread.
    """

    def __init__(
        self,
        settings: MqttSettings,
        topics: Topics,
        *,
        on_set: Callable[[str, str, SetCommand], None],
        on_failure: Callable[[BaseException], None],
        on_delivered: Callable[[int], None] = lambda _: None,
        delays: Callable[[], Iterator[float]] = backoff,
    ) -> None:
        """Prepare; nothing is sent before `start`.

        on_set: called on the publisher's thread with source slug, label slug and command.
        on_delivered: called there with the row of a stored message that the broker has.
        delays: makes the delays between attempts (s).
        Raises ConfigError for a password or TLS file that cannot be used.
        """
        self.connected = False
        self.failure: BaseException | None = None
        self._topics = topics
        self._on_set = on_set
        self._on_failure = on_failure
        self._on_delivered = on_delivered
        self._listen: dict[str, Callable[[str], None]] = {}
        self._delays = delays
        self._offline = Message(topics.status, "offline", qos=1, retain=True)
        client_id = settings.client_id or f"pe-stream-{slug(topics.node)}"
        self._connector = Connector(settings, client_id, will=self._offline)
        self._outbox = Outbox(settings.queue)
        self._outbox.put(Message(topics.status, "online", qos=1, retain=True))
        self._wake = _Wake()
        self._stopping = threading.Event()
        self._flush_until_s = 0.0
        self._reported: str | None = None  # the last error logged
        self._next_drop_warning_s = 0.0
        self._deaf_until_s = 0.0
        self._worker = Worker("mqtt", self._keep_connected, self._fail)

    @property
    def queued(self) -> int:
        """Events the broker has not acknowledged yet."""
        return self._outbox.queued

    @property
    def waiting_s(self) -> float:
        """How long the oldest of them has waited (s); 0 without any."""
        oldest_s = self._outbox.oldest_s
        return 0.0 if oldest_s is None else time.monotonic() - oldest_s

    @property
    def dropped(self) -> int:
        """Events lost because more than `mqtt.queue` were waiting."""
        return self._outbox.dropped

    def listen(self, topic: str, heard: Callable[[str], None]) -> None:
        """Have `heard` called, on the publisher's thread, with what is said on a topic.

        Only before `start`. What is retained is not news, and left out.
        """
        self._listen[topic] = heard

    def start(self) -> None:
        """Begin to connect, in a thread; a broker that is not there yet is waited for."""
        self._worker.start()

    def publish(self, messages: Iterable[Message]) -> None:
        """Take messages to deliver, in order. Never waits; may be called from any thread."""
        dropped_before = self._outbox.dropped
        now_s = time.monotonic()
        for message in messages:
            self._outbox.put(replace(message, since_s=now_s) if message.is_event else message)
        self._wake.set()
        if self._outbox.dropped > dropped_before:
            self._warn_of_drops()

    def stop(self, flush_s: float = FLUSH_S) -> None:
        """Publish `offline`, wait up to `flush_s` for what is left to be delivered, disconnect.

        Where that is not enough the connection is broken off, so that the will says `offline`.
        """
        self._flush_until_s = time.monotonic() + flush_s
        self._outbox.put(self._offline)
        self._stopping.set()
        self._wake.set()
        ended = self._worker.join(flush_s + STOP_S)
        if self.queued:
            _log.warning("stopped with %d events not delivered by MQTT", self.queued)
        if ended:  # else it is stuck in a name look-up, and ends after it
            self._wake.close()

    def _fail(self, error: BaseException) -> None:
        self.failure = error
        self._on_failure(error)

    def _keep_connected(self) -> None:
        delays = self._delays()
        while not self._stopping.is_set():
            if self._session() > _STEADY_S:
                delays = self._delays()
            self._stopping.wait(next(delays))

    def _session(self) -> float:
        """Connect, and deliver until the connection ends; returns how long it held (s)."""
        try:
            connection = self._connector.connect(give_up=self._stopping.is_set)
        except UnavailableError as error:
            self._report(error)
            return 0.0
        began_s = time.monotonic()
        try:
            self._serve(connection)
        except HostileError as error:
            if time.monotonic() >= self._deaf_until_s:
                self._deaf_until_s = time.monotonic() + DEAF_S
                minutes = DEAF_S / 60
                error = HostileError(f"{error}; takes no `set` for {minutes:g} minutes")
            self._report(error)
        except UnavailableError as error:
            self._report(error)
        return time.monotonic() - began_s

    def _serve(self, connection: Connection) -> None:
        """Deliver until told to stop; raises UnavailableError when the connection is lost."""
        _log.info("connected to %s", self._connector.where)
        self._reported = None
        self._outbox.connected()
        self.connected = True
        try:
            # Before anything is sent: who sees `online` may send `set`.
            hears = self._hear(connection)
            while not self._finished():
                hears = hears or self._hear(connection)
                self._send(connection)
                for arrival in connection.step(self._patience_s(), self._wake.socket):
                    self._take(arrival)
                self._wake.clear()
            if self._outbox.empty:
                connection.disconnect()
        finally:
            self.connected = False
            self._outbox.disconnected()
            connection.close()

    def _hear(self, connection: Connection) -> bool:
        """Subscribe to all we take, unless the last time did harm; whether that is done."""
        if time.monotonic() < self._deaf_until_s:
            return False
        for topic in (self._topics.set_filter(), *self._listen):
            connection.subscribe(topic)
        return True

    def _finished(self) -> bool:
        return self._stopping.is_set() and (self._outbox.empty or self._patience_s() <= 0)

    def _patience_s(self) -> float:
        if not self._stopping.is_set():
            return 1.0
        return max(0.0, self._flush_until_s - time.monotonic())

    def _send(self, connection: Connection) -> None:
        # All beyond the window stays with us, where it is bounded and can be sent again.
        while self._outbox.in_flight < connection.in_flight_limit:
            message = self._outbox.next()
            if message is None:
                return
            packet_id = connection.publish(message)
            if message.qos:
                self._outbox.sent(packet_id, message)

    def _take(self, arrival: Arrival) -> None:
        match arrival:
            case Acknowledged(packet_id, refusal):
                message = self._outbox.acknowledged(packet_id)
                if message is not None and refusal is not None:
                    _log.error("the MQTT broker refuses %s: %s", message.topic, refusal)
                if message is not None and message.row is not None:
                    self._on_delivered(message.row)
            case SubscriptionRefused(reason):
                topics = " or ".join((self._topics.set_filter(), *self._listen))
                _log.error("the MQTT broker refuses to send us %s: %s", topics, reason)
            case TooLarge(topic, size):
                if topic in self._listen or self._topics.parse_set(topic) is not None:
                    _log.warning("ignored a message of %d bytes on %r", size, topic)
            case Received(topic, payload, retained):
                self._obey(topic, payload, retained=retained)

    def _obey(self, topic: str, payload: bytes, *, retained: bool) -> None:
        if topic in self._listen and not retained:
            self._listen[topic](payload.decode(errors="replace"))
            return
        target = self._topics.parse_set(topic)
        if target is None:  # amqtt also sends what nobody subscribed to
            return
        if retained:
            # It would undo the configuration at every start, long after anyone remembers it.
            _log.warning("ignored a retained message on %r: send `set` without retain", topic)
            return
        try:
            command = parse_set(payload)
        except ValueError as error:
            _log.warning("ignored a message on %r: %s; allowed is %s", topic, error, ALLOWED)
            return
        self._on_set(*target, command)

    def _report(self, error: UnavailableError) -> None:
        reason = str(error)
        if reason != self._reported and not self._stopping.is_set():
            _log.error("%s (retrying)", reason)
        self._reported = reason

    def _warn_of_drops(self) -> None:
        now_s = time.monotonic()
        if now_s >= self._next_drop_warning_s:
            self._next_drop_warning_s = now_s + _DROP_WARNING_S
            _log.warning(
                "%s is away and mqtt.queue is full: %d events lost so far, the oldest first",
                self._connector.where,
                self._outbox.dropped,
            )


class _Wake:
    """Ends the wait of another thread on `socket`."""

    def __init__(self) -> None:
        self.socket, self._far_end = socket.socketpair()
        self.socket.settimeout(0)
        self._far_end.settimeout(0)

    def set(self) -> None:
        # Full: it is awake already. Closed: nobody waits any more.
        with contextlib.suppress(OSError):
            self._far_end.send(b"w")

    def clear(self) -> None:
        with contextlib.suppress(BlockingIOError):
            self.socket.recv(4096)

    def close(self) -> None:
        self.socket.close()
        self._far_end.close()
