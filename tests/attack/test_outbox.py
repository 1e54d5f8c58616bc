"""Events go out in order and none is lost, however the broker treats them."""

from __future__ import annotations

import itertools
import json
import socket
import struct
import threading
from collections.abc import Callable
from typing import Any

import pytest
from attack.hostile_broker import packet, read
from mosquitto import wait_until
from ports import HOST
from stand_ins import eventually

from pe_stream.config import MqttSettings
from pe_stream.core.messages import Message, Topics
from pe_stream.outputs.mqtt import Publisher


def long(*values: Any) -> Any:
    return pytest.param(*values, marks=[pytest.mark.attack, pytest.mark.timeout(900)])


class Closing(Exception):  # noqa: N818 - what a broker does
    """The broker closes the connection."""


def good(identifier: bytes, number: int) -> bytes:
    return packet(0x40, identifier + b"\0")


def closing_at_every(count: int) -> Callable[[bytes, int], bytes]:
    def answer(identifier: bytes, number: int) -> bytes:
        if number % count == 0:
            raise Closing
        return good(identifier, number)

    return answer


def silent(identifier: bytes, number: int) -> bytes:
    return b""


def wrong_and_twice(identifier: bytes, number: int) -> bytes:
    other = (struct.unpack("!H", identifier)[0] + 1000) % 65_535 + 1
    return packet(0x40, struct.pack("!H", other) + b"\0") * 2 + good(identifier, number) * 2


class Broker:
    """Speaks MQTT 5, and acknowledges events as `answer` has it: of an id, and of how many."""

    def __init__(self, answer: Callable[[bytes, int], bytes]) -> None:
        self._answer = answer
        self.events: list[int] = []
        self._listening = socket.create_server((HOST, 0))
        self.port: int = self._listening.getsockname()[1]
        threading.Thread(target=self._serve, daemon=True).start()

    def close(self) -> None:
        self._listening.close()

    def _serve(self) -> None:
        while True:
            try:
                client, _ = self._listening.accept()
            except OSError:
                return
            with client:
                try:
                    self._speak(client)
                except (OSError, EOFError, Closing):
                    continue

    def _speak(self, client: socket.socket) -> None:
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
    delivered: list[int] = []
    with_rows(answer, count, delivered)
    assert sorted(set(delivered)) == list(range(count))


def with_rows(answer: Callable[[bytes, int], bytes], count: int, delivered: list[int]) -> None:
    broker, failed = Broker(answer), list[BaseException]()
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
    wait_until(lambda: not publisher.queued, "all are delivered", 60)
    publisher.stop(0.5)
    broker.close()
    assert not failed
    first = list(dict.fromkeys(broker.events))
    assert first == list(range(count))


def test_of_a_broker_that_never_acknowledges_the_window_is_kept() -> None:
    broker, failed = Broker(silent), list[BaseException]()
    publisher = Publisher(
        MqttSettings(host=HOST, port=broker.port, protocol="5"),
        Topics("pe_stream", "n"),
        on_set=lambda *_: None,
        on_failure=failed.append,
    )
    publisher.publish(
        Message("pe_stream/n/k/events", json.dumps({"i": i}), qos=1, retain=False)
        for i in range(10_000)
    )
    publisher.start()
    eventually(lambda: len(broker.events) >= 19)
    publisher.stop(0.5)
    broker.close()
    assert not failed
    assert len(broker.events) <= 20
    assert publisher.queued == 10_000
