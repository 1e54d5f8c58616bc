"""What the broker keeps is what the present configuration publishes, whatever went before."""

from __future__ import annotations

import json
import random
import signal
import threading
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Self

import pytest
from mosquitto import Mosquitto, Subscriber, wait_until
from ports import HOST
from processes import Daemon, level_config
from sounds import noise, write_float_wav
from stand_ins import event, eventually

from pe_stream.config import Settings
from pe_stream.core.messages import Message
from pe_stream.core.types import LabelRule, Phase
from pe_stream.daemon.active_labels import labels_by_source
from pe_stream.daemon.mqtt_output import MqttOutput
from pe_stream.storage.database import reading
from pe_stream.storage.events import EventStore

FOREIGN = {
    "pe_stream/pi/garden/note": "somebody else's, below our node",
    "pe_stream/other/status": "online",
    "homeassistant/device/other/config": "{}",
    "house/hall": "ON",
}
"""Retained by others; nobody touches it."""

NODES = ("pi", "Pi Kitchen")
PREFIXES = ("pe_stream", "home/sounds")
SOURCES = ("hall", "attic", "Front Door")
LABELS = ("dog_bark", "smoke_alarm", "glass", "any dog")
HOME = (
    {"enabled": False},
    {"enabled": True},
    {"enabled": True, "prefix": "ha/discovery"},
)


@pytest.fixture
def broker(tmp_path: Path) -> Iterator[Mosquitto]:
    """One that remembers, also where it was ended in good order meanwhile."""
    folder = tmp_path / "broker"
    folder.mkdir()
    lines = ["allow_anonymous true", "persistence true", f"persistence_location {folder}/"]
    with Mosquitto(folder, lines) as running:
        with Subscriber(running.port, "none") as others:
            for topic, payload in FOREIGN.items():
                others.publish(topic, payload, retain=True)
        yield running


def retained(broker: Mosquitto) -> dict[str, str]:
    """All that the broker keeps."""
    with Subscriber(broker.port) as ear:
        ear.publish("end", "")
        wait_until(lambda: ear.payloads("end") != [], "all that is retained")
        return {each.topic: each.payload for each in ear.received if each.retain}


def settings(port: int, sources: Mapping[str, Sequence[str]], **more: Any) -> Settings:
    """A configuration in which each source is listened to for these labels."""
    of = {label: [s for s in sources if label in sources[s]] for label in LABELS}
    mqtt = {"host": HOST, "port": port} | more.pop("mqtt", {})
    return Settings.model_validate(
        {
            "sources": {source: {"url": "sound.wav"} for source in sources},
            "labels": {label: {"sources": where} for label, where in of.items() if where},
            "mqtt": mqtt,
        }
        | more
    )


