"""What the embedded broker keeps for those who connect, and what it does not."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import socket
import threading
from collections.abc import Iterator
from contextlib import ExitStack

import psutil
import pytest
from amqtt.mqtt.pingreq import PingReqPacket
from amqtt.mqtt.publish import PublishPacket
from amqtt.mqtt.subscribe import SubscribePacket
from attack.hostile_broker import packet, text
from mosquitto import Subscriber, wait_until
from paho.mqtt.enums import MQTTProtocolVersion
from ports import HOST
from timing import within

from pe_stream.config import MqttSettings
from pe_stream.core.messages import Message
from pe_stream.outputs import complaints
from pe_stream.outputs.mqtt import bounded_broker, bounded_streams
from pe_stream.outputs.mqtt.bounded_broker import BoundedBroker, ClientHandler
from pe_stream.outputs.mqtt.connector import Connector
from pe_stream.outputs.mqtt.embedded_broker import EmbeddedBroker

V311 = MQTTProtocolVersion.MQTTv311
ACCEPTED = b"\x20\x02\x00\x00"


@pytest.fixture
def inside(monkeypatch: pytest.MonkeyPatch) -> list[BoundedBroker]:
    """The broker that is made, to be looked into."""
    made: list[BoundedBroker] = []
    begin = BoundedBroker.__init__

    def kept(self: BoundedBroker, config: dict[str, object], own_password: str) -> None:
        begin(self, config, own_password)
        made.append(self)

    monkeypatch.setattr(BoundedBroker, "__init__", kept)
    return made


@pytest.fixture
def broker(inside: list[BoundedBroker]) -> Iterator[EmbeddedBroker]:
    assert inside == []
    embedded = EmbeddedBroker()
    embedded.start()
    yield embedded
    embedded.stop()
    assert embedded.failure is None


@pytest.fixture
def told(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """What the log tells, each cause of all once: the clock stands still."""
    lines: list[str] = []
    monkeypatch.setattr(complaints, "TELL_S", 1e9)
    monkeypatch.setattr(
        bounded_broker._log, "warning", lambda form, *args: lines.append(form % args)
    )
    return lines


class Client:
    """One that speaks in bytes."""

    def __init__(
        self,
        broker: EmbeddedBroker,
        name: bytes,
        *,
        flags: int = 2,
        keepalive_s: int = 600,
        password: bytes = b"",
    ) -> None:
        self.socket = socket.create_connection((HOST, broker.port), within(10))
        self._reading = self.socket.makefile("rb")
        flags |= 0xC0 if password else 0
        user = text(b"somebody") if flags & 0x80 else b""
        user += text(password) if password else b""
        head = text(b"MQTT") + b"\x04" + bytes([flags]) + keepalive_s.to_bytes(2)
        self.send(packet(0x10, head + text(name) + user))
        assert self.read(4) == ACCEPTED

    def send(self, said: bytes) -> None:
        self.socket.sendall(said)

    def close(self) -> None:
        self._reading.close()
        self.socket.close()

    def read(self, size: int) -> bytes:
        return self._reading.read(size)

    def publish(self, topic: str, data: bytes, *, retain: bool = False) -> None:
        """At QoS 0."""
        self.send(packet(0x30 | retain, text(topic.encode()) + data))

    def subscribe(self, *topics: str, qos: int = 0) -> list[int]:
        """Subscribe in one packet; the return codes."""
        said = b"".join(text(topic.encode()) + bytes([qos]) for topic in topics)
        self.send(packet(0x82, b"\0\1" + said))
        return list(self.read(4 + len(topics))[4:])

    def ping(self) -> None:
        """Return when everything sent so far was dealt with."""
        self.send(b"\xc0\0")
        assert self.read(2) == b"\xd0\0"


@pytest.fixture
def client(broker: EmbeddedBroker) -> Iterator[Client]:
    with ExitStack() as stack:
        made = Client(broker, b"stranger")
        stack.callback(made.close)
        yield made


def tasks(broker: EmbeddedBroker) -> list[asyncio.Task[object]]:
    """All of the broker's that somebody keeps."""
    found = [each for each in gc.get_objects() if issubclass(type(each), asyncio.Task)]
    return [each for each in found if each.get_loop() is broker._loop]


def retained(broker: EmbeddedBroker, count: int) -> set[str]:
    """Topics of what is retained, of which there are so many."""
    with Subscriber(broker.port, protocol=V311) as ear:
        wait_until(lambda: len(ear.received) >= count, f"{count} retained messages")
        ear.publish("end", "x")
        wait_until(lambda: ear.payloads("end") == ["x"], "the end")
        return {each.topic for each in ear.received if each.retain}


