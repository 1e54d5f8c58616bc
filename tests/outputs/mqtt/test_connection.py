"""One connection, against a server that says exactly what a test wants said."""

from __future__ import annotations

import contextlib
import resource
import socket
import threading
import time
from collections.abc import Iterator

import pytest
from ports import HOST
from timing import within

from pe_stream.config import MqttSettings
from pe_stream.core.messages import Message
from pe_stream.errors import UnavailableError
from pe_stream.outputs.mqtt import connection as connection_module
from pe_stream.outputs.mqtt.arrivals import (
    Acknowledged,
    Arrival,
    Received,
    SubscriptionRefused,
    TooLarge,
)
from pe_stream.outputs.mqtt.connection import IN_FLIGHT, Connection
from pe_stream.outputs.mqtt.connector import Connector

CONNACK = bytes.fromhex("2003000000")
CONNACK_RECEIVE_MAXIMUM_7 = bytes.fromhex("2006000003210007")


class Script:
    """A server that answers the first packet of its one client with `first`."""

    def __init__(self, first: bytes) -> None:
        self._listening = socket.create_server((HOST, 0))
        self.port: int = self._listening.getsockname()[1]
        self._client: socket.socket | None = None
        self._thread = threading.Thread(target=self._accept, args=(first,), daemon=True)
        self._thread.start()

    def connect(self, keepalive_s: int = 30) -> Connection:
        settings = MqttSettings(host=HOST, port=self.port, protocol="5", keepalive_s=keepalive_s)
        return Connector(settings, "me").connect()

    def say(self, packet: str) -> None:
        assert self._client is not None
        self._client.sendall(bytes.fromhex(packet))

    def hang_up(self) -> None:
        self._thread.join()
        self._listening.close()
        if self._client is not None:
            self._client.close()

    def _accept(self, first: bytes) -> None:
        self._client, _ = self._listening.accept()
        self._client.recv(4096)
        self._client.sendall(first)


@pytest.fixture
def script() -> Iterator[Script]:
    made = Script(CONNACK)
    yield made
    made.hang_up()


def arrivals(connection: Connection) -> list[Arrival]:
    deadline = time.monotonic() + within(5)
    while time.monotonic() < deadline:
        if arrived := connection.step(0.1):
            return arrived
    pytest.fail("nothing arrived")


def ending(connection: Connection) -> str:
    def step_for_ever() -> None:
        while True:
            connection.step(0.1)

    with pytest.raises(UnavailableError) as caught:
        step_for_ever()
    return str(caught.value)


def refusal(connack: str) -> str:
    script = Script(bytes.fromhex(connack))
    try:
        with pytest.raises(UnavailableError) as caught:
            script.connect()
    finally:
        script.hang_up()
    return str(caught.value)


@pytest.mark.parametrize(
    ("connack", "words"),
    [
        ("2003008400", "does not speak the version set in mqtt.protocol"),
        ("20020001", "does not speak the version set in mqtt.protocol"),  # as 3.1.1 says it
        ("2003008500", "refuses the client id: set another mqtt.client_id"),
        ("2003008600", "refuses user name or password"),
        ("2003008700", "refuses user name or password"),
        ("2003008800", "refuses the connection: Server unavailable"),
    ],
)
def test_every_refusal_has_its_words(connack: str, words: str) -> None:
    assert words in refusal(connack)


def test_an_acknowledgement_names_its_packet(script: Script) -> None:
    connection = script.connect()
    first, second = (connection.publish(Message("a", p, qos=1, retain=False)) for p in "12")
    script.say(f"4002{second:04x}" + f"4002{first:04x}")
    assert arrivals(connection) == [Acknowledged(second, None), Acknowledged(first, None)]
    connection.close()


def test_what_the_broker_refuses_is_told_with_the_reason(script: Script) -> None:
    connection = script.connect()
    packet_id = connection.publish(Message("a", "1", qos=1, retain=False))
    script.say(f"4003{packet_id:04x}87")
    assert arrivals(connection) == [Acknowledged(packet_id, "Not authorized")]
    connection.subscribe("a/#")
    script.say(f"9004{packet_id + 1:04x}0087")
    assert arrivals(connection) == [SubscriptionRefused("Not authorized")]
    connection.close()


def test_a_message_comes_with_its_retain_flag(script: Script) -> None:
    connection = script.connect()
    script.say("3006000161006869")
    assert arrivals(connection) == [Received("a", b"hi", retained=False)]
    script.say("3106000161006869")
    assert arrivals(connection) == [Received("a", b"hi", retained=True)]
    connection.close()


def test_the_brokers_window_is_known() -> None:
    for connack, limit in ((CONNACK, IN_FLIGHT), (CONNACK_RECEIVE_MAXIMUM_7, 7)):
        script = Script(connack)
        connection = script.connect()
        assert connection.in_flight_limit == limit
        connection.close()
        script.hang_up()


def test_what_arrived_before_the_end_is_not_lost_with_it(script: Script) -> None:
    connection = script.connect()
    first, _ = (connection.publish(Message("a", p, qos=1, retain=False)) for p in "12")
    script.say(f"4002{first:04x}" + "e0018b")
    assert arrivals(connection) == [Acknowledged(first, None)]
    assert ending(connection).endswith("lost: Server shutting down")


