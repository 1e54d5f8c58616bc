"""`pe-stream demo`: the bundled recording through the real daemon to a real MQTT subscriber."""

from __future__ import annotations

import contextlib
import csv
import json
import socket
import tempfile
import threading
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Self

import yaml
from paho.mqtt.client import Client, MQTTMessage
from paho.mqtt.enums import CallbackAPIVersion, MQTTProtocolVersion

from pe_stream.assets import DEMO_RECORDING, DEMO_TRUTH, EVERYDAY
from pe_stream.config import WebSettings
from pe_stream.config.file import load
from pe_stream.config.mqtt import OWN_USER
from pe_stream.daemon.service import Daemon
from pe_stream.errors import UnavailableError
from pe_stream.outputs.mqtt.embedded_broker import HOST, EmbeddedBroker

NODE, SOURCE = "demo", "recording"

_FAREWELL_S = 5.0


def run(seconds: float | None, *, loop: bool = False) -> int:
    """Play the recording in real time, print what a subscriber receives, then what was put in.

    seconds: stop after so many; default: at the end of the recording. loop: begin again there.
    Everything is kept in a folder that is gone afterwards. Returns the exit code.
    """
    broker = EmbeddedBroker()
    broker.start()
    try:
        with (
            tempfile.TemporaryDirectory(prefix="pe-stream-demo-") as folder,
            _PrintingSubscriber(broker) as subscriber,
        ):
            path = _configuration(Path(folder), broker, loop=loop)
            daemon = Daemon(load(path), reload=lambda: load(path), config=path)
            subscriber.on_failure, broker.on_failure = daemon.ended, daemon.died
            code = daemon.run(seconds)
            subscriber.wait_for_farewell()
        if not loop:
            _compare(subscriber.heard, seconds)
    finally:
        broker.stop()
    return code


def _configuration(folder: Path, broker: EmbeddedBroker, *, loop: bool) -> Path:
    """A configuration as anyone would write one, which the page may edit."""
    password = folder / "mqtt-password"
    password.touch(0o600)
    password.write_text(broker.password, "utf-8")
    sections = {
        "node": NODE,
        "sources": {SOURCE: {"url": str(DEMO_RECORDING), "loop": loop}},
        "mqtt": {
            "host": HOST,
            "port": broker.port,
            "username": OWN_USER,
            "password_file": str(password),
        },
        "store": {"path": str(folder / "events.db")},
        "history": {"path": str(folder / "scores.db")},
        "search": {"enabled": True, "folder": str(folder / "heard")},
        "clips": {"enabled": True, "folder": str(folder / "clips")},
        "web": {"enabled": find_spec("fastapi") is not None, "port": _page_port()},
    }
    path = folder / "config.yaml"
    path.write_text(yaml.safe_dump(sections) + EVERYDAY.read_text("utf-8"), "utf-8")
    return path


def _page_port() -> int:
    """The usual port, any other where it is taken."""
    for port in (WebSettings().port, 0):
        with contextlib.suppress(OSError), socket.create_server((HOST, port)) as free:
            return int(free.getsockname()[1])
    raise UnavailableError(f"no port is free on {HOST}")


class _PrintingSubscriber:
    """A client of the broker as anyone would write one: prints every message it receives."""

    def __init__(self, broker: EmbeddedBroker) -> None:
        self.heard: list[dict[str, Any]] = []
        self.on_failure: Callable[[BrokenPipeError], None] | None = None
        self._farewell = threading.Event()
        self._subscribed = threading.Event()
        self._client = Client(
            CallbackAPIVersion.VERSION2, "demo-subscriber", protocol=MQTTProtocolVersion.MQTTv311
        )
        self._client.on_message = self._on_message
        self._client.on_subscribe = lambda *_: self._subscribed.set()
        self._client.username_pw_set(OWN_USER, broker.password)  # it has a place, then
        self._client.connect(HOST, broker.port)

    def __enter__(self) -> Self:
        self._client.subscribe("#", qos=1)
        self._client.loop_start()
        self._subscribed.wait(_FAREWELL_S)
        return self

    def __exit__(self, *_: object) -> None:
        self._client.disconnect()
        self._client.loop_stop()

    def wait_for_farewell(self) -> None:
        """Return once the daemon's `offline` has arrived, which it sends last."""
        self._farewell.wait(_FAREWELL_S)

    def _on_message(self, _client: Client, _data: object, message: MQTTMessage) -> None:
        try:
            self._receive(message)
        except BrokenPipeError as error:  # nobody reads what we print
            if self.on_failure is not None:
                self.on_failure(error)

    def _receive(self, message: MQTTMessage) -> None:
        payload = message.payload.decode()
        if message.topic.endswith("/events"):
            event = json.loads(payload)
            if event["phase"] == "end":
                self.heard.append(event)
            payload = (
                f"{event['phase']:6} {event['label']} at {event['onset_s']:.2f} s, "
                f"{event['duration_s']:.2f} s long, peak {event['peak']:.2f}, "
                f"latency {event['latency_ms']:.0f} ms"
            )
        print(f"{message.topic:44} {payload}", flush=True)
        if payload == "offline":
            self._farewell.set()


def _compare(heard: list[dict[str, Any]], seconds: float | None) -> None:
    """Print what was put into the recording beside what was heard of it."""
    print("\nwhat the recording holds, and what was heard then:")
    with DEMO_TRUTH.open(newline="", encoding="utf-8") as file:
        for row in csv.DictReader(file):
            onset_s, offset_s = float(row["onset_s"]), float(row["offset_s"])
            if seconds is not None and onset_s > seconds:
                break
            found = ", ".join(
                f"{event['label']} at {event['onset_s']:.2f}"
                for event in heard
                if event["onset_s"] < offset_s and event["offset_s"] > onset_s
            )
            print(f"  {onset_s:6.2f} to {offset_s:5.2f} s  {row['text']:44}  {found or '-'}")