def test_so_many_messages_are_retained_and_the_daemon_has_room(
    broker: EmbeddedBroker,
    client: Client,
    monkeypatch: pytest.MonkeyPatch,
    told: list[str],
    inside: list[BoundedBroker],
) -> None:
    monkeypatch.setattr(bounded_broker, "MOST_RETAINED", 3)
    for number in range(9):
        client.publish(f"s/{number}", b"1", retain=True)
    client.publish("s/1", b"", retain=True)  # makes room for one
    client.publish("s/2", b"2", retain=True)  # replaces
    client.publish("s/20", b"3", retain=True)
    client.publish("s/21", b"4", retain=True)
    settings = MqttSettings(embedded=True).of_embedded(broker.port, broker.password)
    own = Connector(settings, "own").connect()
    for number in range(5):
        own.publish(Message(f"own/{number}", "x", 1, retain=True))
    kept = {"s/0", "s/2", "s/20", *(f"own/{each}" for each in range(5))}
    wait_until(lambda: set(inside[0].retained_messages) == kept, "the daemon's are kept")
    assert retained(broker, 8) == kept
    assert all(each.source_session is None for each in inside[0].retained_messages.values())
    own.disconnect()
    assert told == ["embedded MQTT broker: 1 messages not retained: there are too many"]


def test_so_many_bytes_are_retained(
    broker: EmbeddedBroker, client: Client, monkeypatch: pytest.MonkeyPatch, told: list[str]
) -> None:
    monkeypatch.setattr(bounded_broker, "MOST_RETAINED_BYTES", 1000)
    client.publish("a", b"x" * 600, retain=True)
    client.publish("b", b"x" * 600, retain=True)
    client.publish("a", b"x" * 300, retain=True)
    client.publish("c", b"x" * 600, retain=True)
    client.publish("d" * 100, b"x", retain=True)
    client.ping()
    assert retained(broker, 2) == {"a", "c"}
    assert len(told) == 1


def test_of_one_cause_there_is_one_line_with_a_count(
    client: Client, monkeypatch: pytest.MonkeyPatch, told: list[str]
) -> None:
    monkeypatch.setattr(bounded_broker, "MOST_RETAINED", 0)
    for number in range(50):
        client.publish(f"s/{number}", b"1", retain=True)
    client.ping()
    wait_until(lambda: len(told) == 1, "one line")
    monkeypatch.setattr(complaints, "TELL_S", 0.0)
    client.publish("s/50", b"1", retain=True)
    wait_until(lambda: len(told) == 2, "another line")
    assert told[1] == "embedded MQTT broker: 50 messages not retained: there are too many"


def test_what_was_not_told_yet_is_told_at_the_end(
    inside: list[BoundedBroker], monkeypatch: pytest.MonkeyPatch, told: list[str]
) -> None:
    monkeypatch.setattr(bounded_broker, "MOST_RETAINED", 0)
    broker = EmbeddedBroker()
    broker.start()
    client = Client(broker, b"stranger")
    for number in range(5):
        client.publish(f"s/{number}", b"1", retain=True)
    wait_until(lambda: inside[0]._complaints._untold.total() == 4, "all have come")
    client.close()
    broker.stop()
    about = "embedded MQTT broker"
    assert told == [
        f"{about}: {count} messages not retained: there are too many" for count in (1, 4)
    ]


def test_sessions_end_with_their_connections(
    broker: EmbeddedBroker, client: Client, inside: list[BoundedBroker]
) -> None:
    """Also of those who want to be remembered, with a name of their own."""
    for number in range(50):
        left = Client(broker, b"%d" % number, flags=0x80)
        assert left.subscribe("s/#", qos=1) == [1]
        left.close()
    for _ in range(20):
        client.publish("s/1", b"x" * 1000)
    client.ping()
    wait_until(lambda: set(inside[0].sessions) == {"stranger"}, "all are forgotten")
    assert all(not taken for taken in inside[0].subscriptions.values())


def test_so_many_filters_are_taken_and_half_of_one_client(
    broker: EmbeddedBroker, client: Client, monkeypatch: pytest.MonkeyPatch, told: list[str]
) -> None:
    monkeypatch.setattr(bounded_broker, "MOST_FILTERS", 6)
    assert client.subscribe("x" * 1025) == [0x80]
    assert client.subscribe("a", "b", "c", "d", "a") == [0, 0, 0, 0x80, 0]
    with ExitStack() as stack:
        others = [Client(broker, name) for name in (b"one", b"two")]
        for each in others:
            stack.callback(each.close)
        assert others[0].subscribe("e", "f", "g", "h") == [0, 0, 0, 0x80]
        assert others[1].subscribe("i", "a") == [0x80, 0]
        client.send(packet(0xA2, b"\0\2" + text(b"b")))
        assert client.read(4) == b"\xb0\x02\0\2"
        assert client.subscribe("c", "j", "k") == [0, 0, 0x80]
        own = Client(broker, b"own", password=broker.password.encode())
        stack.callback(own.close)
        assert own.subscribe("l", "m", "n", "o") == [0] * 4
    assert told == ["embedded MQTT broker: 1 subscriptions refused: they are too many, or too long"]


