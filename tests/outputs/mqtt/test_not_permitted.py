"""Brokers that end the connection for a topic that they do not permit, as cloud brokers do.

MQTT 3.1.1 knows no other answer that says no (section 3.3.5).
"""

from __future__ import annotations

import contextlib
import itertools
import socket
import threading
import time
from collections.abc import Iterator
from fnmatch import fnmatch

import pytest
from mosquitto import wait_until
from ports import HOST

from pe_stream.config import MqttSettings
from pe_stream.core.messages import Message, Topics
from pe_stream.outputs.mqtt import Publisher

NODE = "pe_stream/house"


class Cloud:
    """A broker that permits some topics, and hangs up at any other.

    farewell: with these bytes; away_s: as late as a broker does that is so far away.
    """

    def __init__(
        self, forbidden: str, farewell: bytes = b"", *, mqtt5: bool, away_s: float = 0.0
    ) -> None:
        self.came: list[tuple[str, str]] = []
        self._forbidden, self._farewell, self._mqtt5 = forbidden, farewell, mqtt5
        self._away_s = away_s
        self._listening = socket.create_server((HOST, 0))
        self.port = self._listening.getsockname()[1]
        threading.Thread(target=self._serve, daemon=True).start()

    def close(self) -> None:
        self._listening.close()

    def _serve(self) -> None:
        while True:
            try:
                connection, _ = self._listening.accept()
            except OSError:
                return
            with connection, contextlib.suppress(OSError, IndexError):
                self._talk(connection)

    def _talk(self, connection: socket.socket) -> None:
        stream = connection.makefile("rb")
        while head := stream.read(1):
            length = shift = 0
            while (byte := stream.read(1)[0]) & 0x80:
                length, shift = length | (byte & 0x7F) << shift, shift + 7
            body = stream.read(length | byte << shift)
            extra = b"\x00" if self._mqtt5 else b""  # no properties
            match head[0] >> 4:
                case 1:
                    connection.sendall(b"\x20" + bytes([2 + len(extra)]) + b"\x00\x00" + extra)
                case 3:
                    end = 2 + int.from_bytes(body[:2])
                    topic, qos = body[2:end].decode(), head[0] >> 1 & 3
                    if fnmatch(topic, self._forbidden):
                        time.sleep(self._away_s)
                        connection.sendall(self._farewell)
                        return
                    rest = body[end + 2 * bool(qos) + len(extra) :]
                    self.came.append((topic, rest.decode()))
                    if qos:
                        connection.sendall(b"\x40\x02" + body[end : end + 2])
                case 8:
                    answer = body[:2] + extra + b"\x01"
                    connection.sendall(bytes([0x90, len(answer)]) + answer)
                case 12:
                    connection.sendall(b"\xd0\x00")


@pytest.fixture(params=["3.1.1", "5", "5, with a reason"])
def kind(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.mark.parametrize("forbidden", [f"{NODE}/status", f"{NODE}/*/state", "home/*", "*/scores"])
def test_all_else_is_delivered_in_order(kind: str, forbidden: str) -> None:
    farewell = b"\xe0\x01\x87" if "reason" in kind else b""
    cloud = Cloud(forbidden, farewell, mqtt5=kind[0] == "5")
    begun: list[Iterator[float]] = []

    def delays() -> Iterator[float]:
        begun.append(itertools.repeat(0.02))
        return begun[-1]

    mouth = Publisher(
        MqttSettings(host=HOST, port=cloud.port, protocol="5" if kind[0] == "5" else "3.1.1"),
        Topics("pe_stream", "house"),
        on_set=lambda *_: None,
        on_failure=lambda _: None,
        delays=delays,
    )
    states = [Message(f"{NODE}/hall/{label}/state", "OFF", qos=1, retain=True) for label in "abc"]
    described = [Message(f"home/{n}/config", "x" * 9000, qos=1, retain=True) for n in range(4)]
    events = [Message(f"{NODE}/hall/events", f"{n:300}", qos=1, retain=False) for n in range(20)]
    scores = [Message(f"{NODE}/hall/scores", f"{n}", qos=0, retain=False) for n in range(20)]
    mouth.publish(described + states)
    mouth.start()
    try:
        wait_until(lambda: mouth.connected, "connected")
        for event, score in zip(events, scores, strict=True):
            mouth.publish([score, event])

        def settled() -> bool:
            mouth.publish(scores[:1])  # they go on, and are forgotten while there is no connection
            return mouth.connected and mouth.queued == 0 and mouth.untaken_reason is not None

        wait_until(settled, "delivered, and told what is not", 30)
        permitted = {m.topic for m in (*states, *described) if not fnmatch(m.topic, forbidden)}
        wait_until(lambda: permitted <= {topic for topic, _ in cloud.came}, "states and devices")
        payloads = [said for topic, said in cloud.came if topic.endswith("/events")]
        assert list(dict.fromkeys(payloads)) == [event.payload for event in events]
        assert fnmatch(str(mouth.untaken_reason).split("take ")[1].split(":")[0], forbidden)
        assert "permitted" in str(mouth.untaken_reason)
        assert len(begun) > 1  # delays are short again after what is no outage
    finally:
        mouth.stop(0.1)
        cloud.close()


def test_nothing_joins_a_suspect_that_is_on_its_way() -> None:
    cloud = Cloud("*/secret", mqtt5=False, away_s=0.3)
    mouth = Publisher(
        MqttSettings(host=HOST, port=cloud.port),
        Topics("pe_stream", "house"),
        on_set=lambda *_: None,
        on_failure=lambda _: None,
        delays=lambda: itertools.repeat(0.02),
    )
    mouth.publish([Message(f"{NODE}/secret", "OFF", qos=1, retain=True)])
    mouth.start()
    published: list[str] = []
    try:
        # On topics that are not suspect: were one beside it, nobody could tell which was minded.
        while mouth.untaken_reason is None and len(published) < 60:
            published.append(f"{NODE}/source_{len(published)}/events")
            mouth.publish([Message(published[-1], "event", qos=1, retain=False)])
            time.sleep(0.1)
        assert "secret" in str(mouth.untaken_reason)
        wait_until(lambda: mouth.queued == 0, "delivered")
        assert {topic for topic, said in cloud.came if said == "event"} == set(published)
    finally:
        mouth.stop(0.1)
        cloud.close()
