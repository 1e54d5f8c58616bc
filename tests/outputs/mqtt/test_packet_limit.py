"""What a broker takes at most: as it says itself, or as lost connections show."""

from __future__ import annotations

import math
import random
import socket
from collections import deque
from collections.abc import Iterable

import paho.mqtt.client as paho
import pytest
from hypothesis import given
from hypothesis import strategies as st
from paho.mqtt.enums import CallbackAPIVersion, MQTTProtocolVersion

from pe_stream.core.messages import Message
from pe_stream.outputs.mqtt.connection import IN_FLIGHT
from pe_stream.outputs.mqtt.outbox import Outbox
from pe_stream.outputs.mqtt.packet_limit import SOON_S, STRIKES, PacketLimit


def message(topic: str, size: int = 10, qos: int = 1) -> Message:
    return Message(topic, "x" * size, qos=qos, retain=False)


def connected(told: int | None = None) -> PacketLimit:
    limit = PacketLimit()
    limit.connected(told, mqtt5=True)
    return limit


class Strict:
    """A broker that ends the connection at packets of more than `most` bytes, and at these topics.

    lost: connections; arrived: topics of what it took.
    """

    def __init__(self, limit: PacketLimit, most: float = math.inf, *forbidden: str) -> None:
        self.most, self.forbidden = most, set(forbidden)
        self.lost = 0
        self.arrived: list[str] = []
        self._limit = limit
        self._now_s = 0.0

    def serve(self, messages: list[Message]) -> bool:
        """One connection, on which all is sent, as the publisher does; whether it held."""
        limit, outbox = self._limit, Outbox(len(messages))
        limit.connected(None, mqtt5=True)
        outbox.connected()
        for each in messages:
            outbox.put(each)
        flying: deque[Message] = deque()
        while True:
            alone = any(limit.suspicion(each) for each in flying)
            sent = None if alone or len(flying) == IN_FLIGHT else outbox.next(limit.suspicion)
            if sent is None:
                if not flying:
                    return True
                if self._minds(flying[0]):
                    return self._lose(flying)
                self.arrived.append(flying[0].topic)
                outbox.acknowledged(id(flying[0]))
                limit.answered(flying.popleft())
            elif limit.fits(sent):
                self._now_s += 0.001
                limit.sent(sent, self._now_s)
                if sent.qos or limit.suspicion(sent):
                    flying.append(sent)
                    outbox.sent(id(sent), sent)
                elif self._minds(sent):
                    return self._lose(flying)
                else:
                    self.arrived.append(sent.topic)

    def hold(self, messages: list[Message]) -> None:
        """As many connections as that takes."""
        while not self.serve(messages):
            assert self.lost < 100

    def _minds(self, each: Message) -> bool:
        return self._limit.size(each) > self.most or each.topic in self.forbidden

    def _lose(self, flying: Iterable[Message]) -> bool:
        self._limit.lost(list(flying), self._now_s, too_large=False)
        self.lost += 1
        return False