class Run:
    """A daemon's run, as far as MQTT is concerned, with the order of `daemon.running`."""

    def __init__(self, given: Settings, folder: Path) -> None:
        self.said: dict[str, str] = {}
        self.may_connect = threading.Event()
        self.may_connect.set()
        self.of = labels_by_source(given)
        self._path = folder / "events.db"
        self.store = EventStore(self._path, keep_days=30, limit=100)
        self.mqtt = MqttOutput(
            given,
            given.mqtt,
            self.of,
            self.store,
            on_set=print,
            on_failure=print,
            delays=self._delays,
        )
        publish = self.mqtt.publisher.publish

        def keep(messages: Sequence[Message]) -> None:
            told = list(messages)
            self.said.update({m.topic: m.payload for m in told if m.retain})
            publish(told)

        self.mqtt.publisher.publish = keep  # type: ignore[assignment,method-assign]
        self.mqtt.home._publish = keep  # type: ignore[assignment]
        self.status = f"{given.mqtt.prefix}/{self.mqtt._topics.status.split('/')[-2]}/status"

    def __enter__(self) -> Self:
        self.mqtt.start()
        self.mqtt.go_on()
        self.mqtt.delivery.begin()
        self.relabel(self.of)
        for source in self.of:
            self.mqtt.delivery.health(source, {"state": "hearing"})
        return self

    def _delays(self) -> Iterator[float]:
        while self.may_connect.wait(30):
            yield 0.02

    def relabel(self, of: Mapping[str, Sequence[str]]) -> None:
        self.of = {source: list(labels) for source, labels in of.items()}
        self.mqtt.delivery.labels(self.of, {})
        self.mqtt.home.labels(self.of, {})
        for source, labels in self.of.items():
            self.mqtt.home.rules(source, [LabelRule(name, 0.5, 0.4) for name in labels])

    def hear(self, number: int, source: str, phase: Phase) -> None:
        for label in self.of[source][:1]:
            told = event(number, phase, source=source, label=label)
            self.mqtt.delivery.event(told)
            self.mqtt.home.event(told)

    def stop(self) -> None:
        self.mqtt.publisher.stop()
        self.store.close()

    def __exit__(self, *_: object) -> None:
        self.stop()

    @property
    def expected(self) -> dict[str, str]:
        """What a broker is to keep of us: the last that this run said on each topic."""
        mine = {topic: payload for topic, payload in self.said.items() if payload}
        return mine | {self.status: "online"}

    def remembered(self, port: int) -> set[str]:
        """Topics that the store knows of a broker."""
        with reading(self._path, "topics") as database:
            found = database.execute("SELECT topic FROM retained WHERE port = ?", (port,))
            return {topic for (topic,) in found}

    def settle(self, broker: Mosquitto, others: Mapping[str, str] = FOREIGN) -> None:
        """Return once the broker keeps exactly that and what others say; fail where it does not."""
        kept: dict[str, str] = {}

        def right() -> bool:
            nonlocal kept
            kept = retained(broker)
            return kept == {**self.expected, **others}

        try:
            wait_until(right, "the broker keeps what is published")
        except pytest.fail.Exception:
            assert kept == {**self.expected, **others}
        mine = self.expected.keys()
        wait_until(lambda: self.remembered(broker.port) == mine, "the store knows what is kept")


class Outages:
    """A broker that goes in good order, and comes back."""

    def __init__(self, broker: Mosquitto) -> None:
        self.away = False
        self._broker = broker

    def turn(self) -> None:
        self.away = not self.away
        if self.away:
            self._broker.stop()
        else:
            self._broker.start()


def some(chance: random.Random, names: Sequence[str], least: int) -> list[str]:
    return sorted(chance.sample(names, chance.randint(least, len(names))))


@pytest.mark.parametrize("seed", range(50))
def test_after_any_sequence_the_broker_keeps_what_is_published_now(
    tmp_path: Path, broker: Mosquitto, seed: int
) -> None:
    chance, house = random.Random(seed), Outages(broker)
    for number in range(chance.randint(2, 4)):
        sources = some(chance, SOURCES, 1)
        given = settings(
            broker.port,
            {source: some(chance, LABELS, 1) for source in sources},
            node=chance.choice(NODES),
            home_assistant=chance.choice(HOME),
            mqtt={"prefix": chance.choice(PREFIXES)},
        )
        with Run(given, tmp_path) as run:
            for step in range(chance.randint(0, 3)):
                match chance.choice(["reload", "reload", "event", "outage"]):
                    case "reload":
                        run.relabel({source: some(chance, LABELS, 0) for source in sources})
                    case "event":
                        run.hear(10 * number + step, sources[0], chance.choice(list(Phase)))
                    case "outage":
                        house.turn()
            if not house.away:
                run.settle(broker)
                if chance.random() < 0.3:
                    house.turn()  # and so it does not hear that this run ends
    if house.away:
        house.turn()
    with Run(given, tmp_path) as run:
        run.settle(broker)


def test_nothing_is_left_of_another_node_prefix_or_home_assistant(
    tmp_path: Path, broker: Mosquitto
) -> None:
    rooms = {"hall": ["dog_bark"], "attic": ["dog_bark", "smoke_alarm"]}
    on = {"enabled": True}
    with Run(settings(broker.port, rooms, node="pi", home_assistant=on), tmp_path) as run:
        run.settle(broker)
        before = retained(broker).keys() - FOREIGN
    assert len(before) == 1 + 2 * 2 + 3 + 2 + 2 * 3  # status, sources, labels, Home Assistant's
    for changed in (
        {"node": "attic-pi"},
        {"node": "attic-pi", "mqtt": {"prefix": "sounds"}},
        {"node": "attic-pi", "mqtt": {"prefix": "sounds"}, "home_assistant": on},
    ):
        with Run(settings(broker.port, rooms, **changed), tmp_path) as run:
            run.settle(broker)
            assert not before & retained(broker).keys()


