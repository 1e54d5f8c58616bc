"""`pe-stream demo`: the bundled recording through the real daemon to a real MQTT subscriber."""

from __future__ import annotations

import csv
import json
import threading
from collections.abc import Callable
from typing import Any, Self

from paho.mqtt.client import Client, MQTTMessage
from paho.mqtt.enums import CallbackAPIVersion, MQTTProtocolVersion

from pe_stream.assets import DEMO_RECORDING, DEMO_TRUTH, EVERYDAY
from pe_stream.broker import HOST, EmbeddedBroker
from pe_stream.config import HistorySettings, MqttSettings, Settings, SourceSettings, StoreSettings
from pe_stream.config_file import load
from pe_stream.daemon import Daemon

NODE, SOURCE = "demo", "recording"

_FAREWELL_S = 5.0


def run(seconds: float | None) -> int:
    """Play the recording in real time, print what a subscriber receives, then what was put in.

    seconds: stop after so many; default: at the end of the recording. Returns the exit code.
    """
    broker = EmbeddedBroker()
    broker.start()
    try:
        with _Subscriber(broker.port) as subscriber:
            daemon = Daemon(_settings(broker.port), reload=lambda: _settings(broker.port))
            subscriber.on_failure = broker.on_failure = daemon.ended
            code = daemon.run(seconds)
            subscriber.wait_for_farewell()
        _compare(subscriber.heard, seconds)
    finally:
        broker.stop()
    return code


def _settings(port: int) -> Settings:
    return load(EVERYDAY).model_copy(
        update={
            "node": NODE,
            "sources": {SOURCE: SourceSettings(url=str(DEMO_RECORDING))},
            "mqtt": MqttSettings(host=HOST, port=port),
            "store": StoreSettings(enabled=False),
            "history": HistorySettings(enabled=False),
        }
    )


class _Subscriber:
    """A client of the broker as anyone would write one: prints every message it receives."""

    def __init__(self, port: int) -> None:
        self.heard: list[dict[str, Any]] = []
        self.on_failure: Callable[[BaseException], None] | None = None
        self._farewell = threading.Event()
        self._subscribed = threading.Event()
        self._client = Client(
            CallbackAPIVersion.VERSION2, "demo-subscriber", protocol=MQTTProtocolVersion.MQTTv311
        )
        self._client.on_message = self._on_message
        self._client.on_subscribe = lambda *_: self._subscribed.set()
        self._client.connect(HOST, port)

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