@pytest.mark.parametrize("protocol", [MQTTProtocolVersion.MQTTv5, MQTTProtocolVersion.MQTTv311])
@pytest.mark.parametrize("size", [0, 1, *range(115, 122), 16_360, 16_375, 16_380, 3_000_000])
@pytest.mark.parametrize("qos", [0, 1])
def test_a_packet_is_as_large_as_what_paho_sends(
    protocol: MQTTProtocolVersion, size: int, qos: int
) -> None:
    client = paho.Client(CallbackAPIVersion.VERSION2, protocol=protocol)
    near, far = socket.socketpair()
    client._sock = near
    each = Message("ä/b", "é" * (size // 2) + "x" * (size % 2), qos=qos, retain=True)
    sent: list[bytes] = []
    client._packet_queue = lambda _, packet, *__: sent.append(packet)  # type: ignore[assignment]
    client._send_publish(1, each.topic.encode(), each.payload.encode(), qos)
    near.close()
    far.close()
    limit = PacketLimit()
    limit.connected(None, mqtt5=protocol is MQTTProtocolVersion.MQTTv5)
    assert [limit.size(each)] == [len(packet) for packet in sent]


def test_what_the_broker_says_counts() -> None:
    each = message("a", 100)
    size = PacketLimit().size(each)
    assert connected(size).fits(each)
    assert not connected(size - 1).fits(each)
    assert connected().fits(message("a", 10**6))
    later = connected(size - 1)
    later.connected(None, mqtt5=True)  # another broker, or it was told better
    assert later.fits(each)


def test_what_ends_connections_alone_is_left_out_and_nothing_else() -> None:
    limit = connected()
    broker = Strict(limit, most=1000)
    messages = [message(str(n), 50) for n in range(10)]
    messages[4:4] = [message("large", 2000), message("larger", 3000)]
    broker.hold(messages)
    assert broker.lost == 4  # with others on their way, twice alone, and the other one
    assert set(broker.arrived) == {str(n) for n in range(10)}
    assert not limit.fits(message("large", 2000))
    assert limit.fits(message("fair", 900))
    assert limit.suspicion(message("fair", 900))


def test_once_one_was_too_large_each_other_costs_one_connection() -> None:
    limit = connected()
    broker = Strict(limit, most=1000)
    messages = [message(f"large {n}", 5000 - n) for n in range(10)]
    messages += [message(f"small {n}", 500 + n) for n in range(10)]
    random.Random(1).shuffle(messages)
    messages.sort(key=lambda each: -len(each.payload) if "large" in each.topic else 0)
    messages.insert(0, message("status"))
    broker.hold(messages)
    assert broker.lost <= 3 + 9
    assert set(broker.arrived) == {"status", *(f"small {n}" for n in range(10))}
    limit.connected(None, mqtt5=True)
    assert not limit.suspicion(message("new", 500))  # larger ones were taken
    assert limit.suspicion(message("new", 900))


def test_one_message_on_its_way_is_alone_at_once() -> None:
    limit = connected()
    for _ in range(STRIKES):
        assert limit.fits(message("large", 2000))
        limit.answered(message("status"))
        limit.sent(message("large", 2000), 0.0)
        limit.lost([message("large", 2000)], 0.1, too_large=False)
        limit.connected(None, mqtt5=True)
    assert not limit.fits(message("large", 2000))


def test_a_broker_that_acknowledges_nothing_teaches_nothing() -> None:
    """As one that crashes at each connection, or is hostile: its sizes would be all too large."""
    limit, status = connected(), message("status", 10)
    for too_large in (False, True) * 10:
        limit.sent(status, 0.0)
        limit.lost([status], 0.1, too_large=too_large)
        limit.connected(None, mqtt5=True)
    assert limit.fits(status)
    assert limit.fits(message("event", 500))


def test_a_broker_that_says_why_is_believed() -> None:
    limit = connected()
    limit.sent(message("large", 2000), 0.0)
    limit.lost([message("large", 2000), message("b")], 0.1, too_large=True)
    limit.connected(None, mqtt5=True)
    assert limit.suspicion(message("large", 2000))
    limit.answered(message("status"))
    limit.sent(message("large", 2000), 1.0)
    limit.lost([message("large", 2000)], 1.1, too_large=True)
    limit.connected(None, mqtt5=True)
    assert not limit.fits(message("large", 2000))


def test_outages_teach_nothing() -> None:
    limit, health = connected(), message("health", 300)
    for now_s in range(0, 100, 10):
        limit.sent(health, float(now_s))
        limit.lost([health], now_s + SOON_S + 1, too_large=False)
        limit.connected(None, mqtt5=True)
    assert limit.fits(health)
    for _ in range(10):
        limit.sent(health, 0.0)
        limit.failed()
        limit.connected(None, mqtt5=True)
    assert limit.fits(health)


def test_what_was_taken_on_this_connection_is_no_suspect() -> None:
    limit = connected()
    limit.answered(message("a", 500))
    limit.answered(message("b", 10))
    limit.answered(message("c", 10))
    limit.sent(message("b", 400), 0.0)
    limit.sent(message("c", 400), 0.0)
    limit.lost([message("b", 400), message("c", 400)], 0.1, too_large=False)
    limit.connected(None, mqtt5=True)
    assert not limit.suspicion(message("b", 400))
    limit.sent(message("b", 400), 1.0)
    limit.sent(message("c", 400), 1.0)
    limit.lost([message("b", 400), message("c", 400)], 1.1, too_large=False)
    limit.connected(None, mqtt5=True)
    limit.answered(message("a", 500))
    assert limit.suspicion(message("b", 400))  # it may be the topic
    limit.answered(message("b", 400))
    limit.connected(None, mqtt5=True)
    assert not limit.suspicion(message("b", 400))
    assert limit.suspicion(message("c", 400))


def test_after_another_outage_what_was_learned_costs_one_connection() -> None:
    limit = connected()
    broker = Strict(limit, most=1000)
    messages = [message("small"), message("large", 2000), message("other")]
    broker.hold(messages)
    lost = broker.lost
    limit.failed()
    assert not broker.serve(messages)
    assert broker.serve(messages)
    assert broker.lost == lost + 1
    broker.most = math.inf  # and it takes more since
    limit.failed()
    assert broker.serve(messages)
    assert "large" in broker.arrived
    assert not limit.suspicion(messages[1])


def test_a_message_that_is_not_acknowledged_may_be_the_one() -> None:
    limit = connected()
    limit.sent(message("quick", 2000, qos=0), 0.0)
    limit.lost([], 0.1, too_large=False)
    limit.connected(None, mqtt5=True)
    assert limit.suspicion(message("quick", 2000, qos=0))
    # One with an acknowledgement on its way beside it is alone in that, and not to blame alone.
    limit.sent(message("other", 2000, qos=0), 0.0)
    limit.sent(message("event", 500), 0.1)
    limit.lost([message("event", 500)], 0.2, too_large=False)
    limit.connected(None, mqtt5=True)
    assert limit.suspicion(message("other", 2000, qos=0))
    limit.sent(message("slow", 2000, qos=0), 0.0)
    limit.lost([], SOON_S + 1, too_large=False)
    assert not limit.suspicion(message("slow", 2000, qos=0))


SIZES = st.lists(st.integers(1, 5000), min_size=1, max_size=30)


@given(SIZES, st.integers(50, 4000))
def test_whatever_is_sent_all_that_fits_arrives_in_the_end(sizes: list[int], most: int) -> None:
    limit = connected()
    broker = Strict(limit, most)
    messages = [message("status", 1)]  # a connection begins with what is small
    messages += [message(str(number), size) for number, size in enumerate(sizes)]
    taken = {each.topic for each in messages if limit.size(each) <= most}
    for _ in range(len(messages) + 2 * STRIKES + 1):
        if broker.serve(messages):
            break
    else:
        pytest.fail("no connection holds")
    assert set(broker.arrived) == taken


def test_what_is_not_permitted_is_left_out_and_nothing_else() -> None:
    """Brokers end the connection for that: MQTT 3.1.1 has no other answer that says no."""
    limit = connected()
    messages = [message("status"), message("a", 300), message("b", 700), message("c", 200, qos=0)]
    messages.append(message("d", 290))
    messages += [message(f"discovery {n}", 20_000) for n in range(3)]
    broker = Strict(limit, math.inf, "b", "c", "d")
    broker.hold(messages)
    assert set(broker.arrived) == {"status", "a", *(f"discovery {n}" for n in range(3))}
    assert limit.is_forbidden("c")
    assert limit.is_forbidden("d")  # larger ones are taken
    assert not limit.fits(message("b", 700))  # it may be the size
    assert not limit.is_forbidden("b")
    broker.hold([*messages, message("b", 20)])
    assert limit.is_forbidden("b")
    assert not limit.fits(message("b", 1))
    assert limit.fits(message("new", 10**6))
    assert broker.lost <= 7


def test_one_large_message_may_be_for_its_topic_and_a_small_one_is() -> None:
    limit = connected()
    broker = Strict(limit, math.inf, "home", "state")
    broker.hold([message("status"), message("home", 9000), message("state", 100)])
    assert limit.is_forbidden("state")  # no broker takes less
    assert not limit.is_forbidden("home")
    assert not limit.fits(message("home", 9000))
    assert limit.fits(message("house", 10_000))


def test_a_topic_that_was_taken_is_suspect_where_the_message_is_larger() -> None:
    limit = connected()
    limit.answered(message("a", 10))
    limit.sent(message("a", 900), 0.0)
    limit.lost([message("a", 900), message("b")], 0.1, too_large=False)
    limit.connected(None, mqtt5=True)
    assert limit.suspicion(message("a", 900))


def test_topics_that_are_not_permitted_one_and_all_teach_no_size() -> None:
    limit = connected()
    states = [f"{number}/state" for number in range(20)]
    broker = Strict(limit, math.inf, *states)
    broker.hold([message("status"), *map(message, states), message("event", 600)])
    assert set(broker.arrived) == {"status", "event"}
    assert broker.lost <= len(states) + 5
    large = [message("one", 1500), message("two", 1200)]
    other = Strict(limit, math.inf, "one", "two")
    other.hold([message("status"), *large, message("event", 600), message("later", 1700)])
    assert set(other.arrived) == {"status", "event", "later"}


def test_the_first_that_is_sent_may_be_what_is_not_permitted() -> None:
    limit = connected()
    broker = Strict(limit, math.inf, "status")
    broker.hold([message("status"), message("a"), message("b")])
    assert set(broker.arrived) == {"a", "b"}
    assert broker.lost == 3  # with others on their way, alone before them, and alone after them
    other = Strict(limit, math.inf, "a", "b", "c")
    other.hold([message("a"), message("b"), message("c"), message("d"), message("e")])
    assert set(other.arrived) == {"d", "e"}


def test_where_two_are_too_large_whatever_is_larger_is() -> None:
    limit = connected()
    broker = Strict(limit, 2000)
    broker.hold([message("status"), *(message(f"{n}", 3000 + n) for n in range(30))])
    assert broker.lost <= 5
    assert not limit.fits(message("new", 2999 + 40))


def test_a_connection_that_taught_something_is_told_from_one_that_did_not() -> None:
    limit = connected()
    limit.answered(message("a"))
    limit.sent(message("b"), 0.0)
    limit.lost([message("b")], 0.1, too_large=False)
    assert limit.learning
    limit.lost([message("b"), message("c")], 0.1, too_large=False)
    assert not limit.learning
    limit.lost([message("b")], 0.1, too_large=False)
    limit.failed()
    assert not limit.learning
