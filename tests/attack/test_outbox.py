"""Events go out in order and none is lost, however the broker treats them."""

from __future__ import annotations

import itertools
import json
import socket
import struct
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from attack.hostile_broker import OneByOne, packet, read
from mosquitto import wait_until
from ports import HOST
from stand_ins import eventually

from pe_stream.config import MqttSettings
from pe_stream.core.messages import Message, Topics
from pe_stream.outputs.mqtt import Publisher


def long(*values: Any) -> Any:
    return pytest.param(*values, marks=[pytest.mark.attack, pytest.mark.timeout(900)])


def good(identifier: bytes, number: int) -> bytes:
    return packet(0x40, identifier + b"\0")


def closing_at_every(count: int) -> Callable[[bytes, int], bytes]:
    def answer(identifier: bytes, number: int) -> bytes:
        if number % count == 0:
            raise EOFError
        return good(identifier, number)

    return answer


def silent(identifier: bytes, number: int) -> bytes:
    return b""


def wrong_and_twice(identifier: bytes, number: int) -> bytes:
    other = (struct.unpack("!H", identifier)[0] + 1000) % 65_535 + 1
    return packet(0x40, struct.pack("!H", other) + b"\0") * 2 + good(identifier, number) * 2


class Broker(OneByOne):
    """Speaks MQTT 5, and acknowledges events as `answer` has it: of an id, and of how many."""

    def __init__(self, answer: Callable[[bytes, int], bytes]) -> None:
        self._answer = answer
        self.events: list[int] = []
        super().__init__()

    def speak(self, client: socket.socket) -> None:
        stream = client.makefile("rb")
        read(stream)
        client.sendall(packet(0x20, b"\0\0\0"))
        number = 0
        while True:
            first, body = read(stream)
            if first >> 4 == 8:
                client.sendall(packet(0x90, body[:2] + b"\0\1"))
            elif first >> 4 == 3:
                end = 2 + struct.unpack("!H", body[:2])[0]
                if body[2:end].endswith(b"/events"):
                    number += 1
                    self.events.append(json.loads(body[end + 3 :])["i"])
                    client.sendall(self._answer(body[end : end + 2], number))
                elif first & 6:
                    client.sendall(good(body[end : end + 2], 0))


@pytest.mark.parametrize(
    ("answer", "count"),
    [
        (good, 2000),
        (closing_at_every(5), 100),
        (closing_at_every(2), 40),
        (wrong_and_twice, 500),
        long(good, 10_000),
        long(closing_at_every(5), 400),
        long(wrong_and_twice, 3000),
    ],
)
def test_none_is_lost_and_all_come_in_order(
    answer: Callable[[bytes, int], bytes], count: int
) -> None:
    broker, delivered = Broker(answer), list[int]()
    with publishing(broker, count, delivered) as publisher:
        wait_until(lambda: not publisher.queued, "all are delivered", 60)
    assert list(dict.fromkeys(broker.events)) == list(range(count))
    assert sorted(set(delivered)) == list(range(count))


@contextmanager
def publishing(broker: Broker, count: int, delivered: list[int]) -> Iterator[Publisher]:
    """So many events on their way to a broker; at the end, neither has failed."""
    failed: list[BaseException] = []
    publisher = Publisher(
        MqttSettings(host=HOST, port=broker.port, protocol="5"),
        Topics("pe_stream", "n"),
        on_set=lambda *_: None,
        on_failure=failed.append,
        on_delivered=delivered.append,
        delays=lambda: itertools.repeat(0.01),
    )
    publisher.publish(
        Message("pe_stream/n/k/events", json.dumps({"i": i}), qos=1, retain=False, row=i)
        for i in range(count)
    )
    publisher.start()
    yield publisher
    publisher.stop(0.5)
    broker.close()
    assert not failed


def test_of_a_broker_that_never_acknowledges_the_window_is_kept() -> None:
    broker = Broker(silent)
    with publishing(broker, 10_000, []) as publisher:
        eventually(lambda: len(broker.events) >= 19)
    assert len(broker.events) <= 20
    assert publisher.queued == 10_000
