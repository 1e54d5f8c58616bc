"""Messages that wait for delivery, their order and their outcome; no sockets, no clock."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import replace

from pe_stream.core.messages import Message, removal


class Outbox:
    """Messages on their way to the broker; safe to use from several threads.

    Three kinds, told by `qos` and `retain`:
    - Retained messages are states. Of each topic the latest is kept for ever; a new connection
      begins with all of them as they are then, removals first. While connected, every change is
      sent in its turn. An empty payload removes the topic, and is forgotten once the broker has it.
    - Events (QoS 1, not retained) wait in line until the broker has acknowledged them. What was
      unacknowledged when a connection broke is sent again, before the rest of the line. What
      waited while there was no connection is sent as delayed.
    - QoS 0 is sent if there is a connection, else forgotten.

    What is suspect waits for all else but what follows on its topic, and is sent alone. What the
    broker does not take is set aside until the next connection; an event among it is still one that
    waits.

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
        self._first: deque[Message] = deque()  # before all else
        self._line: deque[Message] = deque()
        self._suspects: deque[Message] = deque()  # after all else, and what is behind them
        self._suspect_topics: set[str] = set()
        self._aside: deque[Message] = deque()  # events that this connection does not take
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
            return sum(message.is_event for message in self._waiting())

    @property
    def oldest_s(self) -> float | None:
        """Time since which the oldest event waits; None without any."""
        with self._lock:
            times_s = (message.since_s for message in self._waiting())
            return min((since_s for since_s in times_s if since_s is not None), default=None)

    @property
    def in_flight(self) -> int:
        """Messages sent and not acknowledged."""
        return len(self._unacknowledged)

    @property
    def unacknowledged(self) -> list[Message]:
        """What was sent and not acknowledged, oldest first."""
        with self._lock:
            return list(self._unacknowledged.values())

    @property
    def empty(self) -> bool:
        """Whether the broker has everything that it takes."""
        waiting = self._first or self._states_due or self._line or self._suspects
        return not (waiting or self._unacknowledged)

    def put(self, message: Message) -> None:
        """Take a message. Never waits."""
        with self._lock:
            if message.retain:
                self._latest[message.topic] = message
            if self._connected or message.is_event:
                self._line.append(message if self._connected else message.delayed)
                self._shorten()

    def clear(self, topic: str) -> None:
        """Have a topic removed that an earlier run left, unless there is something to say on it."""
        with self._lock:
            if topic in self._latest:
                return
        self.put(removal(topic))

    def connected(self) -> None:
        """Begin a connection: every state is due, in the order the topics first came."""
        with self._lock:
            self._connected = True
            # What moves from one topic to another is nowhere twice.
            gone_first = sorted(self._latest, key=lambda topic: bool(self._latest[topic].payload))
            self._states_due = dict.fromkeys(gone_first)

    def next(self, suspicion: Callable[[Message], int] = lambda _: 0) -> Message | None:
        """Take out what is to be sent now; None if there is nothing.

        suspicion: 0 for what waits for no other. Of others, the first with the least is returned
        when nothing else waits for delivery.
        """
        with self._lock:
            while (message := self._take()) is not None:
                if message.topic not in self._suspect_topics and not suspicion(message):
                    return message
                self._suspects.append(message)
                self._suspect_topics.add(message.topic)
            if not self._suspects or self._unacknowledged:
                return None
            message = min(self._suspects, key=lambda each: suspicion(each) or 1)
            self._suspects.remove(message)
            # What becomes of it may clear others, above all those behind it.
            self._line, self._suspects = self._suspects, self._line
            self._suspect_topics.clear()
            return message

    def _take(self) -> Message | None:
        if not self._first and self._states_due:
            topic = next(iter(self._states_due))
            del self._states_due[topic]
            self._first.extend(self._latest[topic].steps)
        if self._first:
            return self._first.popleft()
        return self._line.popleft() if self._line else None

    def set_aside(self, message: Message) -> None:
        """Note that the broker does not take a message: it is tried with the next connection."""
        with self._lock:
            if message.is_event:
                self._aside.append(message)
                self._shorten()

    def sent(self, packet_id: int, message: Message) -> None:
        """Note that a message with QoS 1 was handed to the network under `packet_id`."""
        with self._lock:
            self._unacknowledged[packet_id] = message

    def acknowledged(self, packet_id: int) -> Message | None:
        """Note that the broker has a message; returns it, or None if it was none of `sent`."""
        with self._lock:
            message = self._unacknowledged.pop(packet_id, None)
            if message and self._latest.get(message.topic) is message:
                if message.payload:
                    self._latest[message.topic] = replace(message, before=())
                else:
                    del self._latest[message.topic]
                    self._states_due.pop(message.topic, None)
            return message

    def refused(self, packet_id: int) -> Message | None:
        """Note that the broker does not take a message; returns it, or None as `acknowledged`."""
        with self._lock:
            message = self._unacknowledged.pop(packet_id, None)
        if message is not None:
            self.set_aside(message)
        return message

    def disconnected(self) -> None:
        """End a connection: what the broker has not acknowledged comes first in the line."""
        with self._lock:
            self._connected = False
            pending = [message.delayed for message in self._waiting() if message.is_event]
            # In the order in which they came; what was set aside is between the others.
            self._line = deque(sorted(pending, key=lambda message: message.since_s or 0.0))
            self._aside.clear()
            self._suspects.clear()
            self._suspect_topics.clear()
            self._first.clear()
            self._unacknowledged.clear()
            self._states_due.clear()
            self._shorten()

    def _waiting(self) -> Iterator[Message]:
        yield from self._aside
        yield from self._suspects
        yield from self._unacknowledged.values()
        yield from self._first
        yield from self._line

    def _shorten(self) -> None:
        while len(self._aside) + len(self._suspects) + len(self._line) > self._limit:
            oldest = (self._aside or self._suspects or self._line).popleft()
            if oldest.is_event:
                self._dropped += 1
            elif self._latest.get(oldest.topic) is oldest:
                self._states_due[oldest.topic] = None