def test_what_is_not_cleared_for_an_outage_is_cleared_in_a_later_run(
    tmp_path: Path, broker: Mosquitto
) -> None:
    both = {"hall": ["dog_bark"], "attic": ["glass"]}
    with Run(settings(broker.port, both, node="pi"), tmp_path) as run:
        run.settle(broker)
    hall = settings(broker.port, {"hall": ["dog_bark"]}, node="pi")
    broker.stop()
    with Run(hall, tmp_path):
        pass  # the attic is taken out while the broker is away, and for this whole run
    broker.start()
    assert "pe_stream/pi/attic/glass/state" in retained(broker)
    with Run(hall, tmp_path) as run:
        run.settle(broker)
        assert not [topic for topic in retained(broker) if "attic" in topic]


def test_each_broker_is_cleared_of_what_it_was_given(tmp_path: Path, broker: Mosquitto) -> None:
    """Going to another broker and back, the first one is not forgotten."""
    folder = tmp_path / "second"
    folder.mkdir()
    both = {"hall": ["dog_bark"], "attic": ["glass"]}
    with Run(settings(broker.port, both), tmp_path) as run:
        run.settle(broker)
    with (
        Mosquitto(folder) as second,
        Run(settings(second.port, {"hall": ["dog_bark"]}), tmp_path) as run,
    ):
        run.settle(second, others={})
    with Run(
        settings(broker.port, {"hall": ["dog_bark"]}, mqtt={"host": "localhost"}), tmp_path
    ) as run:
        run.settle(broker)


def test_a_store_that_can_be_read_only_later_still_clears(
    tmp_path: Path, broker: Mosquitto
) -> None:
    with Run(settings(broker.port, {"hall": ["dog_bark", "glass"]}), tmp_path) as run:
        run.settle(broker)
    holder = EventStore(tmp_path / "events.db", keep_days=30, limit=100)
    run = Run(settings(broker.port, {"hall": ["glass"]}), tmp_path)
    try:
        with run:
            eventually(lambda: retained(broker).get(run.status) == "online")
            assert [topic for topic in retained(broker) if "dog_bark" in topic]
            holder.close()

            def told() -> bool:
                run.store.retry()
                run.mqtt.go_on()
                return run.store.unavailable_reason is None

            wait_until(told, "the store can be read", 30)
            run.mqtt.go_on()
            run.settle(broker)
    finally:
        holder.close()


def test_a_database_that_is_begun_anew_knows_what_the_broker_keeps(
    tmp_path: Path, broker: Mosquitto
) -> None:
    with Run(settings(broker.port, {"hall": ["dog_bark", "glass"]}), tmp_path) as run:
        run.settle(broker)
        (tmp_path / "events.db").unlink()
        run.hear(1, "hall", Phase.START)
        eventually((tmp_path / "events.db").exists)
        run.settle(broker)
    with Run(settings(broker.port, {"hall": ["glass"]}), tmp_path) as run:
        run.settle(broker)


def test_home_assistant_hears_of_what_went_while_the_broker_was_away(
    tmp_path: Path, broker: Mosquitto
) -> None:
    """It removes an entity that is named with its platform alone; what is left out, it keeps."""
    on = {"enabled": True}
    config = "homeassistant/device/pe_stream_pi_hall/config"
    first = settings(broker.port, {"hall": ["dog_bark", "glass"]}, node="pi", home_assistant=on)
    with Run(first, tmp_path) as run:
        run.settle(broker)
        run.may_connect.clear()
        broker.stop()
        run.relabel({"hall": ["glass"]})
        broker.start()
        with Subscriber(broker.port, config) as house:
            run.may_connect.set()
            wait_until(lambda: len(house.payloads(config)) == 3, "described anew")
        removing, after = (json.loads(p)["components"] for p in house.payloads(config)[-2:])
        assert removing["dog_bark_heard"] == {"platform": "binary_sensor"}
        assert removing["glass_heard"]["name"] == "Glass"
        assert not [key for key in after if key.startswith("dog_bark")]
        run.settle(broker)
    with Subscriber(broker.port, config) as house:
        last = settings(broker.port, {"hall": ["smoke_alarm"]}, node="pi", home_assistant=on)
        with Run(last, tmp_path) as run:  # and a restart with another label
            run.settle(broker)
        wait_until(lambda: len(house.payloads(config)) == 3, "described anew")
        removing, after = (json.loads(p)["components"] for p in house.payloads(config)[-2:])
        assert removing["glass_threshold"] == {"platform": "number"}
        assert not [key for key in after if key.startswith("glass")]