def test_filters_that_nobody_uses_any_more_make_room(
    client: Client, monkeypatch: pytest.MonkeyPatch, inside: list[BoundedBroker]
) -> None:
    monkeypatch.setattr(bounded_broker, "MOST_FILTERS", 10)
    for number in range(30):
        assert client.subscribe(f"s/{number}") == [0]
        client.send(packet(0xA2, b"\0\2" + text(b"s/%d" % number)))
        assert client.read(4) == b"\xb0\x02\0\2"
    assert len(inside[0].subscriptions) <= 10


def test_who_takes_nothing_costs_little_and_others_get_everything(
    broker: EmbeddedBroker, client: Client, told: list[str], inside: list[BoundedBroker]
) -> None:
    size, count, got = 60_000, 1500, [0]  # 90 MB
    with ExitStack() as stack:
        stuck, good = Client(broker, b"stuck"), Client(broker, b"good")
        for each in (stuck, good):
            stack.callback(each.close)
            assert each.subscribe("#") == [0]
        ended = threading.Event()

        def take() -> None:
            with contextlib.suppress(OSError):
                while got[0] < size * count and (came := good.socket.recv(1 << 20)):
                    got[0] += len(came)
            ended.set()

        taking = threading.Thread(target=take)
        taking.start()
        client.publish("s", b"x" * size)
        before = psutil.Process().memory_info().rss
        for _ in range(count - 1):
            client.publish("s", b"x" * size)
        assert ended.wait(within(30))
        taking.join()
        assert psutil.Process().memory_info().rss - before < 30 * 2**20
        assert len(inside[0]._sending) <= bounded_broker.MOST_WAITING + 1
    assert told == ["embedded MQTT broker: 1 messages dropped, for clients that take too few"]


