"""What a broker takes at most: as it says itself, or as lost connections show."""

from __future__ import annotations

import math
import random
import socket

import paho.mqtt.client as paho
import pytest
from hypothesis import given
from hypothesis import strategies as st
from paho.mqtt.enums import CallbackAPIVersion, MQTTProtocolVersion

from pe_stream.core.messages import Message
from pe_stream.outputs.mqtt.packet_limit import SOON_S, STRIKES, PacketLimit


def message(topic: str, size: int = 10, qos: int = 1) -> Message:
    return Message(topic, "x" * size, qos=qos, retain=False)


def connected(told: int | None = None) -> PacketLimit:
    limit = PacketLimit()
    limit.connected(told, mqtt5=True)
    return limit


class Strict:
    """A broker that takes packets up to `most` bytes, and ends the connection at any other."""

    def __init__(self, limit: PacketLimit, most: float) -> None:
        self.most = most
        self.lost = 0
        self.arrived: list[str] = []
        self._limit = limit
        self.now_s = 0.0

    def serve(self, messages: list[Message]) -> bool:
        """One connection, on which all is sent at once but suspects; whether it held."""
        limit, flying = self._limit, list[Message]()
        limit.connected(None, mqtt5=True)
        for each in messages:
            self.now_s += 0.001
            if not limit.fits(each):
                continue
            if limit.is_suspect(each):
                self._acknowledge(flying)
            limit.sent(each, self.now_s)
            flying.append(each)
            if limit.size(each) > self.most:
                limit.lost(flying, self.now_s, too_large=False)
                self.lost += 1
                return False
        self._acknowledge(flying)
        return True

    def _acknowledge(self, flying: list[Message]) -> None:
        for each in flying:
            self._limit.answered(each)
            self.arrived.append(each.topic)
        flying.clear()


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
    while not broker.serve(messages):
        assert broker.lost <= 3
    assert broker.lost == 3  # with others on their way, and twice alone
    assert set(broker.arrived) == {str(n) for n in range(10)}
    assert not limit.fits(message("large", 2000))
    assert limit.fits(message("fair", 900))


def test_once_one_was_too_large_each_other_costs_one_connection() -> None:
    limit = connected()
    broker = Strict(limit, most=1000)
    messages = [message(f"large {n}", 5000 - n) for n in range(10)]
    messages += [message(f"small {n}", 500 + n) for n in range(10)]
    random.Random(1).shuffle(messages)
    messages.sort(key=lambda each: -len(each.payload) if "large" in each.topic else 0)
    messages.insert(0, message("status"))
    while not broker.serve(messages):
        assert broker.lost <= 3 + 9
    assert set(broker.arrived) == {"status", *(f"small {n}" for n in range(10))}
    limit.connected(None, mqtt5=True)
    assert not limit.is_suspect(message("new", 500))  # larger ones were taken
    assert limit.is_suspect(message("new", 900))


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
    assert limit.is_suspect(message("large", 2000))
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
    limit.sent(message("b", 400), 0.0)
    limit.sent(message("c", 400), 0.0)
    limit.lost([message("b", 400), message("c", 400)], 0.1, too_large=False)
    limit.connected(None, mqtt5=True)
    assert not limit.is_suspect(message("b", 400))
    limit.sent(message("b", 400), 1.0)
    limit.sent(message("c", 400), 1.0)
    limit.lost([message("b", 400), message("c", 400)], 1.1, too_large=False)
    limit.connected(None, mqtt5=True)
    assert limit.is_suspect(message("b", 400))
    limit.answered(message("a", 500))
    assert not limit.is_suspect(message("b", 400))
    limit.answered(message("b", 400))
    limit.connected(None, mqtt5=True)
    assert not limit.is_suspect(message("b", 400))
    assert limit.is_suspect(message("c", 400))


def test_after_another_outage_what_was_learned_costs_one_connection() -> None:
    limit = connected()
    broker = Strict(limit, most=1000)
    messages = [message("small"), message("large", 2000), message("other")]
    while not broker.serve(messages):
        pass
    lost = broker.lost
    limit.failed()
    assert not broker.serve(messages)
    assert broker.serve(messages)
    assert broker.lost == lost + 1
    broker.most = math.inf  # and it takes more since
    limit.failed()
    assert broker.serve(messages)
    assert "large" in broker.arrived
    assert not limit.is_suspect(messages[1])


def test_a_message_that_is_not_acknowledged_may_be_the_one() -> None:
    limit = connected()
    limit.sent(message("quick", 2000, qos=0), 0.0)
    limit.lost([], 0.1, too_large=False)
    limit.connected(None, mqtt5=True)
    assert limit.is_suspect(message("quick", 2000, qos=0))
    # One with an acknowledgement on its way beside it is alone in that, and not to blame alone.
    limit.sent(message("other", 2000, qos=0), 0.0)
    limit.sent(message("event", 500), 0.1)
    limit.lost([message("event", 500)], 0.2, too_large=False)
    limit.connected(None, mqtt5=True)
    assert limit.is_suspect(message("other", 2000, qos=0))
    limit.sent(message("slow", 2000, qos=0), 0.0)
    limit.lost([], SOON_S + 1, too_large=False)
    assert not limit.is_suspect(message("slow", 2000, qos=0))


SIZES = st.lists(st.integers(1, 5000), min_size=1, max_size=30)


@given(SIZES, st.integers(50, 4000))
def test_whatever_is_sent_all_that_fits_arrives_in_the_end(sizes: list[int], most: int) -> None:
    limit = connected()
    broker = Strict(limit, most)
    messages = [message("status", 1)]  # a connection begins with what is small
    messages += [message(str(number), size) for number, size in enumerate(sizes)]
    taken = {each.topic for each in messages if limit.size(each) <= most}
    for _ in range(len(messages) + STRIKES + 1):
        if broker.serve(messages):
            break
    else:
        pytest.fail("no connection holds")
    assert set(broker.arrived) == taken