def test_a_twin_is_named(script: Script) -> None:
    connection = script.connect()
    script.say("e0018e")
    assert ending(connection).endswith("lost: another client uses the same mqtt.client_id")


def test_a_connection_that_closes_is_lost(script: Script) -> None:
    connection = script.connect()
    script.hang_up()
    assert ending(connection).endswith("lost: closed by the broker")


def test_a_broker_that_answers_no_more_is_given_up_after_the_keepalive(script: Script) -> None:
    connection = script.connect(keepalive_s=1)
    began = time.monotonic()
    assert "Keep alive timeout" in ending(connection)
    assert 1 < time.monotonic() - began < within(5)


def test_another_thread_can_end_the_wait(script: Script) -> None:
    connection = script.connect()
    near, far = socket.socketpair()
    with near, far:
        far.send(b"w")
        began = time.monotonic()
        assert connection.step(10, near) == []
        assert time.monotonic() - began < within(1)
    connection.close()


TOPIC = b"pe_stream/n/kitchen/speech/set"


def publish(topic: bytes, flags: int = 0, rest: bytes = b"\x00{}") -> str:
    body = len(topic).to_bytes(2) + topic + rest
    length = (
        bytes([len(body) % 128 | 128, len(body) // 128]) if len(body) > 127 else bytes([len(body)])
    )
    return (bytes([0x30 | flags]) + length + body).hex()


def large(flags: int = 0, number: int = 0) -> str:
    """A message with 100,000 bytes."""
    rest = (number.to_bytes(2) if flags else b"") + b"\x00" + b"x" * 100_000
    body = len(TOPIC).to_bytes(2) + TOPIC + rest
    length = bytes([len(body) & 127 | 128, len(body) >> 7 & 127 | 128, len(body) >> 14])
    return (bytes([0x30 | flags]) + length + body).hex()


def test_a_large_message_is_left_out_and_what_follows_is_taken(script: Script) -> None:
    connection = script.connect()
    script.say(large() + publish(TOPIC))
    arrived: list[Arrival] = []
    while len(arrived) < 2:
        arrived += connection.step(0.1)
    topic = TOPIC.decode()
    assert arrived == [TooLarge(topic, 100_000), Received(topic, b"{}", retained=False)]
    connection.close()


@pytest.mark.parametrize(
    ("packets", "said"),
    [
        (publish(b"pe_stream/n/\xff/x/set"), "what it sends is not MQTT (UnicodeDecodeError"),
        ("30808080" + "01" + "00" * 70_000, "it sends more than 1048576 bytes at once"),
        (
            "".join(publish(TOPIC, 4, n.to_bytes(2) + b"\x00{}") for n in range(1, 200)),
            "it does not release its messages of QoS 2",
        ),
        (
            "".join(large(4, n) for n in range(1, 12)),
            "it does not release its messages of QoS 2",
        ),
    ],
    ids=["a topic that is no text", "256 MB", "QoS 2 without an end", "large ones of QoS 2"],
)
def test_whatever_a_broker_sends_ends_the_connection_at_most(
    script: Script, packets: str, said: str
) -> None:
    connection = script.connect()
    script.say(packets)
    assert f"lost: {said}" in ending(connection)
    connection.close()


def test_a_broker_that_takes_nothing_and_asks_for_answers_is_left(
    script: Script, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(connection_module, "MOST_RECEIVED", 10**9)
    connection = script.connect()
    packets = bytes.fromhex(publish(TOPIC, 2, b"\x00\x01\x00{}")) * 1000
    said: list[str] = []
    thread = threading.Thread(target=lambda: said.append(ending(connection)))
    thread.start()
    ours = connection._client.socket()
    assert isinstance(ours, socket.socket)
    assert script._client is not None
    ours.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4096)
    script._client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    script._client.settimeout(within(20))
    with contextlib.suppress(ConnectionError):
        while thread.is_alive():
            script._client.sendall(packets)
    thread.join(within(60))
    assert said[0].endswith("lost: it takes nothing that we send")


def test_a_broker_with_no_window_is_none() -> None:
    assert "closes the connection without an answer" in refusal("2006000003210000")


def test_a_flood_of_messages_takes_its_turn(
    script: Script, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(connection_module, "MOST_RECEIVED", 50)
    connection = script.connect()
    script.say(publish(TOPIC) * 200)
    packet_id = connection.publish(Message("a", "1", qos=1, retain=False))
    script.say(f"4002{packet_id:04x}")
    began_s = time.monotonic()
    arrived: list[Arrival] = []
    while len(arrived) < 201:
        arrived += connection.step(0.1)
    assert 2 < time.monotonic() - began_s < within(8)
    assert arrived[-1] == Acknowledged(packet_id, None)
    connection.close()


def test_waiting_needs_no_file_descriptor(script: Script) -> None:
    """Where none is left, what is sent and acknowledged on this connection goes on."""
    connection = script.connect()
    near, far = socket.socketpair()
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    with near, far:
        resource.setrlimit(resource.RLIMIT_NOFILE, (3, hard))  # all above are open
        try:
            packet_id = connection.publish(Message("a", "1", qos=1, retain=False))
            script.say(f"4002{packet_id:04x}")
            arrived: list[Arrival] = []
            while not arrived:
                arrived = connection.step(0.1, near)
        finally:
            resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    assert arrived == [Acknowledged(packet_id, None)]
    connection.close()
