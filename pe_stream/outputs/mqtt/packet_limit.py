"""What the broker takes: how large a packet, and on which topics.

It says so (MQTT 5), or one learns it from lost connections: a broker may end the connection when it
gets a packet that is too large, or on a topic that it does not permit, and so it would again after
each new connection. What was on its way then is suspect, and is sent alone from then on, after all
else; one that ends the connection alone, again and again, is what it minds. A broker that has
acknowledged nothing else on that connection ends it for something else: it is no evidence.
"""

from __future__ import annotations

import math
from collections import Counter, deque
from collections.abc import Sequence

from pe_stream.core.messages import Message

STRIKES = 2
"""A message that ended so many connections, alone on its way, is what the broker minds."""

_SMALL = 256
"""No broker minds the size of so small a packet (bytes)."""

_LARGE = 2048
"""Two topics with so large messages (bytes) are not permitted by chance: the size is minded."""

SOON_S = 5.0
"""A broker that minds a packet ends the connection within this time (s)."""


class PacketLimit:
    """What one broker takes; no clock, no network. Times are monotonic (s).

    told: bytes of the largest packet that it takes, as it says itself; None where it does not.
    learning: the last connection was lost for one message, as far as can be seen.
    """

    def __init__(self) -> None:
        """Begin with nothing known."""
        self.told: int | None = None
        self._learned: int | None = None
        self._good = 0  # the largest that was acknowledged since anything is learned
        self.learning = False
        self._mqtt5 = True
        self._strikes: dict[str, int] = {}  # of suspects, by topic
        self._first_alone: Counter[str] = Counter()  # connections that ended with nothing but it
        # Topics for which the broker ends the connection: from a size on (it may still be for the
        # topic), or also for what is smaller than others.
        self._too_large: dict[str, int] = {}
        self._forbidden: set[str] = set()
        self._taken: set[str] = set()  # topics of which something was acknowledged on this one
        self._largest = 0  # likewise
        self._last: tuple[Message, float] | None = None
        # Messages of QoS 0 are not acknowledged: the last ones may be what the broker minds.
        self._unconfirmed: deque[tuple[Message, float]] = deque(maxlen=20)
        self._blamed = False  # the last connection ended for a message, as far as can be seen

    def connected(self, told: int | None, *, mqtt5: bool) -> None:
        """Begin a connection. told: what the broker says that it takes, with MQTT 5.

        What was learned counts until a connection ends for something else: the broker may take
        more after that. Its suspects are kept, so that learning it again costs one connection.
        """
        self.told, self._mqtt5 = told, mqtt5
        self._largest, self._last = 0, None
        self._taken.clear()
        self._unconfirmed.clear()
        if not self._blamed:
            self._learned, self._good = None, 0
            self._too_large.clear()
            self._forbidden.clear()

    def size(self, message: Message) -> int:
        """Bytes of the packet that carries a message."""
        topic, payload = len(message.topic.encode()), len(message.payload.encode())
        rest = 2 + topic + (2 if message.qos else 0) + (1 if self._mqtt5 else 0) + payload
        length_bytes = max(1, -(-rest.bit_length() // 7))
        return 1 + length_bytes + rest

    def fits(self, message: Message) -> bool:
        """Whether the broker takes it, as far as is known."""
        limits = (limit for limit in (self.told, self._learned) if limit is not None)
        size, topic = self.size(message), message.topic
        known = topic in self._forbidden or size >= self._too_large.get(topic, math.inf)
        return size <= min(limits, default=math.inf) and not known

    def is_forbidden(self, topic: str) -> bool:
        """Whether the broker ends the connection for anything on this topic."""
        return topic in self._forbidden

    def is_suspect(self, message: Message) -> bool:
        """Whether it is to be alone on its way, after all else.

        Where one was too large, so is whatever is larger than all that was taken since.
        """
        size = self.size(message)
        if message.topic in self._strikes:
            return not self._is_harmless(message)
        learned = self._learned is not None or self._too_large
        return bool(learned) and size > max(self._good, self._largest)

    def suspicion(self, message: Message) -> int:
        """0 for what is no suspect; the higher, the later it is to be sent."""
        return 1 + self._first_alone[message.topic] if self.is_suspect(message) else 0

    def _is_harmless(self, message: Message) -> bool:
        """Whether the like of it was taken on this connection."""
        return message.topic in self._taken and self.size(message) <= self._largest

    def sent(self, message: Message, now_s: float) -> None:
        """A message is on its way."""
        self._last = (message, now_s)
        if not message.qos:
            self._unconfirmed.append((message, now_s))

    def answered(self, message: Message) -> None:
        """The broker has a message, or refuses it, and goes on."""
        self._taken.add(message.topic)
        self._largest = max(self._largest, self.size(message))
        self._good = max(self._good, self._largest)
        self._strikes.pop(message.topic, None)
        self._first_alone.pop(message.topic, None)

    def lost(self, in_flight: Sequence[Message], now_s: float, *, too_large: bool) -> None:
        """The broker has ended the connection; `too_large`: for the size of a packet, it says."""
        recent = [each for each, sent_s in self._unconfirmed if now_s - sent_s <= SOON_S]
        soon = self._last is not None and now_s - self._last[1] <= SOON_S
        flying = (*in_flight, *recent) if soon else ()
        blamed = [each for each in flying if not self._is_harmless(each)]
        self._blamed = bool(blamed)
        self.learning = False
        for message in blamed:
            self._strikes.setdefault(message.topic, 0)
        if len(in_flight) == 1 and in_flight[0] in blamed:
            if self._largest:
                self._strike(in_flight[0], sure=too_large)
            else:  # no evidence; others come first, and may be some
                self._first_alone[in_flight[0].topic] += 1

    def failed(self) -> None:
        """The connection has ended for something that is none of a message's."""
        self._blamed = self.learning = False

    def _strike(self, message: Message, *, sure: bool) -> None:
        self.learning = True
        topic, size = message.topic, self.size(message)
        self._strikes[topic] += 1
        often = self._strikes[topic] >= STRIKES
        if sure:
            self._learned = size - 1
        elif size <= max(self._largest, _SMALL):
            if often or len(self._forbidden) >= STRIKES:
                self._forbidden.add(topic)
        elif often or self._too_large:
            self._too_large[topic] = size
            sizes = [each for each in self._too_large.values() if each >= _LARGE]
            if len(sizes) > 1:
                self._learned = min(sizes) - 1
