"""Latency from sound to MQTT: a source in real time, `Live`, publisher, broker, subscriber."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from dataclasses import replace
from typing import Any, Self, cast

import numpy as np
from paho.mqtt.client import Client, MQTTMessage
from paho.mqtt.enums import CallbackAPIVersion, MQTTProtocolVersion

from pe_stream.config import MqttSettings
from pe_stream.config.mqtt import OWN_USER
from pe_stream.core.listener import Listener
from pe_stream.core.messages import StateBoard, Topics
from pe_stream.core.types import (
    FRAME,
    SAMPLE_RATE,
    AudioChunk,
    Event,
    FrameEmbeddings,
    FrameScores,
    LabelRule,
    Phase,
    Window,
)
from pe_stream.core.windows import Framing
from pe_stream.errors import UnavailableError
from pe_stream.labels.prepare import PreparedLabels
from pe_stream.model.codec import Stream
from pe_stream.outputs.mqtt import Publisher
from pe_stream.outputs.mqtt.embedded_broker import HOST, EmbeddedBroker
from pe_stream.pipeline.live import Live
from pe_stream.pipeline.scorer import Scorer
from pe_stream.workbench.bench.figures import summary
from pe_stream.workbench.bench.sources import LEVEL, noise

HOP, LOOKAHEAD = 3, 6
"""Frames: 0.12 s and 0.24 s, for those who want to know soon."""

_NODE, _SOURCE = "bench", "beacon"
_ON, _PERIOD = 3, 7
"""Frames of a burst, and from burst to burst: of no common measure with the hop, so that every
place between two scorings comes up."""

_TAIL = 25
"""Frames of quiet at the end, so that the end itself decides nothing."""

_BLOCK = 1  # frames, as a microphone delivers them
_PATIENCE_S = 10.0


class Beacon:
    """A source: a full window of quiet noise at once, then bursts in real time."""

    describe = "bursts of noise in real time"
    returns = False

    def __init__(self, window: int, seconds: float) -> None:
        self.bursts = max(1, round(seconds * SAMPLE_RATE / FRAME / _PERIOD))
        self._window = window
        self._closed = threading.Event()
        self._chunks = self._play()

    def __iter__(self) -> Self:
        return self

    def __next__(self) -> AudioChunk:
        return next(self._chunks)

    def close(self) -> None:
        """End the iteration."""
        self._closed.set()

    def _play(self) -> Iterator[AudioChunk]:
        start = self._window * FRAME
        yield AudioChunk(0, noise(start), time.time_ns(), time.monotonic())
        quiet = noise(_BLOCK * FRAME, seed=1)
        loud = quiet * np.float32(8)
        began_s = time.monotonic()
        for frame in range(self.bursts * _PERIOD + _TAIL):
            due_s = began_s + (frame + 1) * FRAME / SAMPLE_RATE
            if self._closed.wait(max(0.0, due_s - time.monotonic())):
                return
            on = frame < self.bursts * _PERIOD and frame % _PERIOD >= _PERIOD - _ON
            yield AudioChunk(start, loud if on else quiet, None, due_s)
            start += FRAME


class Ears:
    """The engine at its true cost, with scores that are known: the first label is on in a burst."""

    def __init__(self, engine: Any) -> None:
        self._engine = engine

    @property
    def labels(self) -> Any:
        """The engine's."""
        return self._engine.labels

    @property
    def most_together(self) -> int:
        """The engine's."""
        most: int = self._engine.most_together
        return most

    def hear_and_embed(
        self, streams: Sequence[Stream], windows: Sequence[Window], *, embed: bool
    ) -> list[tuple[FrameScores, FrameEmbeddings | None]]:
        """Let the engine score, and put known scores in their place."""
        found = self._engine.hear_and_embed(streams, windows, embed=embed)
        made = []
        for window, (scores, embeddings) in zip(windows, found, strict=True):
            known = np.zeros_like(scores)
            power = (window.samples.reshape(-1, FRAME) ** 2).mean(axis=1)
            known[:, 0] = power[-len(scores) :] > (3 * LEVEL) ** 2
            made.append((known, embeddings))
        return made


