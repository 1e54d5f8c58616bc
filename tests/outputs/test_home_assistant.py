"""What Home Assistant is told: by itself, and by the real daemon through a real broker."""

from __future__ import annotations

import json
import re
import signal
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from mosquitto import Mosquitto, Subscriber, wait_until
from processes import Daemon, MosquittoSub, level_config
from sounds import noise, write_float_wav
from stand_ins import event

from pe_stream.config import HomeAssistantSettings
from pe_stream.core.detector import Heard
from pe_stream.core.messages import Message, Topics
from pe_stream.core.types import LabelRule, Phase, SecondOpinion
from pe_stream.outputs.home_assistant import HomeAssistant

TOPICS = Topics("pe_stream", "Pi Kitchen")
DEVICE = "homeassistant/device/pe_stream_pi_kitchen_kitchen/config"
SENSOR = "homeassistant/sensor/pe_stream_pi_kitchen_kitchen/second_opinion/config"

FIELDS = {
    "binary_sensor": {"device_class", "state_topic", "payload_on", "payload_off"},
    "event": {"event_types", "json_attributes_topic", "state_topic"},
    "sensor": {
        "device_class",
        "json_attributes_template",
        "json_attributes_topic",
        "options",
        "state_class",
        "state_topic",
        "suggested_display_precision",
        "unit_of_measurement",
        "value_template",
    },
    "number": {"command_topic", "command_template", "max", "min", "mode", "state_topic", "step"},
    "switch": {
        "command_topic",
        "payload_off",
        "payload_on",
        "state_off",
        "state_on",
        "state_topic",
    },
}
"""What each platform takes, of Home Assistant's documentation, besides `COMMON`."""

COMMON = {
    "availability",
    "availability_mode",
    "enabled_by_default",
    "entity_category",
    "icon",
    "name",
    "platform",
    "unique_id",
}


class House:
    """Home Assistant as it is told, of one source."""

    def __init__(
        self,
        *labels: str,
        enabled: bool = True,
        times_s: Iterable[float] = (),
        levels: bool = True,
        opinions: bool = False,
    ) -> None:
        self.said: list[Message] = []
        clock = iter(times_s or range(1000)).__next__
        settings = HomeAssistantSettings(enabled=enabled)
        of = {"kitchen": labels}
        self.told = HomeAssistant(
            settings,
            TOPICS,
            self.said.extend,
            of,
            levels=levels,
            opinions=opinions,
            clock=clock,
        )

    def take(self) -> list[Message]:
        """What was said since the last time."""
        said, self.said[:] = list(self.said), []
        return said

    def described(self) -> list[Message]:
        self.told.greet("online")
        return self.take()

    def scores(self, *names: str, scores: Any) -> list[Message]:
        heard = Heard(0, 0, np.array(scores, np.float32), [], np.zeros(0, np.float32))
        self.told.scores("kitchen", names, heard)
        return self.take()


def components(payload: str) -> dict[str, dict[str, Any]]:
    found: dict[str, dict[str, Any]] = json.loads(payload)["components"]
    return found


def test_a_device_for_each_source_with_every_entity() -> None:
    (message,) = House("dog_bark", "smoke_alarm").described()
    assert (message.topic, message.qos, message.retain) == (DEVICE, 1, True)
    told = json.loads(message.payload)
    assert told["device"]["identifiers"] == ["pe_stream_pi_kitchen_kitchen"]
    assert told["device"]["name"] == "kitchen (Pi Kitchen)"
    assert told["origin"]["name"] == "pe_stream"
    entities = components(message.payload)
    of_labels = {
        f"{label}_{what}"
        for label in ("dog_bark", "smoke_alarm")
        for what in ("heard", "event", "score", "threshold", "enabled")
    }
    of_level = {f"sound_{what}" for what in ("mean", "peak", "a_mean", "a_peak")}
    of_source = {"connection", "hearing", "level", "lost"}
    assert set(entities) == of_labels | of_source | of_level
    assert len({entity["unique_id"] for entity in entities.values()}) == len(entities)
    for entity in entities.values():
        assert set(entity) <= FIELDS[entity["platform"]] | COMMON
    kinds = {key: entity.get("device_class") for key, entity in entities.items()}
    assert kinds["dog_bark_heard"] == "sound"
    assert kinds["smoke_alarm_heard"] == "smoke"
    # Each has a topic of its own: a slow one holds up no other.
    topics = [e["state_topic"] for k, e in entities.items() if k in of_labels]
    assert len(set(topics)) == len(topics)


def test_what_is_deaf_is_unavailable() -> None:
    (message,) = House("dog_bark").described()
    heard = components(message.payload)["dog_bark_heard"]
    assert heard["availability_mode"] == "all"
    assert [each["topic"] for each in heard["availability"]] == [
        "pe_stream/pi_kitchen/status",
        "pe_stream/pi_kitchen/kitchen/health",
    ]
    assert "value_json.state == 'hearing'" in heard["availability"][1]["value_template"]
    # What says why stays available.
    hearing = components(message.payload)["hearing"]
    assert [each["topic"] for each in hearing["availability"]] == ["pe_stream/pi_kitchen/status"]
    assert "availability" not in components(message.payload)["connection"]


