"""How the entities of a source are described, and what is known of earlier descriptions."""

from __future__ import annotations

import json

import pytest

from pe_stream.core.discovery import MOST_BYTES, Device
from pe_stream.core.messages import Topics
from pe_stream.core.types import LEAST_THRESHOLD, MOST_THRESHOLD, LabelRule

DEVICE = Device(Topics("home/sounds", "Pi Kitchen"), "Front Door", "homeassistant", "1.0")


def test_few_labels_are_described_together_and_many_alone() -> None:
    few = [f"label {number}" for number in range(10)]
    [together] = DEVICE.descriptions(few)
    assert (
        together.topic
        == DEVICE.topic
        == ("homeassistant/device/home_sounds_pi_kitchen_front_door/config")
    )
    many = [f"label {number}" for number in range(100)]
    first, *own = DEVICE.descriptions(many)
    assert first.topic == DEVICE.topic
    assert [each.topic for each in own] == [DEVICE.topic_of(label) for label in many]
    assert own[0].topic.endswith("_front_door__label_0/config")
    told = [json.loads(each.payload) for each in (first, *own)]
    assert len({json.dumps([each["device"], each["origin"]]) for each in told}) == 1
    keys = [key for each in told for key in each["components"]]
    assert keys == list(json.loads(DEVICE.described(many).payload)["components"])
    assert len(DEVICE.described(few).payload) < MOST_BYTES < len(DEVICE.described(many).payload)


def test_no_description_of_a_label_is_on_the_topic_of_another_source() -> None:
    topics = Topics("p", "n")
    short, long = (Device(topics, name, "h", "1") for name in ("hall", "hall dog"))
    assert short.topic_of("dog") != long.topic
    assert short.topic_of("dog bark") != long.topic_of("bark")


def test_entities_that_go_are_removed_in_messages_that_fit() -> None:
    now = [f"label {number}" for number in range(40)]
    gone = [f"gone {number}" for number in range(500)]
    removing = list(DEVICE.removing(now, gone))
    assert all(len(each.payload) < 128_000 for each in removing)
    found: set[str] = set()
    for each in removing:
        components = json.loads(each.payload)["components"]
        assert components["label_0_heard"]["unique_id"]
        found |= {key for key, entity in components.items() if len(entity) == 1}
    assert len(found) == 5 * 500
    assert list(DEVICE.removing(now, [])) == []


def test_earlier_descriptions_are_known_by_what_is_retained() -> None:
    labels = ["dog bark", "cat"]
    topics = DEVICE.retained(labels)
    assert DEVICE.labels_in(topics) == {"dog_bark", "cat"}
    assert DEVICE.labels_in(topics - {DEVICE.topic}) == set()
    assert DEVICE.labels_in(topics | {DEVICE.topic_of("cat")}) == {"dog_bark"}
    other = Device(DEVICE.topics, "hall", "homeassistant", "1.0")
    assert DEVICE.labels_in(other.retained(labels)) == set()


@pytest.mark.parametrize("threshold", [1e-9, 0.005, 0.5, 0.995, 0.999, 0.99999999])
def test_field_case_21_every_threshold_is_in_the_range_that_is_told(threshold: float) -> None:
    told = json.loads(DEVICE.described(["siren"]).payload)["components"]["siren_threshold"]
    assert (told["min"], told["max"]) == (LEAST_THRESHOLD, MOST_THRESHOLD)
    assert told["step"] >= 0.001  # the least that Home Assistant takes
    state, _ = DEVICE.rule(LabelRule("siren", threshold, threshold / 2))
    assert told["min"] <= float(state.payload) <= told["max"]
    assert float(state.payload) == pytest.approx(threshold, abs=1.1e-6)
