"""What `check` finds out at a broker: what the daemon will be refused, without disturbing it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import jsonschema
import pytest
from mosquitto import Mosquitto, Received, Subscriber, password_lines, wait_until
from paho.mqtt.enums import MQTTProtocolVersion
from ports import HOST

from pe_stream.config import Settings
from pe_stream.core.messages import Message, event_schema
from pe_stream.errors import UnavailableError
from pe_stream.outputs.mqtt import trial
from pe_stream.outputs.mqtt.arrivals import Acknowledged, SubscriptionRefused
from pe_stream.outputs.mqtt.trial import MEANS_NOTHING, TrialPlan, try_out

ANYONE = ["allow_anonymous true"]
RUN = "pe_stream/test/hall"
CONFIG = "homeassistant/device/pe_stream_test_hall/config"


def settings(
    port: int = 1883, *, home: bool = True, opinions: bool = False, **mqtt: Any
) -> Settings:
    return Settings.model_validate(
        {
            "node": "test",
            "sources": {"hall": {"url": "x.wav"}, "attic": {"url": "x.wav"}},
            "labels": {"doorbell": {"sources": ["hall"]}, "dog_bark": {}},
            "home_assistant": {"enabled": home},
            "second_opinion": {"checkpoint": "a/b"} if opinions else None,
            "mqtt": {"host": HOST, "port": port, "scores": True} | mqtt,
        }
    )


def with_rules(folder: Path, *rules: str) -> list[str]:
    lines = password_lines(folder, "sound", "p ß#")
    (folder / "acl").write_text("\n".join(["user sound", *rules, ""]))
    return [*lines, f"acl_file {folder / 'acl'}"]


def found(port: int, **mqtt: Any) -> list[str]:
    return try_out(settings(port, username="sound", password="p ß#", **mqtt))


def refusal(port: int, **mqtt: Any) -> str:
    with pytest.raises(UnavailableError) as caught:
        try_out(settings(port, **mqtt))
    assert caught.value.exit_code == 69
    return str(caught.value)


def test_each_kind_of_topic_of_each_source_is_tried() -> None:
    plan = TrialPlan.of(settings())
    tried = {message.topic for message in plan.messages}
    for source, label in (("hall", "doorbell"), ("attic", "dog_bark")):
        of = f"pe_stream/test/{source}"
        assert {f"{of}/{kind}" for kind in ("events", "health", "any/state", "scores")} <= tried
        kinds = ("state", "score", "event", "threshold", "enabled")
        assert {f"{of}/{label}/{kind}" for kind in kinds} <= tried
        assert f"homeassistant/device/pe_stream_test_{source}/config" in tried
    assert "pe_stream/test/status" in tried
    assert plan.filters == ["pe_stream/test/+/+/set", "homeassistant/status"]
    without = TrialPlan.of(settings(home=False))
    assert without.filters == ["pe_stream/test/+/+/set"]
    assert not [m for m in without.messages if "homeassistant" in m.topic or "thres" in m.topic]


def test_topics_of_second_opinions_are_tried_where_there_are_any() -> None:
    plain, asked = TrialPlan.of(settings()), TrialPlan.of(settings(opinions=True))
    known = {message.topic for message in plain.messages}
    new = {each.topic: each for each in asked.messages if each.topic not in known}
    sensor = "homeassistant/sensor/pe_stream_test_hall/second_opinion/config"
    of_hall = {topic for topic in new if "hall" in topic}
    assert of_hall == {f"{RUN}/second_opinion", f"{RUN}/doorbell/second_opinion", sensor}
    told = json.loads(new[f"{RUN}/second_opinion"].payload)
    jsonschema.validate(told, event_schema())
    assert told["second_opinion"]["sound"] is None
    assert new[sensor].payload == MEANS_NOTHING


@pytest.mark.parametrize("protocol", ["auto", "5", "3.1.1"])
def test_a_broker_that_takes_all(tmp_path: Path, protocol: str) -> None:
    with Mosquitto(tmp_path) as broker:
        assert try_out(settings(broker.port, protocol=protocol)) == []


@pytest.mark.parametrize("protocol", ["5", "3.1.1"])
def test_whoever_listens_hears_nothing_new(tmp_path: Path, protocol: str) -> None:
    kept = {
        "pe_stream/test/status": "online",
        f"{RUN}/doorbell/state": "ON",
        CONFIG: '{"components": {}}',
    }
    with Mosquitto(tmp_path) as broker:
        with Subscriber(broker.port) as house:
            for topic, payload in kept.items():
                house.publish(topic, payload, retain=True)
            house.publish("begin", "")
            wait_until(lambda: house.payloads("begin") != [], "begun")
            assert try_out(settings(broker.port, protocol=protocol)) == []
            house.publish("end", "")
            wait_until(lambda: house.payloads("end") != [], "ended")
            for topic, payload in kept.items():
                assert {each.strip() for each in house.payloads(topic)} == {payload}, topic
        with Subscriber(broker.port) as later:
            later.publish("end", "")
            wait_until(lambda: later.payloads("end") != [], "all that is retained")
        after = {each.topic: each.payload for each in later.received if each.retain}
    assert after == kept
    said = [each for each in house.received if each.topic not in ("begin", "end")][3:]
    assert len(said) >= len(TrialPlan.of(settings()).messages)
    for each in said:
        _is_harmless(each, kept)


def _is_harmless(said: Received, kept: dict[str, str]) -> None:
    """An empty message would remove a device from Home Assistant."""
    assert said.payload
    if said.topic.endswith("/events"):
        jsonschema.validate(json.loads(said.payload), event_schema())
    else:
        nothing = "{}" if said.topic.endswith("/scores") else MEANS_NOTHING
        assert said.payload.strip() in (nothing, kept.get(said.topic))


def test_field_case_16_topics_that_may_not_be_published_on(tmp_path: Path) -> None:
    rules = (
        "topic readwrite pe_stream/test/hall/doorbell/#",
        "topic readwrite pe_stream/test/status",
    )
    with Mosquitto(tmp_path, with_rules(tmp_path, *rules)) as broker:
        message = refusal(broker.port, username="sound", password="p ß#")
        [note] = found(broker.port, protocol="3.1.1")
    assert message.startswith(f"MQTT broker {HOST}:{broker.port} does not let us publish on ")
    assert f"{RUN}/health (Not authorized), {RUN}/any/state (Not authorized)" in message
    assert f"{RUN}/events (Not authorized)" in message
    assert message.endswith(" more")
    assert "doorbell" not in message
    assert "status" not in message
    assert note.startswith(
        "warning: MQTT 3.1.1 does not say what is refused, and nothing came back"
    )
    assert f"{RUN}/health, {RUN}/any/state" in note


def test_field_case_16_one_who_may_only_listen(tmp_path: Path) -> None:
    rules = ("topic read pe_stream/#", "topic read homeassistant/#")
    with Mosquitto(tmp_path, with_rules(tmp_path, *rules)) as broker:
        message = refusal(broker.port, username="sound", password="p ß#")
    assert "does not let us publish on pe_stream/test/status (Not authorized)" in message


def test_one_who_may_publish_all_and_read_nothing(tmp_path: Path) -> None:
    rules = ("topic write pe_stream/#", "topic write homeassistant/#")
    with Mosquitto(tmp_path, with_rules(tmp_path, *rules)) as broker:
        assert found(broker.port) == []
        assert "nothing came back" in found(broker.port, protocol="3.1.1")[0]


@pytest.mark.parametrize(
    ("line", "needed"), [("retain_available false", "retained messages"), ("max_qos 0", "QoS 1")]
)
def test_field_case_07_what_the_broker_has_not(tmp_path: Path, line: str, needed: str) -> None:
    with Mosquitto(tmp_path, [*ANYONE, line]) as broker:
        for protocol in ("auto", "3.1.1"):
            message = refusal(broker.port, protocol=protocol)
            assert message.startswith("accepts us, but not with a retained will of QoS 1")
            assert "pe_stream/test/status" in message
            assert protocol != "auto" or message.endswith(f"pe_stream needs {needed}")


@pytest.mark.parametrize(
    ("line", "protocol", "note"),
    [
        ("max_packet_size 1500", "5", "it takes 1500 bytes at once; left out is"),
        ("max_packet_size 1500", "3.1.1", "it does not take "),
        ("message_size_limit 1500", "5", "it does not take "),
        ("message_size_limit 1500", "3.1.1", "nothing came back: too large?"),
    ],
)
def test_field_case_07_what_is_too_large_is_told(
    tmp_path: Path, line: str, protocol: str, note: str
) -> None:
    with Mosquitto(tmp_path, [*ANYONE, line]) as broker:
        [told] = try_out(settings(broker.port, protocol=protocol))
        assert try_out(settings(broker.port, home=False, protocol=protocol)) == []
    assert told.startswith("warning: ")
    assert note in told
    assert CONFIG in told


class Scripted:
    """A connection to a broker that refuses a subscription, which mosquitto does not."""

    mqtt5, packet_limit, subscribed = True, None, 0

    def __init__(self) -> None:
        self._arrivals: list[Acknowledged | SubscriptionRefused] = []
        self._ids = iter(range(1000))
        self._asked = 0

    def subscribe(self, topic_filter: str) -> None:
        self._asked += 1
        if topic_filter.endswith("/set"):
            self._arrivals.append(SubscriptionRefused("Not authorized"))

    def publish(self, _: Message) -> int:
        packet_id = next(self._ids)
        self._arrivals.append(Acknowledged(packet_id, None))
        return packet_id

    def step(self, _: float) -> list[Acknowledged | SubscriptionRefused]:
        self.subscribed = self._asked
        arrivals, self._arrivals = self._arrivals, []
        return arrivals


def test_what_may_not_be_heard_is_told() -> None:
    run = trial._TrialRun(Scripted(), TrialPlan.of(settings()))  # type: ignore[arg-type]
    assert run.run() == ["does not let us subscribe to pe_stream/test/+/+/set (Not authorized)"]


def test_a_broker_that_ends_the_connection_is_told_with_the_topic(tmp_path: Path) -> None:
    """As some do at a message that is not permitted."""
    with Mosquitto(tmp_path, [*ANYONE, "max_packet_size 200"]) as broker:
        message = refusal(broker.port, protocol="3.1.1", home=False)
    assert f"at {RUN}/events; is that permitted?" in message


def test_over_mqtt_5_and_3_1_1_both_hear_the_same(tmp_path: Path) -> None:
    with (
        Mosquitto(tmp_path) as broker,
        Subscriber(broker.port, f"{RUN}/events", protocol=MQTTProtocolVersion.MQTTv311) as house,
    ):
        try_out(settings(broker.port))
        wait_until(lambda: house.received != [], "an event")
        told = json.loads(house.received[0].payload)
    assert (told["phase"], told["label"], told["node"]) == ("end", "pe_stream_check", "test")
