"""Bad clients of the embedded broker: a good one is served after each."""

from __future__ import annotations

import os
import random
import re
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from attack.hostile_broker import length, packet, text
from mosquitto import Subscriber
from paho.mqtt.enums import MQTTProtocolVersion
from ports import HOST, free_port
from processes import Daemon, Process, level_config

from pe_stream.outputs.mqtt import embedded_broker
from pe_stream.outputs.mqtt.embedded_broker import EmbeddedBroker

V311 = MQTTProtocolVersion.MQTTv311


FULL = r"""
import socket
from pe_stream.outputs.mqtt import embedded_broker

embedded_broker.CONNECTIONS = 4
clients, start = [], embedded_broker.EmbeddedBroker.start

def start_full(broker):
    start(broker)
    for name in b"ab":
        client = socket.create_connection((embedded_broker.HOST, broker.port))
        client.sendall(b"\x10\x0d\x00\x04MQTT\x04\x02\x00\x3c\x00\x01" + bytes([name]))
        assert client.recv(4) == b"\x20\x02\x00\x00"
        clients.append(client)

embedded_broker.EmbeddedBroker.start = start_full
"""
"""All places are taken that others may have, before the daemon connects."""


def long(*values: Any) -> Any:
    return pytest.param(*values, marks=[pytest.mark.attack, pytest.mark.timeout(900)])


def connect(name: bytes = b"x", flags: int = 2, keepalive_s: int = 60, more: bytes = b"") -> bytes:
    head = text(b"MQTT") + b"\x04" + bytes([flags]) + keepalive_s.to_bytes(2)
    return packet(0x10, head + text(name) + more)


C = connect()
WILL = text(b"pe_stream/n/kitchen/speech/set") + text(b'{"enabled": false}')

CASES = [
    *([each] for each in (b"GET / HTTP/1.1\r\n\r\n", b"\0" * 100, C[:7])),
    [packet(0x30, text(b"a") + b"x")],
    [b"\x10\xff\xff\xff\xff\x01"],
    *([connect(name)] for name in (b"\xff\xfe", b"a\0b", b"pe-stream-n", b"good")),
    [connect(b"", 0)],
    [connect(b"y", 3)],
    [connect(b"y", 0x1E, 60, text(b"w") + text(b"m"))],
    *([connect(b"y", 6, 60, text(topic) + text(b"m"))] for topic in (b"#", b"\xff")),
    [connect(b"y", 2, 0)],
    [connect(b"y", 6)],
    [C, C],
    *([packet(0x10, text(b"MQIsdp") + b"\x03\x02\x00\x3c" + text(b"z"))] for _ in "1"),
    [packet(0x10, text(b"MQTT") + b"\x09\x02\x00\x3c" + text(b"z"))],
    *(
        [C, packet(0x30, text(topic) + b"{}")]
        for topic in (b"pe_stream/n/\xff/x/set", b"pe_stream/n/+/#/set", b"", b"n/\0/x", b"$SYS/x")
    ),
    *([C, packet(0x30, body)] for body in (b"\0", b"\xff\xffab")),
    [C, packet(0x36, text(b"a") + b"\0\1x")],
    [C, packet(0x31, text(b"pe_stream/n/[/(/set") + b"x")],
    [connect(b"w", 6, 60, WILL)],
    *(
        [C, packet(0x82, b"\0\1" + text(topic) + b"\0")]
        for topic in (b"\xff\xfe", b"[/+", b"a**(+/#", b"", b"#/a", b"$share//#", b"$share")
    ),
    [C, packet(0x82, b"\0\1" + text(b"/".join([b"+"] * 3000)) + b"\0")],
    [C, packet(0x82, b"\0\1")],
    [C, packet(0x82, b"\0\1" + text(b"#") + b"\3")],
    [C, packet(0xA2, b"\0\1" + text(b"zz"))],
    [C, packet(0xA2, b"\0\1")],
    *([C, packet(first, b"\0\x09")] for first in (0x40, 0x50, 0x62, 0x70)),
    [C, packet(0x40, b"")],
    *(
        [C, each]
        for each in (b"\xd0\0", b"\x20\2\0\0", packet(0x90, b"\0\1\0"), b"\0\0", b"\xf0\0")
    ),
    [C, packet(0xE0, b"abc")],
    [C, b"\x30" + length(200_000_000) + text(b"flood/x") + b"z" * 100_000],
]


@pytest.fixture
def broker(monkeypatch: pytest.MonkeyPatch) -> Iterator[EmbeddedBroker]:
    monkeypatch.setattr(embedded_broker, "_RATE", 10_000)
    made = EmbeddedBroker()
    made.start()
    yield made
    made.stop()
    assert made.failure is None


def send(port: int, parts: list[bytes]) -> None:
    try:
        with socket.create_connection((HOST, port), 5) as stranger:
            stranger.settimeout(0.05)
            for each in parts:
                stranger.sendall(each)
            stranger.recv(4096)
    except OSError:
        return


def served(broker: EmbeddedBroker, number: int) -> None:
    with Subscriber(broker.port, "good/#", protocol=V311) as good:
        good.publish(f"good/{number}", "still here")
        good.wait_for(f"good/{number}", ["still here"])


@pytest.mark.parametrize("number", range(len(CASES)))
def test_a_bad_client_harms_no_other(broker: EmbeddedBroker, number: int) -> None:
    with Subscriber(broker.port, "good/#", protocol=V311) as before:
        send(broker.port, CASES[number])
        before.publish("good/before", "still here")
        before.wait_for("good/before", ["still here"])
    served(broker, number)


@pytest.mark.parametrize("count", [100, long(3000)])
def test_random_packets_harm_nobody(broker: EmbeddedBroker, count: int) -> None:
    rng = random.Random(3)
    for number in range(count):
        body = rng.randbytes(rng.randint(0, 40))
        send(broker.port, [C, packet(rng.randrange(256), body)])
        if number % 50 == 0:
            served(broker, number)
    served(broker, count)


@pytest.mark.realtime
def test_a_full_broker_takes_its_own_daemon(tmp_path: Path, level: Path) -> None:
    (tmp_path / "sitecustomize.py").write_text(FULL, "utf-8")
    config = level_config(level, free_port(), "{microphone: default}")
    config = config.replace("mqtt: {host: 127.0.0.1, ", "mqtt: {embedded: true, ")
    with Daemon(tmp_path, config, {"PYTHONPATH": f"{tmp_path}:{Path.cwd()}"}) as daemon:
        daemon.wait_for_log("connected to MQTT broker", 20)
    assert "refuses the connection" not in daemon.log


@pytest.mark.realtime
def test_a_full_broker_takes_the_demo(tmp_path: Path) -> None:
    """Its daemon, and its subscriber."""
    (tmp_path / "sitecustomize.py").write_text(FULL, "utf-8")
    environment = {**os.environ, "PYTHONPATH": f"{tmp_path}:{Path.cwd()}"}
    with Process(["demo", "--seconds", "3"], environment) as playing:
        assert playing.exit_code(60) == 0
    assert re.search(r"pe_stream/demo/status +online", playing.out)
    assert re.search(r"pe_stream/demo/status +offline", playing.out)
