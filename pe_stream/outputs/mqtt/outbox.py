"""Messages that wait for delivery, their order and their outcome; no sockets, no clock."""

from __future__ import annotations

import threading
from collections import deque

from pe_stream.core.messages import Message


class Outbox:
    """Messages on their way to the broker; safe to use from several threads.

    Three kinds, told by `qos` and `retain`:
    - Retained messages are states. Of each topic the latest is kept for ever; a new connection
      begins with all of them as they are then. While connected, every change is sent in its turn.
      An empty payload removes the topic, and is forgotten once the broker has it.
    - Events (QoS 1, not retained) wait in line until the broker has acknowledged them. What was
      unacknowledged when a connection broke is sent again, before the rest of the line. What
      waited while there was no connection is sent as delayed.
    - QoS 0 is sent if there is a connection, else forgotten.

    The line holds at most `limit` messages. When it is full the oldest goes: an event is counted
    in `dropped`; a state is only sent sooner than its turn.
    """

    def __init__(self, limit: int) -> None:
        """Take the greatest length of the line."""
        self._limit = limit
        self._lock = threading.Lock()
        self._connected = False
        self._latest: dict[str, Message] = {}
        self._states_due: dict[str, None] = {}  # topics whose latest state goes before the line
        self._line: deque[Message] = deque()
        self._unacknowledged: dict[int, Message] = {}
        self._dropped = 0

    @property
    def dropped(self) -> int:
        """Events lost because the line was full."""
        return self._dropped

    @property
    def queued(self) -> int:
        """Events the broker has not acknowledged."""
        with self._lock:
            return sum(
                message.is_event for message in (*self._unacknowledged.values(), *self._line)
            )

    @property
    def oldest_s(self) -> float | None:
        """Time since which the oldest event waits; None without any."""
        with self._lock:
            waiting = (*self._unacknowledged.values(), *self._line)
            return min((m.since_s for m in waiting if m.since_s is not None), default=None)

    @property
    def in_flight(self) -> int:
        """Messages sent and not acknowledged."""
        return len(self._unacknowledged)

    @property
    def empty(self) -> bool:
        """Whether the broker has everything."""
        return not (self._states_due or self._line or self._unacknowledged)

    def put(self, message: Message) -> None:
        """Take a message. Never waits."""
        with self._lock:
            if message.retain:
                self._latest[message.topic] = message
            if self._connected or message.is_event:
                self._line.append(message if self._connected else message.delayed)
                self._shorten()

    def connected(self) -> None:
        """Begin a connection: every state is due, in the order the topics first came."""
        with self._lock:
            self._connected = True
            self._states_due = dict.fromkeys(self._latest)

    def next(self) -> Message | None:
        """Take out what is to be sent now; None if there is nothing."""
        with self._lock:
            if self._states_due:
                topic = next(iter(self._states_due))
                del self._states_due[topic]
                return self._latest[topic]
            return self._line.popleft() if self._line else None

    def sent(self, packet_id: int, message: Message) -> None:
        """Note that a message with QoS 1 was handed to the network under `packet_id`."""
        with self._lock:
            self._unacknowledged[packet_id] = message

    def acknowledged(self, packet_id: int) -> Message | None:
        """Note that the broker has a message; returns it, or None if it was none of `sent`."""
        with self._lock:
            message = self._unacknowledged.pop(packet_id, None)
            if message and not message.payload and self._latest.get(message.topic) is message:
                del self._latest[message.topic]
                self._states_due.pop(message.topic, None)
            return message

    def disconnected(self) -> None:
        """End a connection: what the broker has not acknowledged comes first in the line."""
        with self._lock:
            self._connected = False
            pending = (*self._unacknowledged.values(), *self._line)
            self._line = deque(message.delayed for message in pending if message.is_event)
            self._unacknowledged.clear()
            self._states_due.clear()
            self._shorten()

    def _shorten(self) -> None:
        while len(self._line) > self._limit:
            oldest = self._line.popleft()
            if oldest.is_event:
                self._dropped += 1
            elif self._latest.get(oldest.topic) is oldest:
                self._states_due[oldest.topic] = None