def test_the_level_has_sensors_without_a_device_class() -> None:
    """That of sound pressure takes dB and dBA alone, and Home Assistant warns of any other."""
    (message,) = House("dog_bark").described()
    entities = components(message.payload)
    level = {key: each for key, each in entities.items() if key.startswith("sound_")}
    assert {each["unit_of_measurement"] for each in level.values()} == {"dBFS"}
    assert {each["state_class"] for each in level.values()} == {"measurement"}
    assert {each["state_topic"] for each in level.values()} == {
        "pe_stream/pi_kitchen/kitchen/level"
    }
    assert not [each for each in level.values() if "device_class" in each]
    shown = {key for key, each in level.items() if each["enabled_by_default"]}
    assert shown == {"sound_mean", "sound_a_mean"}
    # A dead microphone has a level, what is lost has none.
    template = level["sound_mean"]["availability"][1]["value_template"]
    assert "in ('hearing', 'flat')" in template


def test_without_levels_their_sensors_are_removed() -> None:
    """Also those that a run before described, which nobody remembers."""
    (message,) = House("dog_bark", levels=False).described()
    assert not [key for key in components(message.payload) if key.startswith("sound_")]
    first, last = message.steps
    assert last.payload == message.payload
    removed = components(first.payload)
    assert "dog_bark_heard" in removed
    assert {key for key in removed if key.startswith("sound_")} == {
        f"sound_{what}" for what in ("mean", "peak", "a_mean", "a_peak")
    }
    assert removed["sound_mean"] == {"platform": "sensor"}


OPINION = SecondOpinion(0.71, None, None, None, 0, (1.2, 9.2), "pe-av", 900)


def test_second_opinions_have_a_sensor_and_attributes() -> None:
    ours = House("dog_bark", opinions=True)
    device, alone = ours.described()
    assert alone.topic == SENSOR
    assert (alone.qos, alone.retain) == (1, True)
    told = json.loads(alone.payload)
    assert "uncalibrated" in told["name"]
    assert told["entity_category"] == "diagnostic"
    assert told["state_topic"] == "pe_stream/pi_kitchen/kitchen/second_opinion"
    assert told["device"] == json.loads(device.payload)["device"]
    assert set(told) <= FIELDS["sensor"] | COMMON | {"device", "origin", "qos"}
    entity = components(device.payload)["dog_bark_event"]
    assert set(entity) <= FIELDS["event"] | COMMON

    ours.told.opinion(event(1, label="dog_bark", second_opinion=OPINION))
    (said,) = ours.take()
    assert said.topic == entity["json_attributes_topic"]
    assert (said.qos, said.retain) == (0, False)
    assert json.loads(said.payload) == {
        "second_opinion": OPINION.to_dict(),
        "second_opinion_on": "id-0001",
    }
    assert ours.told.retained() >= {SENSOR}


def test_without_second_opinions_their_sensor_is_no_more_retained() -> None:
    ours = House("dog_bark")
    (device,) = ours.described()
    assert "json_attributes_topic" not in components(device.payload)["dog_bark_event"]
    assert SENSOR not in ours.told.retained()


def test_labels_that_change_describe_the_sensor_of_opinions_too() -> None:
    ours = House("dog_bark", opinions=True)
    ours.told.labels({"kitchen": ["cat"]}, {})
    assert SENSOR in [message.topic for message in ours.take()]


def test_a_label_that_goes_takes_its_entities_along() -> None:
    ours = House("dog_bark", "cat")
    ours.told.labels({"kitchen": ["dog_bark", "glass"]}, {})
    removing, after, *forgotten = ours.take()
    assert components(removing.payload)["cat_heard"] == {"platform": "binary_sensor"}
    assert components(removing.payload)["cat_threshold"] == {"platform": "number"}
    assert not [key for key in components(after.payload) if key.startswith("cat_")]
    assert "glass_heard" in components(after.payload)
    assert {(m.topic.rpartition("/")[2], m.payload, m.retain) for m in forgotten} == {
        ("threshold", "", True),
        ("enabled", "", True),
    }


def test_thresholds_scores_and_events_have_topics_of_their_own() -> None:
    ours = House("dog_bark")
    rule = LabelRule("dog_bark", 0.625, 0.5, enabled=False)
    other = LabelRule("not ours", 0.5, 0.4)
    base = "pe_stream/pi_kitchen/kitchen/dog_bark/"
    ours.told.rules("kitchen", [rule, other])
    assert [(m.topic, m.payload, m.retain) for m in ours.take()] == [
        (f"{base}threshold", "0.625", True),
        (f"{base}enabled", "OFF", True),
    ]
    ours.told.event(event(1, label="dog_bark"))
    (said,) = ours.take()
    assert (said.topic, said.qos, said.retain) == (f"{base}event", 0, False)
    assert json.loads(said.payload)["event_type"] == "start"
    ours.told.event(event(1, Phase.END, label="dog_bark", late=True))
    assert ours.take() == []  # it would set off automations

    (first,) = ours.scores("dog_bark", "not ours", scores=[[0.1, 0.9], [0.3, 0.2]])
    assert (first.topic, first.payload, first.qos) == (f"{base}score", "0.300", 0)


