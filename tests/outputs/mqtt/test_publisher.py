"""Delivery through a real mosquitto that comes, goes, refuses and freezes."""

from __future__ import annotations

import itertools
import logging
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from mosquitto import Mosquitto, Subscriber, make_certificates, password_lines, wait_until
from paho.mqtt.enums import MQTTProtocolVersion
from ports import HOST, free_port
from timing import within

from pe_stream.config import MqttSettings, TlsSettings
from pe_stream.core.messages import Message, Topics
from pe_stream.errors import ConfigError
from pe_stream.outputs.mqtt import Publisher, SetCommand
from pe_stream.outputs.mqtt import publisher as publisher_module
from pe_stream.outputs.mqtt.connection import LARGEST_PACKET
from pe_stream.outputs.mqtt.embedded_broker import EmbeddedBroker
from pe_stream.outputs.mqtt.publisher import backoff

TOPICS = Topics("pe_stream", "Pi Kitchen")
STATUS = "pe_stream/pi_kitchen/status"
EVENTS = "pe_stream/pi_kitchen/kitchen/events"
STATE = "pe_stream/pi_kitchen/kitchen/dog_bark/state"
SCORES = "pe_stream/pi_kitchen/kitchen/scores"
SET = "pe_stream/pi_kitchen/kitchen/dog_bark/set"
ANYONE = ["allow_anonymous true"]


def event(number: int) -> Message:
    return Message(EVENTS, str(number), qos=1, retain=False)


def state(payload: str) -> Message:
    return Message(STATE, payload, qos=1, retain=True)


def soon() -> Iterator[float]:
    return itertools.repeat(0.05)


class Gate:
    """Delays between attempts that hold the next attempt back while closed."""

    def __init__(self) -> None:
        self._open = threading.Event()
        self.open()

    def open(self) -> None:
        self._open.set()

    def close(self) -> None:
        self._open.clear()

    def delays(self) -> Iterator[float]:
        while self._open.wait(30):
            yield 0.05


class Publishers:
    """Makes publishers; stops them at the end, and fails if one of them had died."""

    def __init__(self) -> None:
        self.commands: list[tuple[str, str, SetCommand]] = []
        self.delivered: list[int] = []
        self._made: list[Publisher] = []

    def __call__(
        self,
        port: int,
        *,
        delays: Callable[[], Iterator[float]] = soon,
        **settings: Any,
    ) -> Publisher:
        made = Publisher(
            MqttSettings.model_validate({"host": HOST, "port": port} | settings),
            TOPICS,
            on_set=lambda *command: self.commands.append(command),
            on_failure=lambda _: None,
            on_delivered=self.delivered.append,
            delays=delays,
        )
        self._made.append(made)
        made.start()
        return made

    def stop(self) -> None:
        for publisher in self._made:
            publisher.stop()
        assert [publisher.failure for publisher in self._made] == [None] * len(self._made)


@pytest.fixture
def publisher() -> Iterator[Publishers]:
    publishers = Publishers()
    yield publishers
    publishers.stop()


@pytest.fixture
def broker(tmp_path: Path) -> Iterator[Mosquitto]:
    with Mosquitto(tmp_path) as running:
        yield running