def test_five_hundred_labels_fit_in_packets_of_128_kb(tmp_path: Path) -> None:
    names = [f"label number {number}" for number in range(500)]
    on = {"enabled": True}
    lines = ["allow_anonymous true", "max_packet_size 131072", "max_queued_messages 0"]

    def with_labels(port: int, count: int) -> Settings:
        return Settings.model_validate(
            {
                "node": "pi",
                "sources": {"hall": {"url": "x.wav"}},
                "labels": {name: {} for name in names[:count]},
                "mqtt": {"host": HOST, "port": port},
                "home_assistant": on,
            }
        )

    def entities(broker: Mosquitto) -> list[str]:
        kept = retained(broker)
        found = [
            key
            for topic, payload in kept.items()
            if topic.startswith("homeassistant/") and topic.endswith("/config")
            for key in json.loads(payload)["components"]
        ]
        assert len(found) == len(set(found))
        return found

    def settle(broker: Mosquitto, count: int) -> None:
        wait_until(lambda: len(entities(broker)) == 5 * count + 8, "all is described", 60)

    with Mosquitto(tmp_path, lines) as broker:
        for count in (500, 20, 480):  # one message for all, and again one for each
            with Run(with_labels(broker.port, count), tmp_path) as run:
                settle(broker, count)
                assert run.mqtt.publisher.untaken_reason is None
                assert max(map(len, retained(broker).values())) < 128_000
        # And by a reload: first those that are described alone go, then the device has all.
        config = "homeassistant/device/pe_stream_pi_hall/config"
        with Run(with_labels(broker.port, 60), tmp_path) as run:
            settle(broker, 60)
            run.settle(broker, others={})  # nothing of it is still on its way
            with Subscriber(broker.port, "homeassistant/#") as house:
                house.publish("homeassistant/begin", "")
                run.relabel({"hall": names[:10]})
                settle(broker, 10)
                run.settle(broker, others={})
                house.wait_for("homeassistant/begin", [""])
            said = [(each.topic, each.payload) for each in house.received]
        changed = said[said.index(("homeassistant/begin", "")) + 1 :]
        assert [payload for _, payload in changed[:60]] == [""] * 60
        assert {topic for topic, _ in changed[60:]} == {config}


FIELD = """
labels:
  loud: {min_on_s: 0.12}
  other: {enabled: false}
home_assistant: {enabled: true}
"""


@pytest.mark.realtime
@pytest.mark.parametrize("end", [signal.SIGTERM, signal.SIGKILL])
def test_field_case_08_an_attic_that_was_taken_out(
    tmp_path: Path, level: Path, broker: Mosquitto, end: signal.Signals
) -> None:
    sound = write_float_wav(tmp_path / "sound.wav", noise((1, 0.001)))
    source = f"{{url: {sound}, loop: true}}"

    def run_with(text: str, topics: int) -> dict[str, str]:
        with Daemon(tmp_path, text) as daemon:
            daemon.wait_for_log("receiving audio")
            wait_until(lambda: len(retained(broker)) == topics + len(FOREIGN), "settled", 30)
            kept = retained(broker)
            daemon.send(end)
            daemon.exit_code()
        return {topic: payload for topic, payload in kept.items() if topic not in FOREIGN}

    attic = f"{source}\n  attic: {source}"
    run_with(level_config(level, broker.port, attic, FIELD), 19)
    # The attic goes, and a label.
    loud = FIELD.replace("  other: {enabled: false}\n", "")
    after = level_config(level, broker.port, source, loud)
    kept = run_with(after, 7)
    assert not [topic for topic in kept if "attic" in topic or "other" in topic]
    config = json.loads(kept["homeassistant/device/pe_stream_test_node_kitchen/config"])
    assert not [key for key in config["components"] if "other" in key]
    # Home Assistant is switched off.
    kept = run_with(after.replace("enabled: true", "enabled: false"), 4)
    assert kept.keys() == {
        "pe_stream/test_node/status",
        "pe_stream/test_node/kitchen/health",
        "pe_stream/test_node/kitchen/any/state",
        "pe_stream/test_node/kitchen/loud/state",
    }