def test_who_takes_nothing_for_long_is_cut_off(
    broker: EmbeddedBroker, client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(bounded_streams, "PACKET_S", within(0.5))
    with ExitStack() as stack:
        stuck, good = Client(broker, b"stuck"), Client(broker, b"good")
        stack.callback(stuck.close)
        assert stuck.subscribe("#") == [0]
        stack.callback(good.close)
        for _ in range(100):
            client.publish("s", b"x" * 60_000)

        def cut() -> bool:
            try:
                stuck.send(b"\xc0\0")
            except OSError:
                return True
            return False

        wait_until(cut, "the connection ends")
        good.ping()


def test_what_is_sent_faster_than_it_is_dealt_with_waits(
    broker: EmbeddedBroker, inside: list[BoundedBroker], monkeypatch: pytest.MonkeyPatch
) -> None:
    longest = [0, 0]
    publish, subscribe = ClientHandler.handle_publish, ClientHandler.handle_subscribe

    def look(handler: ClientHandler) -> None:
        assert handler.session is not None
        waiting = handler.session.delivered_message_queue.qsize() + handler._undone
        longest[0] = max(longest[0], waiting)
        longest[1] = max(longest[1], inside[0]._broadcast_queue.qsize())

    async def published(self: ClientHandler, came: PublishPacket) -> None:
        await publish(self, came)
        look(self)

    async def subscribed(self: ClientHandler, came: SubscribePacket) -> None:
        await subscribe(self, came)
        look(self)

    monkeypatch.setattr(ClientHandler, "handle_publish", published)
    monkeypatch.setattr(ClientHandler, "handle_subscribe", subscribed)
    with ExitStack() as stack:
        clients = [Client(broker, b"%d" % number, keepalive_s=0) for number in range(10)]
        for client in clients:
            stack.callback(client.close)
            client.socket.settimeout(within(60))
            client.send(packet(0x30, text(b"s") + b"x") * 1000)
            client.send(packet(0x82, b"\0\1" + text(b"a") + b"\0") * 100)
        for client in clients:
            assert client.read(5 * 100) == b"\x90\x03\0\1\0" * 100
    assert 0 < longest[0] <= bounded_broker.MOST_UNDONE + 2
    assert 0 < longest[1] <= bounded_broker.MOST_UNDONE


@pytest.fixture
def stuck(broker: EmbeddedBroker, client: Client) -> Iterator[Client]:
    """One that takes nothing of the megabytes that are sent to it."""
    with ExitStack() as stack:
        made = Client(broker, b"stuck")
        stack.callback(made.close)
        assert made.subscribe("#") == [0]
        for _ in range(100):
            client.publish("s", b"x" * 60_000)
        client.ping()
        yield made


def test_pings_of_who_takes_no_answer_wait(
    client: Client, stuck: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    pings, under_way, most = 2000, [0], [0]
    answer = ClientHandler.handle_pingreq

    async def answered(self: ClientHandler, came: PingReqPacket) -> None:
        under_way[0] += 1
        most[0] = max(most[0], under_way[0])
        await answer(self, came)
        under_way[0] -= 1

    monkeypatch.setattr(ClientHandler, "handle_pingreq", answered)
    stuck.send(b"\xc0\0" * pings)
    wait_until(lambda: most[0] > bounded_broker.MOST_UNDONE, "no more are read")
    for _ in range(50):
        client.ping()
    assert most[0] <= bounded_broker.MOST_UNDONE + 2
    came = 0
    while came < pings:
        came += stuck.socket.recv(1 << 20).count(b"\xd0")
    assert came == pings


def test_what_is_under_way_ends_with_its_connection_without_a_word(
    client: Client,
    stuck: Client,
    inside: list[BoundedBroker],
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    monkeypatch.setattr(bounded_streams, "PACKET_S", within(0.5))
    for number in range(1, 6):
        stuck.send(packet(0x32, text(b"t") + number.to_bytes(2) + b"x"))
        stuck.send(packet(0x34, text(b"t") + (50 + number).to_bytes(2) + b"x"))
    stuck.send(b"\xc0\0" * 100)
    wait_until(lambda: set(inside[0].sessions) == {"stranger"}, "it is cut off", 5)
    client.ping()
    gc.collect()
    client.ping()
    assert caplog.messages == []
    wait_until(lambda: not inside[0]._sending, "nothing is left", 5)


def test_a_message_that_is_never_released_keeps_nothing_else(
    broker: EmbeddedBroker, client: Client
) -> None:
    """amqtt itself keeps the tasks of all packets since."""
    client.send(packet(0x34, text(b"s") + b"\0\1x"))
    assert client.read(4) == b"\x50\x02\0\1"
    for _ in range(1000):
        client.ping()
    assert len(tasks(broker)) < 100
    client.send(packet(0x62, b"\0\1"))
    assert client.read(4) == b"\x70\x02\0\1"


def test_a_quality_of_service_that_there_is_not_ends_the_connection(
    client: Client, told: list[str], caplog: pytest.LogCaptureFixture
) -> None:
    client.send(packet(0x36, text(b"s") + b"\0\1x") * 5)
    with contextlib.suppress(ConnectionResetError):
        assert client.read(1) == b""
    gc.collect()
    assert told == ["embedded MQTT broker: 1 clients ended, which sent what MQTT does not have"]
    assert caplog.messages == []


@pytest.mark.parametrize("bound", [("MOST_UNANSWERED", 5), ("MOST_UNANSWERED_BYTES", 20)])
def test_who_ends_no_message_is_ended(
    bound: tuple[str, int],
    broker: EmbeddedBroker,
    client: Client,
    monkeypatch: pytest.MonkeyPatch,
    told: list[str],
) -> None:
    monkeypatch.setattr(bounded_broker, *bound)
    for number in range(1, 6):
        client.send(packet(0x34, text(b"s") + number.to_bytes(2) + b"four"))
    assert client.read(5 * 4)[:4] == b"\x50\x02\0\1"
    for number in range(1, 6):
        client.send(packet(0x62, number.to_bytes(2)))
    assert client.read(5 * 4)[:4] == b"\x70\x02\0\1"
    for number in range(1, 7):
        client.send(packet(0x34, text(b"s") + number.to_bytes(2) + b"four"))
    came = b""
    with contextlib.suppress(ConnectionResetError):
        while more := client.read(1):
            came += more
    assert len(came) == 5 * 4
    wait_until(lambda: len(told) == 1, "it is told")
    assert told[0].endswith("1 clients ended, which began messages and ended none")
    with Subscriber(broker.port, protocol=V311) as ear:
        ear.publish("s", "still here")
        ear.wait_for("s", ["still here"])


def test_only_who_subscribed_is_sent_what_is_retained(
    broker: EmbeddedBroker, client: Client
) -> None:
    """amqtt itself asks for what all others subscribed to, too."""
    for number in range(250):
        client.publish(f"s/{number}", b"1", retain=True)
    client.ping()
    with (
        Subscriber(broker.port, "s/#", protocol=V311) as first,
        Subscriber(broker.port, "s/1", protocol=V311) as second,
    ):
        wait_until(lambda: len(first.received) >= 250, "all of them")
        second.publish("s/1", "end")
        second.wait_for("s/1", ["1", "end"])
        first.wait_for("s/1", ["1", "end"])
        assert len(first.received) == 251