def test_scores_are_told_once_a_second_and_no_peak_is_left_out() -> None:
    ours = House("a", times_s=[0.0, 0.5, 1.1])
    said = [ours.scores("a", scores=[[score]]) for score in (0.1, 0.8, 0.2)]
    assert [[m.payload for m in each] for each in said] == [["0.100"], [], ["0.800"]]


def test_nothing_is_told_unless_it_is_asked_for() -> None:
    ours = House("dog_bark", enabled=False)
    assert not ours.told.enabled
    ours.told.greet("online")
    ours.told.labels({"kitchen": ["x"]}, {})
    ours.told.rules("kitchen", [LabelRule("x", 0.5, 0.4)])
    ours.told.event(event(1))
    assert ours.scores("x", scores=[[1.0]]) == []


def test_it_is_greeted_when_it_starts_only() -> None:
    ours = House("dog_bark")
    ours.told.greet("offline")
    assert ours.take() == []
    assert len(ours.described()) == 1


@pytest.mark.realtime
def test_the_daemon_is_found_and_obeys_what_home_assistant_would_send(
    tmp_path: Path, level: Path, broker: Mosquitto
) -> None:
    device = "homeassistant/device/pe_stream_test_node_kitchen/config"
    sound = write_float_wav(tmp_path / "sound.wav", noise((1, 0.001), (1, 0.2), (1, 0.001)))
    on = "home_assistant: {enabled: true}"
    both = "labels: {loud: {min_on_s: 0.12}, other: {enabled: false}}"
    source = f"{{url: {sound}, loop: true}}"
    text = level_config(level, broker.port, source, f"{on}\n{both}")
    with (
        MosquittoSub(broker.port) as house,
        Subscriber(broker.port, "nothing") as home_assistant,
        Daemon(tmp_path, text) as daemon,
    ):
        house.wait_for(device, "loud_threshold")
        entities = components(house.payloads(device)[-1])
        house.wait_for(entities["loud_threshold"]["state_topic"], "0.5")
        house.wait_for(entities["other_enabled"]["state_topic"], "OFF")
        house.wait_for(entities["loud_heard"]["state_topic"], "ON")
        house.wait_for(entities["loud_event"]["state_topic"], '"event_type": "end"')
        house.wait_for(entities["loud_score"]["state_topic"], "0.9")

        slider = entities["loud_threshold"]
        moved = re.sub(r"{{ value }}", "0.75", slider["command_template"])
        home_assistant.publish(slider["command_topic"], moved)
        house.wait_for(slider["state_topic"], "0.75")
        switch = entities["other_enabled"]
        home_assistant.publish(switch["command_topic"], switch["payload_on"])
        house.wait_for(switch["state_topic"], "ON")

        told = len(house.payloads(device))
        home_assistant.publish("homeassistant/status", "online")
        wait_until(lambda: len(house.payloads(device)) == told + 1, "described again")

        daemon.config.write_text(level_config(level, broker.port, source, on))
        daemon.send(signal.SIGHUP)
        wait_until(lambda: len(house.payloads(device)) == told + 3, "described again")
        removing, after = map(components, house.payloads(device)[-2:])
        assert removing["other_heard"] == {"platform": "binary_sensor"}
        assert "other_heard" not in after
        house.wait_for(slider["state_topic"], "0.5")  # as configured again
        daemon.send(signal.SIGTERM)
        assert daemon.exit_code() == 143
    assert entities["loud_event"]["event_types"] == ["start", "update", "end"]
    with MosquittoSub(broker.port) as newcomer:
        newcomer.wait_for(device, "loud_threshold")
        kept = {topic for topic, payload in newcomer.received if payload}
    assert not [topic for topic in kept if "/other/" in topic]


@pytest.mark.realtime
def test_without_it_nothing_is_published_there(
    tmp_path: Path, level: Path, broker: Mosquitto
) -> None:
    sound = write_float_wav(tmp_path / "sound.wav", noise((1, 0.001), (1, 0.2), (1, 0.001)))
    text = level_config(level, broker.port, sound)
    with MosquittoSub(broker.port) as house, Daemon(tmp_path, text) as daemon:
        house.wait_for("pe_stream/test_node/kitchen/events", '"end"')
        assert daemon.exit_code() == 0  # at the end of the file
    topics = {topic for topic, _ in house.received}
    assert not [t for t in topics if t.startswith("homeassistant") or t.endswith("/score")]


@pytest.mark.parametrize("prefix", ["home/+", "", "#"])
def test_a_prefix_that_is_no_topic_is_refused(prefix: str) -> None:
    with pytest.raises(ValueError, match="prefix"):
        HomeAssistantSettings(prefix=prefix)
