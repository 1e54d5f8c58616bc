"""The embedded broker, as clients of other makers see it."""

from __future__ import annotations

import asyncio
import errno
import logging
import socket
import time
from collections.abc import Iterator
from contextlib import ExitStack, closing

import paho.mqtt.client as mqtt
import psutil
import pytest
from amqtt.broker import Broker
from mosquitto import Subscriber, wait_until
from paho.mqtt.enums import CallbackAPIVersion, MQTTProtocolVersion
from ports import HOST, free_port
from timing import within

from pe_stream.config import MqttSettings
from pe_stream.errors import UnavailableError
from pe_stream.outputs import listening
from pe_stream.outputs.mqtt import bounded_streams, embedded_broker
from pe_stream.outputs.mqtt.connector import Connector
from pe_stream.outputs.mqtt.embedded_broker import EmbeddedBroker

V311 = MQTTProtocolVersion.MQTTv311


@pytest.fixture
def broker() -> Iterator[EmbeddedBroker]:
    embedded = EmbeddedBroker()
    embedded.start()
    yield embedded
    embedded.stop()
    assert embedded.failure is None


def subscriber(broker: EmbeddedBroker, topic: str = "#") -> Subscriber:
    return Subscriber(broker.port, topic, protocol=V311)


def test_thousand_messages_arrive_in_order(broker: EmbeddedBroker) -> None:
    with subscriber(broker) as ear, subscriber(broker, "none") as mouth:
        for number in range(1000):
            mouth.publish("house/events", str(number))
        ear.wait_for("house/events", [str(number) for number in range(1000)], timeout_s=30)
    assert {message.qos for message in ear.received} == {1}


def test_latest_retained_message_is_kept_and_an_empty_one_removes_it(
    broker: EmbeddedBroker,
) -> None:
    with subscriber(broker) as mouth:
        mouth.publish("house/a", "old", retain=True)
        mouth.publish("house/a", "new", retain=True)
        mouth.publish("house/b", "gone", retain=True)
        mouth.publish("house/b", "", retain=True)
        mouth.publish("house/c", "last", retain=True)
        mouth.wait_for("house/c", ["last"])
    with subscriber(broker) as late:
        wait_until(lambda: len(late.received) >= 2, "retained messages")
        # amqtt may send them twice: it also takes the subscriptions of clients just gone for ours.
        assert {(m.topic, m.payload, m.retain) for m in late.received} == {
            ("house/a", "new", True),
            ("house/c", "last", True),
        }


def test_will_speaks_for_a_client_whose_connection_breaks(broker: EmbeddedBroker) -> None:
    with subscriber(broker) as ear:
        dying = mqtt.Client(CallbackAPIVersion.VERSION2, "dying", protocol=V311)
        dying.will_set("house/status", "offline", qos=1, retain=True)
        dying.connect(HOST, broker.port)
        wait_until(lambda: not dying.loop(0.1) and dying.is_connected(), "connected")
        connection = dying.socket()
        assert isinstance(connection, socket.socket)
        connection.shutdown(socket.SHUT_RDWR)
        ear.wait_for("house/status", ["offline"])
        connection.close()


def test_mqtt_5_is_refused_with_the_reason(broker: EmbeddedBroker) -> None:
    answers: list[str] = []
    # Without our help amqtt would wait for the rest of what it takes for a long client id.
    client = mqtt.Client(CallbackAPIVersion.VERSION2, "ear", protocol=MQTTProtocolVersion.MQTTv5)
    client.will_set("house/status", "offline", qos=1, retain=True)
    client.on_connect = lambda _, __, ___, reason, ____: answers.append(str(reason))
    client.connect(HOST, broker.port)
    wait_until(lambda: client.loop(0.1) != mqtt.MQTT_ERR_SUCCESS, "connection closed")
    assert answers == ["Unsupported protocol version"]


@pytest.mark.parametrize(
    "rubbish",
    [b"", b"\x10", b"GET / HTTP/1.1\r\n\r\n", b"\xff" * 64, b"\x10\x02\x00\x04", b"\xc0\x00"],
)
def test_rubbish_does_no_harm(
    broker: EmbeddedBroker, rubbish: bytes, capfd: pytest.CaptureFixture[str]
) -> None:
    with socket.create_connection((HOST, broker.port)) as stranger:
        stranger.sendall(rubbish)
    with subscriber(broker) as ear:
        ear.publish("house/a", "still here")
        ear.wait_for("house/a", ["still here"])
    assert capfd.readouterr().err == ""