def errors(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [r.getMessage() for r in caplog.records if r.levelno >= logging.ERROR]


def warnings(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [r.getMessage() for r in caplog.records if r.levelno == logging.WARNING]


def test_events_and_states_arrive_in_order_and_the_status_frames_them(
    broker: Mosquitto, publisher: Publishers
) -> None:
    with Subscriber(broker.port) as ear:
        mouth = publisher(broker.port)
        wait_until(lambda: mouth.connected, "connected")
        mouth.publish([event(1), state("ON")])
        mouth.publish([event(2), state("OFF"), event(3)])
        ear.wait_for(EVENTS, ["1", "2", "3"])
        mouth.stop()
        ear.wait_for(STATUS, ["online", "offline"])
    wait_until(lambda: "Received DISCONNECT from pe-stream-pi_kitchen" in broker.log, "farewell")
    assert not mouth.connected
    assert mouth.queued == 0
    assert [(m.topic, m.payload) for m in ear.received] == [
        (STATUS, "online"),
        (EVENTS, "1"),
        (STATE, "ON"),
        (EVENTS, "2"),
        (STATE, "OFF"),
        (EVENTS, "3"),
        (STATUS, "offline"),
    ]
    assert {m.qos for m in ear.received} == {1}
    with Subscriber(broker.port) as late:
        wait_until(lambda: len(late.received) == 2, "retained messages")
    assert {(m.topic, m.payload) for m in late.received} == {(STATUS, "offline"), (STATE, "OFF")}


def test_a_broker_that_is_not_there_yet_gets_the_states_of_then(
    tmp_path: Path, publisher: Publishers, caplog: pytest.LogCaptureFixture
) -> None:
    gate, tried = Gate(), threading.Event()
    gate.close()

    def delays() -> Iterator[float]:
        yield from [0.01] * 3
        tried.set()
        yield from gate.delays()

    broker = Mosquitto(tmp_path)
    mouth = publisher(broker.port, delays=delays)
    mouth.publish([state("ON"), event(1), state("OFF"), event(2)])
    assert tried.wait(within(10))
    with broker, Subscriber(broker.port) as ear:
        gate.open()
        ear.wait_for(EVENTS, ["1", "2"])
        assert ear.received[0].payload == "online"
        assert ear.payloads(STATE) == ["OFF"]
        mouth.stop()
    assert [message.partition(": ")[2] for message in errors(caplog)] == [
        "nothing listens there; is the broker running, are host and port right? (retrying)"
    ]


def test_a_broker_restarted_mid_stream_loses_nothing_and_reorders_nothing(
    tmp_path: Path, publisher: Publishers
) -> None:
    gate = Gate()
    # Without a window of its own the broker holds nothing back that it has acknowledged.
    with (
        Mosquitto(tmp_path, [*ANYONE, "max_inflight_messages 0"]) as broker,
        Subscriber(broker.port) as ear,
    ):
        mouth = publisher(broker.port, delays=gate.delays)
        mouth.publish([state("ON")])
        for number in range(100):
            mouth.publish([event(number)])
        wait_until(lambda: mouth.queued == 0, "the first hundred acknowledged")
        # What it has acknowledged and not passed on yet would die with it.
        ear.wait_for(EVENTS, [str(number) for number in range(100)])
        broker.freeze()
        mouth.publish(event(number) for number in range(100, 200))
        gate.close()
        broker.restart()
        wait_until(lambda: not mouth.connected, "loss of the connection noticed")
        mouth.publish([state("OFF")])
        mouth.publish(event(number) for number in range(200, 300))
        ear.wait_subscribed(2)
        assert mouth.queued == 200
        gate.open()
        wait_until(lambda: mouth.queued == 0, "all acknowledged")
        wait_until(lambda: ear.payloads(EVENTS)[-1:] == ["299"], "all arrived")
        numbers = list(dict.fromkeys(map(int, ear.payloads(EVENTS))))
        assert numbers == list(range(300))
        assert ear.payloads(STATE) == ["ON", "OFF"]
        assert ear.payloads(STATUS) == ["online", "online"]
    assert mouth.dropped == 0


def test_a_window_narrower_than_ours_is_kept_to(
    tmp_path: Path, publisher: Publishers, caplog: pytest.LogCaptureFixture
) -> None:
    lines = [*ANYONE, "max_inflight_messages 2"]
    with Mosquitto(tmp_path, lines) as broker, Subscriber(broker.port) as ear:
        mouth = publisher(broker.port)
        mouth.publish(event(number) for number in range(500))
        ear.wait_for(EVENTS, [str(number) for number in range(500)])
        mouth.stop()
    assert warnings(caplog) + errors(caplog) == []


def test_a_broker_that_acknowledges_nothing_gets_its_window_full_and_no_farewell(
    publisher: Publishers,
) -> None:
    with socket.create_server((HOST, 0)) as listening:
        mouth = publisher(listening.getsockname()[1], protocol="5")
        mouth.publish(event(number) for number in range(100))
        connection, _ = listening.accept()
        with connection:
            assert connection.recv(4096)
            connection.sendall(bytes.fromhex("2006000003210007"))  # CONNACK, receive maximum 7
            wait_until(lambda: mouth.connected, "connected")
            mouth.stop(flush_s=0.2)
            said = b"".join(iter(lambda: connection.recv(4096), b""))
    assert said.count(EVENTS.encode()) == 6  # and the status
    assert not said.endswith(bytes.fromhex("e000"))  # DISCONNECT would silence the will


def test_what_is_published_leaves_at_once(broker: Mosquitto, publisher: Publishers) -> None:
    mouth = publisher(broker.port)
    with Subscriber(broker.port, EVENTS) as ear:
        for number in range(5):
            wait_until(lambda: mouth.connected and mouth.queued == 0, "idle")
            began = time.monotonic()
            mouth.publish([event(number)])
            ear.wait_for(EVENTS, [str(n) for n in range(number + 1)])
            assert time.monotonic() - began < within(0.5)


@pytest.mark.parametrize(("steady_s", "beginnings"), [(0.0, 2), (60.0, 1)])
def test_delays_begin_anew_after_a_connection_that_held(
    broker: Mosquitto,
    publisher: Publishers,
    monkeypatch: pytest.MonkeyPatch,
    steady_s: float,
    beginnings: int,
) -> None:
    monkeypatch.setattr(publisher_module, "_STEADY_S", steady_s)
    begun: list[Iterator[float]] = []

    def delays() -> Iterator[float]:
        begun.append(soon())
        return begun[-1]

    mouth = publisher(broker.port, delays=delays)
    wait_until(lambda: mouth.connected, "connected")
    broker.kill()
    wait_until(lambda: not mouth.connected, "lost")
    broker.start()
    wait_until(lambda: mouth.connected, "connected again")
    assert len(begun) == beginnings


def test_a_wrong_password_is_told_once_and_tried_until_it_is_right(
    tmp_path: Path, publisher: Publishers, caplog: pytest.LogCaptureFixture
) -> None:
    attempts: list[None] = []

    def delays() -> Iterator[float]:
        while True:
            attempts.append(None)
            yield 0.02

    login = {"username": "house", "password": "our-secret"}
    with Mosquitto(tmp_path, password_lines(tmp_path, "house", "other")) as broker:
        mouth = publisher(broker.port, delays=delays, **login)
        mouth.publish([event(1)])
        wait_until(lambda: len(attempts) > 8, "several attempts")
        said = errors(caplog)
        assert len(said) == 1
        assert "refuses user name or password" in said[0]
        broker.restart(password_lines(tmp_path, "house", "our-secret"))
        wait_until(lambda: mouth.connected and mouth.queued == 0, "delivered")
        mouth.stop()
    assert "our-secret" not in caplog.text


def test_tls_with_a_client_certificate(tmp_path: Path, publisher: Publishers) -> None:
    made = make_certificates(tmp_path)
    files = TlsSettings(ca=str(made.ca), certificate=str(made.client), key=str(made.client_key))
    with Mosquitto(tmp_path, made.lines(require_client=True)) as broker:
        mouth = publisher(broker.port, tls=files)
        mouth.publish(event(number) for number in range(200))
        wait_until(lambda: mouth.connected and mouth.queued == 0, "delivered")
        mouth.stop()


def test_a_missing_certificate_is_a_matter_of_the_configuration(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="absent"):
        Publisher(
            MqttSettings(host=HOST, tls=TlsSettings(ca=str(tmp_path / "absent.pem"))),
            TOPICS,
            on_set=print,
            on_failure=print,
        )


def test_a_full_queue_drops_the_oldest_events_and_says_so_once(
    tmp_path: Path, publisher: Publishers, caplog: pytest.LogCaptureFixture
) -> None:
    gate = Gate()
    gate.close()
    broker = Mosquitto(tmp_path)
    mouth = publisher(broker.port, delays=gate.delays, queue=100)
    for number in range(1000):
        mouth.publish([event(number)])
    assert (mouth.dropped, mouth.queued) == (900, 100)
    with broker, Subscriber(broker.port) as ear:
        gate.open()
        ear.wait_for(EVENTS, [str(number) for number in range(900, 1000)])
        mouth.stop()
    assert len(warnings(caplog)) == 1
    assert "mqtt.queue is full: 1 events lost so far" in warnings(caplog)[0]


def test_scores_are_for_those_who_listen_now(tmp_path: Path, publisher: Publishers) -> None:
    gate = Gate()
    gate.close()
    broker = Mosquitto(tmp_path)
    mouth = publisher(broker.port, delays=gate.delays)
    mouth.publish([Message(SCORES, "then", qos=0, retain=False)])
    with broker, Subscriber(broker.port) as ear:
        gate.open()
        wait_until(lambda: mouth.connected, "connected")
        mouth.publish([Message(SCORES, "now", qos=0, retain=False), event(1)])
        ear.wait_for(EVENTS, ["1"])
        assert ear.payloads(SCORES) == ["now"]
        mouth.stop()


def test_a_removed_state_is_removed_from_the_broker(
    broker: Mosquitto, publisher: Publishers
) -> None:
    mouth = publisher(broker.port)
    mouth.publish([state("ON"), state("")])
    wait_until(lambda: mouth.connected, "connected")
    mouth.stop()
    with Subscriber(broker.port) as late:
        late.wait_for(STATUS, ["offline"])
        late.publish("end", "")
        late.wait_for("end", [""])
        assert late.payloads(STATE) == []


KILLED = """
import sys, time
from pe_stream.config import MqttSettings
from pe_stream.core.messages import Topics
from pe_stream.outputs.mqtt import Publisher

settings = MqttSettings(host=sys.argv[1], port=int(sys.argv[2]))
Publisher(settings, Topics("pe_stream", "Pi Kitchen"), on_set=print, on_failure=print).start()
time.sleep(60)
"""


def test_the_will_says_offline_for_a_process_that_is_killed(broker: Mosquitto) -> None:
    with Subscriber(broker.port, STATUS) as ear:
        process = subprocess.Popen([sys.executable, "-c", KILLED, HOST, str(broker.port)])
        try:
            ear.wait_for(STATUS, ["online"], timeout_s=30)
        finally:
            process.kill()
            process.wait()
        ear.wait_for(STATUS, ["online", "offline"])
    with Subscriber(broker.port, STATUS) as late:
        late.wait_for(STATUS, ["offline"])


def test_a_frozen_broker_delays_neither_publish_nor_stop_for_long(
    broker: Mosquitto, publisher: Publishers, caplog: pytest.LogCaptureFixture
) -> None:
    with Subscriber(broker.port, STATUS) as ear:
        mouth = publisher(broker.port)
        ear.wait_for(STATUS, ["online"])
        broker.freeze()
        began = time.monotonic()
        mouth.publish(event(number) for number in range(5000))
        assert time.monotonic() - began < within(0.5)
        mouth.stop(flush_s=0.3)
        assert time.monotonic() - began < within(1.5)
        assert "stopped with 5000 events not delivered by MQTT" in warnings(caplog)
        broker.thaw()
        ear.wait_for(STATUS, ["online", "offline"])  # by the will


def test_stop_without_a_broker_is_at_once(publisher: Publishers) -> None:
    with socket.socket() as silent:
        silent.bind((HOST, 0))
        silent.listen()
        for port in (silent.getsockname()[1], free_port()):
            mouth = publisher(port, delays=backoff)
            mouth.publish([event(1)])
            began = time.monotonic()
            mouth.stop()
            assert time.monotonic() - began < within(1)


def test_set_commands_are_obeyed_and_all_else_is_told(
    broker: Mosquitto, publisher: Publishers, caplog: pytest.LogCaptureFixture
) -> None:
    mouth = publisher(broker.port)
    with Subscriber(broker.port) as voice:
        voice.wait_for(STATUS, ["online"])
        voice.publish(SET, b"{" * 100_000)  # the broker keeps it to itself
        voice.publish(SET, '{"threshold": 0.6}')
        voice.publish(SET, "louder")
        voice.publish(SET, '{"threshold": 2}')
        voice.publish(SET, b"{" * 5000)
        voice.publish("pe_stream/other/kitchen/dog_bark/set", '{"enabled": true}')
        voice.publish("pe_stream/pi_kitchen/kitchen/any/set", '{"enabled": false}')
        wait_until(lambda: len(publisher.commands) == 2, "commands obeyed")
        mouth.stop()
    assert publisher.commands == [
        ("kitchen", "dog_bark", SetCommand(threshold=0.6)),
        ("kitchen", "any", SetCommand(enabled=False)),
    ]
    told = warnings(caplog)
    assert [SET in line and "allowed is" in line for line in told] == [True] * 3
    assert [line.split(": ")[1].split(";")[0] for line in told] == [
        "not JSON",
        "threshold 2 is not 0.000001 to 0.999999",
        "5000 bytes, more than 4096",
    ]


def test_a_retained_command_is_not_obeyed_at_the_next_start(
    broker: Mosquitto, publisher: Publishers, caplog: pytest.LogCaptureFixture
) -> None:
    with Subscriber(broker.port, "none") as voice:
        voice.publish(SET, '{"enabled": false}', retain=True)
        publisher(broker.port)
        wait_until(lambda: warnings(caplog) != [], "told")
    assert warnings(caplog) == [f"ignored a retained message on {SET!r}: send `set` without retain"]
    assert publisher.commands == []


def connections(broker: Mosquitto) -> int:
    return broker.log.count("as pe-stream-pi_kitchen")


@pytest.mark.parametrize(
    ("size", "told"),
    [
        (70_000, f"ignored a message of 70000 bytes on {SET!r}"),
        (64 << 20, "at once; takes no `set` for 10 minutes (retrying)"),
    ],
    ids=["70 kB", "64 MB"],
)
def test_a_large_retained_message_does_not_stop_events(
    broker: Mosquitto,
    publisher: Publishers,
    caplog: pytest.LogCaptureFixture,
    size: int,
    told: str,
) -> None:
    """Before MQTT 5, a broker cannot be told what is too large, and sends it to each subscriber."""
    with Subscriber(broker.port, EVENTS) as ear:
        ear.publish(SET, "x" * size, retain=True)
        mouth = publisher(broker.port, protocol="3.1.1")
        wait_until(lambda: any(told in each for each in warnings(caplog) + errors(caplog)), "told")
        wait_until(lambda: mouth.connected, "connected")
        for number in range(20):
            mouth.publish([event(number)])
            time.sleep(0.05)
        ear.wait_for(EVENTS, [str(number) for number in range(20)])
        assert mouth.connected
    assert connections(broker) == (1 if size < LARGEST_PACKET else 2)


def test_what_is_no_longer_too_large_is_heard_again(
    broker: Mosquitto, publisher: Publishers, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(publisher_module, "DEAF_S", 1.0)
    with Subscriber(broker.port, "none") as voice:
        voice.publish(SET, "x" * (64 << 20), retain=True)
        mouth = publisher(broker.port, protocol="3.1.1")
        wait_until(lambda: mouth._deaf_until_s > 0 and mouth.connected, "connected, and deaf")
        voice.publish(SET, "", retain=True)

        def obeyed() -> bool:
            voice.publish(SET, '{"enabled": false}')
            return publisher.commands != []

        wait_until(obeyed, "command obeyed")


def test_a_broker_of_3_1_1_only(publisher: Publishers) -> None:
    broker = EmbeddedBroker()
    broker.start()
    try:
        with Subscriber(broker.port, protocol=MQTTProtocolVersion.MQTTv311) as ear:
            mouth = publisher(broker.port)
            mouth.publish(event(number) for number in range(300))
            ear.wait_for(EVENTS, [str(number) for number in range(300)])
            ear.publish(SET, '{"enabled": false}')
            wait_until(lambda: publisher.commands != [], "command obeyed")
            mouth.stop()
            ear.wait_for(STATUS, ["online", "offline"])
    finally:
        broker.stop()


def test_what_the_broker_forbids_is_told(
    tmp_path: Path, publisher: Publishers, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "acl").write_text("topic write pe_stream/pi_kitchen/status\n")
    with Mosquitto(tmp_path, [*ANYONE, f"acl_file {tmp_path / 'acl'}"]) as broker:
        mouth = publisher(broker.port, protocol="5")
        mouth.publish([event(1)])
        wait_until(lambda: errors(caplog) != [], "answered")
        assert (mouth.set_aside, mouth.queued) == ({"too_large": 0, "refused": 1}, 1)
        mouth.stop()
    assert errors(caplog) == [f"the MQTT broker refuses {EVENTS}: Not authorized"]
    assert warnings(caplog) == ["stopped with 1 events not delivered by MQTT"]


STRICT = [
    ("max_packet_size 1500", "5", "it takes 1500"),
    ("max_packet_size 1500", "3.1.1", "bytes, or not permitted"),
    ("message_size_limit 1500", "5", "bytes, or not permitted"),
]


@pytest.mark.parametrize("case", STRICT, ids=lambda case: "-".join(case[:2]))
def test_field_case_07_what_is_too_large_is_left_out_and_all_else_arrives(
    tmp_path: Path,
    publisher: Publishers,
    caplog: pytest.LogCaptureFixture,
    case: tuple[str, str, str],
) -> None:
    line, protocol, told = case
    large = Message("homeassistant/device/hall/config", "x" * 5000, qos=1, retain=True)
    numbers = [str(number) for number in range(30)]
    with Mosquitto(tmp_path, [*ANYONE, line]) as broker, Subscriber(broker.port) as ear:
        mouth = publisher(broker.port, protocol=protocol)
        mouth.publish([state("ON"), large, *(event(number) for number in range(30))])
        wait_until(lambda: ear.payloads(EVENTS)[-1:] == ["29"], "events arrive", 30)
        wait_until(lambda: mouth.connected and mouth.queued == 0, "all else is delivered")
        assert list(dict.fromkeys(ear.payloads(EVENTS))) == numbers
        assert mouth.set_aside == {"too_large": 1, "refused": 0}
        assert mouth.untaken_reason is not None
        assert mouth.untaken_reason.startswith(f"the broker does not take {large.topic}: too large")
        assert mouth.untaken_reason.endswith(told)
        # An event that is too large is no exception, and waits for a broker that takes it.
        mouth.publish([Message(EVENTS, "y" * 5000, qos=1, retain=False), event(30)])
        wait_until(lambda: ear.payloads(EVENTS)[-1:] == ["30"], "events arrive", 30)
        assert mouth.queued == 1
        broker.restart(ANYONE)
        ear.wait_subscribed(2)
        wait_until(lambda: mouth.queued == 0, "that broker takes it", 30)
        wait_until(lambda: large.payload in ear.payloads(large.topic), "and this")
        assert mouth.untaken_reason is None
        mouth.stop()
    named = [each for each in errors(caplog) if large.topic in each]
    assert len(named) == 1
    assert named[0].endswith("; left out")


def test_a_topic_that_is_refused_is_named_once_until_it_is_taken(
    tmp_path: Path, publisher: Publishers, caplog: pytest.LogCaptureFixture
) -> None:
    """Case 16 of the field: health was an error every ten seconds, and events were lost."""
    rules = tmp_path / "acl"
    rules.write_text(f"topic write {STATUS}\ntopic read #\n")
    lines = [*ANYONE, f"acl_file {rules}"]
    with Mosquitto(tmp_path, lines) as broker:
        mouth = publisher(broker.port, protocol="5")
        wait_until(lambda: mouth.connected, "connected")
        for _ in range(3):
            mouth.publish([state("ON"), event(1)])
        wait_until(lambda: mouth.set_aside["refused"] == 6, "answered")
        assert mouth.untaken_reason == (
            f"the broker does not take {STATE}: Not authorized; {EVENTS}: Not authorized"
        )
        assert mouth.queued == 3
        rules.write_text("topic readwrite #\n")
        broker.restart()
        wait_until(lambda: mouth.queued == 0, "delivered", 30)
        assert mouth.untaken_reason is None
        mouth.stop()
    told = [each for each in errors(caplog) if "refuses" in each]
    assert told == [f"the MQTT broker refuses {each}: Not authorized" for each in (STATE, EVENTS)]


def test_refused_messages_are_not_delivered_as_far_as_the_store_knows(
    tmp_path: Path, publisher: Publishers
) -> None:
    (tmp_path / "acl").write_text(f"topic write {STATUS}\ntopic write {EVENTS}\n")
    other = Message("pe_stream/pi_kitchen/hall/events", "1", qos=1, retain=False, row=1)
    with Mosquitto(tmp_path, [*ANYONE, f"acl_file {tmp_path / 'acl'}"]) as broker:
        mouth = publisher(broker.port, protocol="5")
        mouth.publish([other, Message(EVENTS, "2", qos=1, retain=False, row=2)])
        wait_until(lambda: publisher.delivered != [], "answered")
        mouth.stop()
    assert publisher.delivered == [2]


def test_a_fault_in_the_thread_is_told_and_the_will_speaks(broker: Mosquitto) -> None:
    told: list[BaseException] = []

    def broken(*_: object) -> None:
        raise RuntimeError("broken")

    mouth = Publisher(
        MqttSettings(host=HOST, port=broker.port), TOPICS, on_set=broken, on_failure=told.append
    )
    with Subscriber(broker.port, STATUS) as voice:
        mouth.start()
        voice.wait_for(STATUS, ["online"])
        voice.publish(SET, '{"enabled": false}')
        voice.wait_for(STATUS, ["online", "offline"])
    wait_until(lambda: told != [], "failure told")
    assert str(mouth.failure) == "broken"
    assert told == [mouth.failure]
    assert not mouth.connected
    mouth.stop()


def test_backoff_doubles_up_to_a_minute_with_jitter() -> None:
    delays = list(itertools.islice(backoff(), 16))
    for delay_s, longest_s in zip(delays, [1, 2, 4, 8, 16, 32, *[60] * 10], strict=True):
        assert longest_s / 2 <= delay_s <= longest_s
    assert len(set(delays[6:])) == 10
