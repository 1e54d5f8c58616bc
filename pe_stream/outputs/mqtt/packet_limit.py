"""What the broker takes: how large a packet, and on which topics.

It says so (MQTT 5), or one learns it from lost connections: a broker may end the connection when it
gets a packet that is too large, or on a topic that it does not permit, and so it would again after
each new connection. What was on its way then is suspect, and is sent alone from then on, after all
else; one that ends the connection alone, again and again, is what it minds. A broker that has
acknowledged nothing else on that connection ends it for something else: it is no evidence.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Sequence

from pe_stream.core.messages import Message

STRIKES = 2
"""A message that ended so many connections, alone on its way, is what the broker minds."""

_SMALL = 256
"""No broker minds the size of so small a packet (bytes)."""

_LARGE = 2048
"""Where two topics had so large packets (bytes), their size is minded: others are smaller."""

SOON_S = 5.0
"""A broker that minds a packet ends the connection within this time (s)."""


class PacketLimit:
    """What one broker takes; no clock, no network. Times are monotonic (s).

    told: bytes of the largest packet that it takes, as it says itself; None where it does not.
    learning: whether the last connection was lost for one message, as far as can be seen.
    """

    def __init__(self) -> None:
        """Begin with nothing known."""
        self.told: int | None = None
        self.learning = False
        self._minded: dict[str, int] = {}  # by topic, the size that it minds; 0: the topic itself
        self._learned: int | None = None  # the largest that it takes on any topic
        self._good = 0  # the largest that was acknowledged since anything is learned
        self._mqtt5 = True
        self._strikes: dict[str, int] = {}  # of suspects, by topic
        self._taken: set[str] = set()  # topics acknowledged on this connection
        self._largest = 0  # the largest acknowledged on it
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
            self._minded.clear()

    def size(self, message: Message) -> int:
        """Bytes of the packet that carries a message."""
        topic, payload = len(message.topic.encode()), len(message.payload.encode())
        rest = 2 + topic + (2 if message.qos else 0) + (1 if self._mqtt5 else 0) + payload
        length_bytes = max(1, -(-rest.bit_length() // 7))
        return 1 + length_bytes + rest

    def fits(self, message: Message) -> bool:
        """Whether the broker takes it, as far as is known."""
        limits = (limit for limit in (self.told, self._learned) if limit is not None)
        size = self.size(message)
        return size <= min(limits, default=math.inf) and size < self._minded.get(
            message.topic, math.inf
        )

    def is_forbidden(self, topic: str) -> bool:
        """Whether the broker ends the connection for anything on this topic."""
        return self._minded.get(topic) == 0

    def suspicion(self, message: Message) -> int:
        """0 where a message need not be alone on its way; of others, the least is sent first.

        Where one was too large, so may be whatever is larger than all that was taken since.
        """
        strikes = self._strikes.get(message.topic)
        if strikes is None:
            learned = self._minded or self._learned is not None
            return int(bool(learned) and self.size(message) > self._good)
        # Until something is acknowledged there is no evidence: what may be taken comes first.
        return 1 if self._largest else 1 + strikes

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

    def lost(self, in_flight: Sequence[Message], now_s: float, *, too_large: bool) -> None:
        """The broker has ended the connection; `too_large`: for the size of a packet, it says."""
        recent = [each for each, sent_s in self._unconfirmed if now_s - sent_s <= SOON_S]
        soon = self._last is not None and now_s - self._last[1] <= SOON_S
        blamed = [each for each in (*in_flight, *recent) if soon and not self._is_harmless(each)]
        for message in blamed:
            self._strikes.setdefault(message.topic, 0)
        self._blamed = bool(blamed)
        alone = len(in_flight) == 1 and in_flight[0] in blamed
        self.learning = alone and self._largest > 0
        if alone:
            self._strikes[in_flight[0].topic] += 1
        if self.learning:
            self._convict(in_flight[0], sure=too_large)

    def _is_harmless(self, message: Message) -> bool:
        """Whether the like of it was taken on this connection."""
        return message.topic in self._taken and self.size(message) <= self._largest

    def failed(self) -> None:
        """The connection has ended for something that is none of a message's."""
        self._blamed = self.learning = False

    def _convict(self, message: Message, *, sure: bool) -> None:
        """Note what the broker minds, where that is seen often enough."""
        topic, size = message.topic, self.size(message)
        if sure:
            self._learned = size - 1
        elif self._minded or self._strikes[topic] >= STRIKES:
            self._minded[topic] = size if size > max(self._largest, _SMALL) else 0
            large = [each for each in self._minded.values() if each >= _LARGE]
            if len(large) > 1:
                self._learned = min(large) - 1
