"""How large a packet the broker takes: it says so (MQTT 5), or one learns it from lost connections.

A broker that does not say what it takes ends the connection when it gets a packet that is too
large, and so it would again after each new connection. What was on its way then is suspect, and is
sent alone from then on; one that ends the connection alone, again and again, is too large. A broker
that has acknowledged nothing else on that connection ends it for something else: it is no evidence.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Sequence

from pe_stream.core.messages import Message

STRIKES = 2
"""A message that ended so many connections, alone on its way, is too large."""

SOON_S = 5.0
"""A broker that minds a packet ends the connection within this time (s)."""


class PacketLimit:
    """What one broker takes; no clock, no network. Times are monotonic (s).

    told: bytes of the largest packet that it takes, as it says itself; None where it does not.
    """

    def __init__(self) -> None:
        """Begin with nothing known."""
        self.told: int | None = None
        self._learned: int | None = None
        self._good = 0  # the largest that was acknowledged since anything is learned
        self._mqtt5 = True
        self._strikes: dict[str, int] = {}  # of suspects, by topic
        self._largest = 0  # that was acknowledged on this connection
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
        self._unconfirmed.clear()
        if not self._blamed:
            self._learned, self._good = None, 0

    def size(self, message: Message) -> int:
        """Bytes of the packet that carries a message."""
        topic, payload = len(message.topic.encode()), len(message.payload.encode())
        rest = 2 + topic + (2 if message.qos else 0) + (1 if self._mqtt5 else 0) + payload
        length_bytes = max(1, -(-rest.bit_length() // 7))
        return 1 + length_bytes + rest

    def fits(self, message: Message) -> bool:
        """Whether the broker takes it, as far as is known."""
        limits = (limit for limit in (self.told, self._learned) if limit is not None)
        return self.size(message) <= min(limits, default=math.inf)

    def is_suspect(self, message: Message) -> bool:
        """Whether it is to be alone on its way.

        Where one was too large, so is whatever is larger than all that was taken since.
        """
        size = self.size(message)
        named = message.topic in self._strikes
        return size > self._largest and (named or (self._learned is not None and size > self._good))

    def sent(self, message: Message, now_s: float) -> None:
        """A message is on its way."""
        self._last = (message, now_s)
        if not message.qos:
            self._unconfirmed.append((message, now_s))

    def answered(self, message: Message) -> None:
        """The broker has a message, or refuses it, and goes on."""
        self._largest = max(self._largest, self.size(message))
        self._good = max(self._good, self._largest)
        self._strikes.pop(message.topic, None)

    def lost(self, in_flight: Sequence[Message], now_s: float, *, too_large: bool) -> None:
        """The broker has ended the connection; `too_large`: for the size of a packet, it says."""
        recent = [each for each, sent_s in self._unconfirmed if now_s - sent_s <= SOON_S]
        soon = self._last is not None and now_s - self._last[1] <= SOON_S
        blamed = [
            each for each in (*in_flight, *recent) if soon and self.size(each) > self._largest
        ]
        self._blamed = bool(blamed)
        for message in blamed:
            self._strikes.setdefault(message.topic, 0)
        if self._largest and len(in_flight) == 1 and in_flight[0] in blamed:
            self._strike(in_flight[0], sure=too_large)

    def failed(self) -> None:
        """The connection has ended for something that is none of a message's."""
        self._blamed = False

    def _strike(self, message: Message, *, sure: bool) -> None:
        self._strikes[message.topic] += 1
        if sure or self._strikes[message.topic] >= STRIKES or self._learned is not None:
            self._learned = self.size(message) - 1
