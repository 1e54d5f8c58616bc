"""The thread that keeps a connection to the broker and delivers what it is given."""

from __future__ import annotations

import itertools
import logging
import random
import threading
import time
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from dataclasses import replace

from pe_stream.config import MqttSettings
from pe_stream.config.worker import Worker
from pe_stream.core.backoff import delay_s
from pe_stream.core.messages import Message, Topics, slug
from pe_stream.errors import UnavailableError
from pe_stream.outputs.mqtt.arrivals import Acknowledged, Arrival
from pe_stream.outputs.mqtt.command_inbox import CommandInbox
from pe_stream.outputs.mqtt.commands import SetCommand
from pe_stream.outputs.mqtt.connection import Connection, HostileError
from pe_stream.outputs.mqtt.connector import Connector
from pe_stream.outputs.mqtt.outbox import Outbox
from pe_stream.outputs.mqtt.packet_limit import PacketLimit
from pe_stream.outputs.mqtt.untaken import Untaken
from pe_stream.outputs.mqtt.wake import Wake

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
    events follow in order, each delivered at least once (see Outbox). The will says `offline`. What
    the broker does not take is set aside, and tried again with the next connection.

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
        on_kept: Callable[[Collection[str]], None] = lambda _: None,
        on_cleared: Callable[[str], None] = lambda _: None,
        delays: Callable[[], Iterator[float]] = backoff,
    ) -> None:
        """Prepare; nothing is sent before `start`.

        on_set: called on the publisher's thread with source slug, label slug and command.
        on_delivered: called there with the row of a stored message that the broker has.
        on_kept: called with topics before the broker is first asked to retain something on them, by
            whoever publishes it. on_cleared: called on the publisher's thread with a topic that
            the broker retains nothing on any more.
        delays: makes the delays between attempts (s).
        Raises ConfigError for a password or TLS file that cannot be used.
        """
        self.connected = False
        self.failure: BaseException | None = None
        self._on_failure = on_failure
        self._on_delivered, self._on_kept, self._on_cleared = on_delivered, on_kept, on_cleared
        self._keeping = threading.Lock()  # guards `_kept`, and the order of what is told about it
        self._kept: set[str] = set()
        self._inbox = CommandInbox(topics, on_set)
        self._delays = delays
        self._online = Message(topics.status, "online", qos=1, retain=True)
        self._offline = Message(topics.status, "offline", qos=1, retain=True)
        client_id = settings.client_id or f"pe-stream-{slug(topics.node)}"
        self._connector = Connector(settings, client_id, will=self._offline)
        self._outbox = Outbox(settings.queue)
        self._outbox.put(self._online)
        self._limit = PacketLimit()
        self._untaken = Untaken()
        self._wake = Wake()
        self._stopping = threading.Event()
        self._flush_until_s = 0.0
        self._reported: str | None = None  # the last error logged
        self._next_drop_warning_s = 0.0
        self._deaf_until_s = 0.0
        self._is_alone = False  # a suspect is on its way, and nothing else goes meanwhile
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

    @property
    def set_aside(self) -> Mapping[str, int]:
        """Messages that the broker did not take so far, by cause: too_large or refused."""
        return dict(self._untaken.counts)

    @property
    def untaken_reason(self) -> str | None:
        """What the broker does not take at present, in words; None where it takes everything."""
        return self._untaken.reason

    def listen(self, topic: str, heard: Callable[[str], None]) -> None:
        """Have `heard` called, on the publisher's thread, with what is said on a topic.

        Only before `start`. What is retained is not news, and left out.
        """
        self._inbox.listen(topic, heard)

    def start(self) -> None:
        """Begin to connect, in a thread; a broker that is not there yet is waited for."""
        self._note_kept([self._online])
        self._worker.start()

    def publish(self, messages: Iterable[Message]) -> None:
        """Take messages to deliver, in order. May be called from any thread.

        Waits for nothing but `on_kept`, which is called before any of them is sent.
        """
        messages = list(messages)
        self._note_kept(messages)
        dropped_before = self._outbox.dropped
        now_s = time.monotonic()
        for message in messages:
            self._outbox.put(replace(message, since_s=now_s) if message.is_event else message)
        self._wake.set()
        if self._outbox.dropped > dropped_before:
            self._warn_of_drops()

    def clear(self, topics: Iterable[str]) -> None:
        """Have the broker forget what earlier runs left, where this one says nothing there."""
        for topic in topics:
            self._outbox.clear(topic)
        self._wake.set()

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

    def _note_kept(self, messages: Iterable[Message]) -> None:
        latest = {message.topic: message.payload for message in messages if message.retain}
        if not latest:
            return
        with self._keeping:
            said = {topic for topic, payload in latest.items() if payload}
            new = said - self._kept
            self._kept |= new
            self._kept -= latest.keys() - said
            if new:
                self._on_kept(new)

    def _fail(self, error: BaseException) -> None:
        self.failure = error
        self._on_failure(error)

    def _keep_connected(self) -> None:
        delays = self._delays()
        while not self._stopping.is_set():
            if self._session() > _STEADY_S or self._limit.learning:
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
        self._limit.connected(connection.packet_limit, mqtt5=connection.mqtt5)
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
        except UnavailableError:
            if connection.ended_by_broker:
                now_s, flying = time.monotonic(), self._outbox.unacknowledged
                self._limit.lost(flying, now_s, too_large=connection.too_large)
            else:
                self._limit.failed()
            raise
        finally:
            self.connected = self._is_alone = False
            self._outbox.disconnected()
            connection.close()

    def _hear(self, connection: Connection) -> bool:
        """Subscribe to all we take, unless the last time did harm; whether that is done."""
        if time.monotonic() < self._deaf_until_s:
            return False
        for topic in self._inbox.filters:
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
        while not self._is_alone and self._outbox.in_flight < connection.in_flight_limit:
            message = self._outbox.next(self._limit.suspicion)
            if message is None:
                return
            if not self._limit.fits(message):
                size, told = self._limit.size(message), self._limit.told
                forbidden = self._limit.is_forbidden(message.topic)
                self._untaken.left_out(message, size, told, forbidden=forbidden)
                self._outbox.set_aside(message)
                continue
            suspect = self._limit.suspicion(message) > 0
            self._limit.sent(message, time.monotonic())
            # A suspect is acknowledged, whatever it is: else it is not seen to be taken.
            packet_id = connection.publish(replace(message, qos=1) if suspect else message)
            if message.qos or suspect:
                self._outbox.sent(packet_id, message)
            self._is_alone = suspect

    def _take(self, arrival: Arrival) -> None:
        match arrival:
            case Acknowledged(packet_id, None):
                if (message := self._outbox.acknowledged(packet_id)) is not None:
                    self._is_alone = False
                    self._delivered(message)
            case Acknowledged(packet_id, str(refusal)):
                if (message := self._outbox.refused(packet_id)) is not None:
                    self._is_alone = False
                    self._limit.answered(message)
                    self._untaken.refused(message, refusal)
            case _:
                self._inbox.take(arrival)

    def _delivered(self, message: Message) -> None:
        self._limit.answered(message)
        self._untaken.taken(message.topic)
        if message.row is not None:
            self._on_delivered(message.row)
        if message.retain and not message.payload:
            with self._keeping:
                if message.topic not in self._kept:
                    self._on_cleared(message.topic)

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