def measure(scorer: Scorer, seconds: float) -> dict[str, Any]:
    """Play bursts for `seconds`; returns figures of the events that a subscriber received (ms).

    latency_ms: as events report it, from the end of the audio that decided to the hand-over to
    MQTT; delivery_ms: from there to a subscriber on this machine.
    """
    framing = Framing(scorer.framing.window, HOP, LOOKAHEAD)
    names = scorer.engine.labels.names
    rules = tuple(LabelRule(name, 0.5, 0.4, update_every=1000) for name in names)
    scorer = replace(
        scorer,
        engine=cast("Any", Ears(scorer.engine)),
        framing=framing,
        labels=PreparedLabels(scorer.engine.labels, rules),
    )
    beacon = Beacon(framing.window, seconds)
    with ExitStack() as stack:
        broker = EmbeddedBroker()
        broker.start()
        stack.callback(broker.stop)
        subscriber = stack.enter_context(_Subscriber(broker, beacon.bursts))
        topics = Topics("pe_stream", _NODE)
        publisher = Publisher(
            MqttSettings(host=HOST).of_embedded(broker.port, broker.password),
            topics,
            on_set=lambda *_: None,
            on_failure=lambda _: None,
        )
        publisher.start()
        stack.callback(publisher.stop)
        output = _Output(publisher, StateBoard(topics, {_SOURCE: names}))
        live = Live(
            {_SOURCE: lambda *_: beacon},
            scorer,
            output,
            node=_NODE,
            hears=lambda *_: True,
            ended=output.end,
            failed=output.end,
        )
        live.open()
        stack.callback(live.stop)
        live.start()
        output.wait(seconds + framing.window * FRAME / SAMPLE_RATE + _PATIENCE_S)
        subscriber.complete.wait(_PATIENCE_S)
        status = live.statuses[_SOURCE]
    return _figures(
        beacon, output, subscriber, {"stretched_hops": status.stretched, "rtf": status.rtf}
    )


def _figures(
    beacon: Beacon, output: _Output, subscriber: _Subscriber, statuses: dict[str, Any]
) -> dict[str, Any]:
    received = subscriber.received
    if not received:
        raise UnavailableError("no event came through the embedded broker on loopback")
    delivery_ms = [1000 * (at_s - output.handed_s[id_]) for id_, at_s, _ in received]
    return {
        "hop_s": HOP * FRAME / SAMPLE_RATE,
        "lookahead_s": LOOKAHEAD * FRAME / SAMPLE_RATE,
        "bursts": beacon.bursts,
        "events": len(received),
        "latency_ms": summary([latency_ms for _, _, latency_ms in received]),
        "delivery_ms": summary(delivery_ms),
        **statuses,
    }


class _Output(Listener):
    """Publishes events as the daemon does, and keeps the times."""

    def __init__(self, publisher: Publisher, board: StateBoard) -> None:
        self.handed_s: dict[str, float] = {}
        self._publisher = publisher
        self._board = board
        self._over = threading.Event()
        self._error: BaseException | None = None

    def event(self, event: Event) -> None:
        """Publish; on the scoring thread."""
        self.handed_s.setdefault(event.id, time.monotonic())
        self._publisher.publish(self._board.messages(event))

    def end(self, error: BaseException | None) -> None:
        """Note that the source has ended, or what ended a thread."""
        self._error = self._error or error
        self._over.set()

    def wait(self, timeout_s: float) -> None:
        """Return when the source has ended; raises what ended a thread."""
        self._over.wait(timeout_s)
        if self._error is not None:
            raise self._error


class _Subscriber:
    """Receives events as anyone would; keeps (id, when, latency_ms) of their starts."""

    def __init__(self, broker: EmbeddedBroker, expected: int) -> None:
        self.received: list[tuple[str, float, float]] = []
        self.complete = threading.Event()
        self._expected = expected
        self._subscribed = threading.Event()
        self._client = Client(
            CallbackAPIVersion.VERSION2, "bench-subscriber", protocol=MQTTProtocolVersion.MQTTv311
        )
        self._client.on_message = self._on_message
        self._client.on_subscribe = lambda *_: self._subscribed.set()
        self._client.username_pw_set(OWN_USER, broker.password)  # it has a place, then
        self._client.connect(HOST, broker.port)

    def __enter__(self) -> Self:
        self._client.subscribe("+/+/+/events", qos=1)
        self._client.loop_start()
        self._subscribed.wait(_PATIENCE_S)
        return self

    def __exit__(self, *_: object) -> None:
        self._client.disconnect()
        self._client.loop_stop()

    def _on_message(self, _client: Client, _data: object, message: MQTTMessage) -> None:
        event = json.loads(message.payload)
        if event["phase"] == Phase.START:
            self.received.append((event["id"], time.monotonic(), event["latency_ms"]))
        if event["phase"] == Phase.END and len(self.received) >= self._expected:
            self.complete.set()