def test_port_taken_is_named() -> None:
    with socket.create_server((HOST, 0)) as other:
        port = other.getsockname()[1]
        with pytest.raises(UnavailableError, match=rf"127\.0\.0\.1:{port}: .*set mqtt.port"):
            EmbeddedBroker(port).start()


def test_listens_on_loopback_only_at_the_port_asked_for() -> None:
    port = free_port()
    broker = EmbeddedBroker(port)
    broker.start()
    try:
        assert broker.port == port
        addresses = {
            c.laddr for c in psutil.Process().net_connections("tcp") if c.status == "LISTEN"
        }
        assert {address.ip for address in addresses if address.port == port} == {"127.0.0.1"}
    finally:
        broker.stop()


def test_stops_at_once_with_clients_connected_and_silently(
    capfd: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> None:
    broker = EmbeddedBroker()
    broker.start()
    with subscriber(broker) as ear:
        for number in range(50):
            ear.publish("house/events", str(number))
        began = time.monotonic()
        broker.stop()
        assert time.monotonic() - began < within(2)
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection((HOST, broker.port), timeout=1)
    assert [record for record in caplog.records if record.levelno > logging.DEBUG] == []
    assert capfd.readouterr().err == ""


def test_a_thread_that_dies_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    told: list[BaseException] = []
    broker = EmbeddedBroker(on_failure=told.append)

    async def break_down() -> None:
        raise RuntimeError("broken")

    monkeypatch.setattr(broker._stopping, "wait", break_down)
    broker.start()
    wait_until(lambda: told != [], "failure told")
    assert str(broker.failure) == "broken"
    assert told == [broker.failure]


def test_one_that_does_not_start_in_time_is_ended(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(embedded_broker, "_START_S", 0.2)

    async def hang(_: object) -> None:
        await asyncio.Event().wait()

    monkeypatch.setattr(Broker, "start", hang)
    broker = EmbeddedBroker()
    with pytest.raises(UnavailableError, match=r"did not start within 0\.2 s"):
        broker.start()
    assert broker._worker.join(within(5))


def connect(name: bytes = b"x", keepalive_s: int = 0) -> bytes:
    body = b"\x00\x04MQTT\x04\x02" + keepalive_s.to_bytes(2) + len(name).to_bytes(2) + name
    return b"\x10" + bytes([len(body)]) + body


def closes(port: int, *said: bytes, within_s: float = 5.0) -> bool:
    with socket.create_connection((HOST, port)) as stranger:
        stranger.settimeout(within(within_s))
        for each in said:
            stranger.sendall(each)
        try:
            while stranger.recv(4096):
                pass
        except ConnectionResetError:
            pass
        except TimeoutError:
            return False
    return True


@pytest.mark.parametrize(
    "said",
    [
        (b"",),
        (b"\x10",),
        (connect()[:9],),
        (b"\xc0\x00",),
        (connect(keepalive_s=1),),
        (connect(), b"\x30\x09\x00\x03"),
    ],
)
def test_every_packet_has_its_time(
    broker: EmbeddedBroker, monkeypatch: pytest.MonkeyPatch, said: tuple[bytes, ...]
) -> None:
    monkeypatch.setattr(embedded_broker, "CONNECT_S", 0.3)
    monkeypatch.setattr(bounded_streams, "PACKET_S", 0.3)
    assert closes(broker.port, *said)


@pytest.mark.parametrize(
    "said",
    [
        (b"\x10\x80\x80\x80\x01",),  # 2 MB
        (connect(), b"\x30\xff\xff\xff\x7f\x00\x03abc"),  # 256 MB
    ],
)
def test_every_packet_has_its_size(
    broker: EmbeddedBroker, monkeypatch: pytest.MonkeyPatch, said: tuple[bytes, ...]
) -> None:
    monkeypatch.setattr(embedded_broker, "CONNECT_S", 1000.0)
    monkeypatch.setattr(bounded_streams, "PACKET_S", 1000.0)
    assert closes(broker.port, *said)


def test_who_is_connected_and_silent_stays(
    broker: EmbeddedBroker, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(embedded_broker, "CONNECT_S", within(0.3))
    monkeypatch.setattr(bounded_streams, "PACKET_S", within(0.3))
    assert not closes(broker.port, connect(keepalive_s=0), within_s=1.0)
    assert not closes(broker.port, connect(keepalive_s=10), within_s=1.0)


def test_idle_connections_keep_nobody_out_and_clients_stay(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(embedded_broker, "CONNECTIONS", 10)
    monkeypatch.setattr(embedded_broker, "_RATE", 1000)
    monkeypatch.setattr(listening, "FRESH_S", 0.0)
    broker = EmbeddedBroker()
    broker.start()
    with ExitStack() as stack, subscriber(broker) as ear:
        for number in range(60):
            said = connect(b"%d" % number)[: number % 8]
            idle = stack.enter_context(socket.create_connection((HOST, broker.port)))
            idle.sendall(said)
        with subscriber(broker) as mouth:
            mouth.publish("house/a", "still here")
            ear.wait_for("house/a", ["still here"])
    broker.stop()
    told = [record.getMessage() for record in caplog.records if record.levelno >= logging.WARNING]
    assert len(told) == 2  # the first, and at the end the rest
    assert "may be 10: 1 ended, as others came" in told[0]


@pytest.fixture
def small(monkeypatch: pytest.MonkeyPatch) -> Iterator[EmbeddedBroker]:
    """A broker with ten places, which judges everybody at once."""
    monkeypatch.setattr(embedded_broker, "CONNECTIONS", 10)
    monkeypatch.setattr(embedded_broker, "_RATE", 1000)
    monkeypatch.setattr(listening, "FRESH_S", 0.0)
    broker = EmbeddedBroker()
    broker.start()
    yield broker
    broker.stop()


def answer(stack: ExitStack, port: int, said: bytes) -> bytes:
    client = stack.enter_context(socket.create_connection((HOST, port)))
    client.settimeout(within(5))
    client.sendall(said)
    return client.recv(4)


ACCEPTED, UNAVAILABLE = b"\x20\x02\x00\x00", b"\x20\x02\x00\x03"


@pytest.mark.parametrize("keepalive_s", [0, 65_535])
def test_who_promises_nothing_makes_way(small: EmbeddedBroker, keepalive_s: int) -> None:
    with ExitStack() as stack, subscriber(small) as ear:
        for number in range(30):
            said = connect(b"%d" % number, keepalive_s)
            assert answer(stack, small.port, said) == ACCEPTED
        with subscriber(small) as mouth:
            mouth.publish("house/a", "still here")
            ear.wait_for("house/a", ["still here"])


def test_a_place_is_kept_for_our_own_publisher(
    small: EmbeddedBroker, caplog: pytest.LogCaptureFixture
) -> None:
    with ExitStack() as stack:
        answers = [answer(stack, small.port, connect(b"%d" % number, 60)) for number in range(12)]
        assert answers == 8 * [ACCEPTED] + 4 * [UNAVAILABLE]
        settings = MqttSettings(embedded=True).of_embedded(small.port, small.password)
        with pytest.raises(UnavailableError, match=r"[Uu]navailable"):
            Connector(settings.of_embedded(small.port, "guessed"), "own").connect()
        with closing(Connector(settings, "own").connect()):
            Connector(settings, "subscriber").connect().disconnect()
    assert "may be 10: 1 refused: all places are taken" in caplog.text


def test_what_breaks_in_it_is_told_in_words(caplog: pytest.LogCaptureFixture) -> None:
    with socket.socket() as unused:
        loop = asyncio.new_event_loop()
        for error in (TimeoutError(), ValueError("three"), None):
            listening.tell_of_loop("broker", loop, {"message": "broken", "exception": error})
        full = OSError(errno.EMFILE, "Too many open files")
        context = {"message": "socket.accept() out of system resource", "exception": full}
        listening.tell_of_loop("broker", loop, {**context, "socket": unused})
        loop.close()
    assert caplog.messages == [
        "broker: broken: TimeoutError",
        "broker: broken: ValueError: three",
        "broker: broken",
    ]
