"""Contracts that agree: a day of all that is published, against all that describes it.

What is published comes of a day's scores, as they would be replayed: the trackers, the builder of
events, delivery, Home Assistant and health are the daemon's own. It is held against the schema of
events, the page's OpenAPI document, and MQTT discovery, read as Home Assistant reads it.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, field, replace
from functools import cache
from itertools import count
from pathlib import Path
from typing import Any, cast

import numpy as np
import pytest
from jinja2 import Environment, Template
from jsonschema_rs import Draft202012Validator
from web.houses import standing

from pe_stream.config import HomeAssistantSettings
from pe_stream.core.detector import Heard
from pe_stream.core.event_builder import EventBuilder, Origin
from pe_stream.core.intake import Intake
from pe_stream.core.label_trackers import LabelTrackers, Said
from pe_stream.core.ledger import BLOCK, Ledger, SourceState
from pe_stream.core.level_meter import FLOOR_DBFS, LevelMeter, SoundLevel
from pe_stream.core.messages import Message, Topics, event_schema
from pe_stream.core.source_status import SourceStatus
from pe_stream.core.timebase import Segment
from pe_stream.core.types import (
    FRAME,
    LEAST_THRESHOLD,
    MOST_THRESHOLD,
    SAMPLE_RATE,
    AudioChunk,
    Event,
    FrameScores,
    LabelRule,
    Phase,
    Reason,
    SecondOpinion,
)
from pe_stream.daemon.delivery import Delivery
from pe_stream.daemon.health import Health
from pe_stream.outputs.home_assistant import HomeAssistant
from pe_stream.outputs.mqtt import parse_set

pytestmark = pytest.mark.heavy

HOUR = 3600 * SAMPLE_RATE // FRAME
DAY = 24 * HOUR
TOPICS = Topics("pe_stream", "Pi Kitchen")
SOURCES = ("kitchen", "Front Door")
RULES = (
    LabelRule("siren", 0.999, 0.8),
    LabelRule("Feueralarm", 0.995, 0.7, max_length=500),
    LabelRule("whisper", 0.005, 0.004, update_every=25),
    LabelRule("dog bark", 1e-9, 1e-10),
    LabelRule("smoke_alarm", 0.5, 0.4, enabled=False),
)
UNFILTERED = {"gain_db": 0.0, "highpass_hz": None, "lowpass_hz": None}
"""What the page tells of a source besides its health."""

NAMES = [rule.name for rule in RULES]
STEP = 10 * SAMPLE_RATE // FRAME
"""Health and scores are told each ten seconds of the day."""

RENDERER = Environment()

_HEALTH = Health().shown(SourceStatus(Ledger().account, 0, 0, 0, 0, None), None, None)


@dataclass
class Broker:
    """Stands in for the publisher: has every message checked, and counts them."""

    contracts: Contracts
    counts: Counter[str] = field(default_factory=Counter)
    last: dict[str, str] = field(default_factory=dict)

    def publish(self, messages: Iterable[Message]) -> None:
        for message in messages:
            self.contracts.check(message, self.last.get(message.topic))
            self.counts[message.topic] += 1
            self.last[message.topic] = message.payload


class Contracts:
    """The schema of events, the OpenAPI document, and what Home Assistant was told there is."""

    def __init__(self, document: Mapping[str, Any]) -> None:
        parts = document["components"]

        def of(name: str) -> Draft202012Validator:
            schema = {"$ref": f"#/components/schemas/{name}", "components": parts}
            return Draft202012Validator(schema)

        self._event = Draft202012Validator(event_schema())
        self._entry, self._health = of("Entry"), of("SourceHealth")
        self._level = of("LevelState")
        self._entities: dict[str, list[dict[str, Any]]] = {}
        self._attributes: dict[str, set[str]] = {}
        self.availability: dict[str, set[str]] = {}

    @property
    def topics(self) -> set[str]:
        """All that an entity listens to."""
        return {*self._entities, *self._attributes, *self.availability}

    @property
    def entities(self) -> Iterator[dict[str, Any]]:
        for each in self._entities.values():
            yield from each

    def check(self, message: Message, before: str | None) -> None:
        topic, payload = message.topic, message.payload
        if topic.startswith("homeassistant/"):
            told = json.loads(payload)
            alone = [told | {"platform": topic.split("/")[1]}]
            self._describe(told["components"].values() if "components" in told else alone)
            return
        kind = topic.rpartition("/")[2]
        if kind == "second_opinion":
            self._check_opinion(topic, json.loads(payload))
        elif kind == "events":
            told = json.loads(payload)
            self._event.validate(told)
            self._entry.validate({**told, "verdict": None, "note": None, "has_clip": False})
        elif kind == "health":
            self._health.validate(
                {"name": "kitchen", **json.loads(payload), "labels": NAMES, **UNFILTERED}
            )
        elif kind == "level":
            told = json.loads(payload)
            self._level.validate(told)
            assert all(told[key] >= FLOOR_DBFS for key in told if key.endswith("_dbfs"))
            self._health.validate(
                {"name": "a", **_HEALTH, "labels": NAMES, **UNFILTERED, "sound_level": told}
            )
        elif kind == "scores":
            assert all(0 <= score <= 1 for score in json.loads(payload).values())
        else:
            assert kind in ("status", "state", "threshold", "enabled", "score", "event"), topic
            assert topic in self.topics or "/any/" in topic
        for entity in self._entities.get(topic, ()):
            _check_state(entity, payload, before)
        for template in self._attributes.get(topic, ()):
            assert isinstance(json.loads(_rendered(template, payload)), dict)
        for template in self.availability.get(topic, ()):
            assert _rendered(template, payload) in ("online", "offline")

    def _check_opinion(self, topic: str, told: dict[str, Any]) -> None:
        if topic in {TOPICS.second_opinion(source) for source in SOURCES}:
            self._event.validate(told)
            assert told["second_opinion"] is not None
        else:  # attributes of a label's event
            assert told.keys() == {"second_opinion", "second_opinion_on"}

    def _describe(self, entities: Iterable[dict[str, Any]]) -> None:
        for entity in entities:
            self._entities.setdefault(entity["state_topic"], []).append(entity)
            if "json_attributes_topic" in entity:
                template = entity.get("json_attributes_template", "{{ value }}")
                self._attributes.setdefault(entity["json_attributes_topic"], set()).add(template)
            for each in entity.get("availability", ()):
                template = each.get("value_template", "{{ value }}")
                self.availability.setdefault(each["topic"], set()).add(template)


def _rendered(template: str, payload: str) -> str:
    """As Home Assistant renders it."""
    values = {"value": payload}
    with suppress(ValueError):
        values["value_json"] = json.loads(payload)
    return _compiled(template).render(**values)


@cache
def _compiled(template: str) -> Template:
    return RENDERER.from_string(template)


def _check_state(entity: Mapping[str, Any], payload: str, before: str | None) -> None:
    """What Home Assistant would refuse, or show as unknown."""
    template = entity.get("value_template", "{{ value }}")
    state = _rendered(template, payload)
    match entity["platform"]:
        case "binary_sensor":
            assert state in (entity.get("payload_on", "ON"), entity.get("payload_off", "OFF"))
        case "switch":
            assert state in (entity["state_on"], entity["state_off"])
        case "number":
            assert entity["min"] <= float(state) <= entity["max"], entity["name"]
        case "event":
            assert json.loads(state)["event_type"] in entity["event_types"]
        case "sensor" if entity.get("device_class") == "enum":
            assert state in entity["options"]
        case "sensor" if state != "None":  # which is unknown
            assert np.isfinite(float(state))
            if entity["state_class"] == "total_increasing" and before is not None:
                assert float(state) >= float(_rendered(template, before))


@pytest.mark.timeout(300)  # a day's events go through it
def test_field_case_21_a_day_of_all_that_is_published_agrees_with_what_describes_it(
    tmp_path: Path,
) -> None:
    with standing(tmp_path) as there, there.client() as client:
        document = client.get("api/v1/openapi.json").json()
    contracts = Contracts(document)
    broker = Broker(contracts)
    of = dict.fromkeys(SOURCES, NAMES)
    home = HomeAssistant(
        HomeAssistantSettings(enabled=True),
        TOPICS,
        broker.publish,
        of,
        opinions=True,
        clock=count(0, 10).__next__,
    )
    delivery = Delivery(TOPICS, cast("Any", broker), None, of, scores=True)
    home.labels(of, {})  # described first, so that all else is checked
    broker.publish([Message(TOPICS.status, "online", qos=1, retain=True)])
    delivery.begin()
    for number, source in enumerate(SOURCES):
        _live_through(_day(number), source, delivery, home, number)
    broker.publish([Message(TOPICS.status, "offline", qos=1, retain=True)])

    # Nothing that Home Assistant was told of stays without a state.
    assert contracts.topics <= broker.counts.keys()
    assert broker.counts["pe_stream/pi_kitchen/kitchen/health"] > 8000
    assert broker.counts["pe_stream/pi_kitchen/kitchen/events"] > 1000
    assert broker.counts["pe_stream/pi_kitchen/kitchen/level"] > 800
    assert broker.counts["pe_stream/pi_kitchen/front_door/siren/state"] > 100
    commands = [entity for entity in contracts.entities if "command_topic" in entity]
    assert len(commands) == 2 * 2 * len(RULES)
    for entity in commands:
        _check_command(entity)


def _check_command(entity: Mapping[str, Any]) -> None:
    """Whatever Home Assistant may send is obeyed."""
    assert TOPICS.parse_set(entity["command_topic"]) is not None
    if entity["platform"] == "switch":
        assert [parse_set(entity[f"payload_{to}"].encode()).enabled for to in ("on", "off")] == [
            True,
            False,
        ]
        return
    for value in (entity["min"], 0.5, entity["min"] + entity["step"], entity["max"]):
        said = _compiled(entity["command_template"]).render(value=value)
        assert parse_set(said.encode()).threshold == value


def _day(seed: int) -> FrameScores:
    """A day's scores, as a room has them: nearly nothing, and now and then a sound."""
    chance = np.random.default_rng(seed)
    scores = np.full((DAY, len(RULES)), 1e-12, np.float32)
    for column in range(len(RULES)):
        for start in chance.integers(0, DAY - 3000, 200):
            length = int(chance.choice([1, 5, 25, 250, 2500], p=[0.2, 0.3, 0.3, 0.15, 0.05]))
            shape = chance.choice([0.003, 0.3, 0.9, 0.9999, 1.0])
            scores[start : start + length, column] = shape * chance.uniform(0.97, 1, length)
    scores[chance.integers(0, DAY, 50)] = (0.0, 1.0, 0.0, 1.0, 1.0)  # the ends of the range
    return scores


def _live_through(
    scores: FrameScores, source: str, delivery: Delivery, home: HomeAssistant, seed: int
) -> None:
    """Tell a day, with a gap each quarter of it, and thresholds that somebody sets."""
    chance = np.random.default_rng(100 + seed)
    trackers = LabelTrackers(RULES)
    rules = list(RULES)
    builder = EventBuilder(
        Origin("Pi Kitchen", source, "embedded"), lambda: "01a1fc80-b513-79bb-b2bb-b9afda3d2900"
    )
    ledger, health, meter = Ledger(), Health(), LevelMeter()
    anchor_ns = 1_700_000_000_000_000_000
    home.rules(source, rules)
    segment = Segment(0, anchor_ns, 0)
    intake = Intake(0, anchor_ns, DAY * FRAME)
    intake.captured.append((DAY * FRAME, 0.0))

    def tell(said: Said) -> None:
        for label, detection in said:
            for each in _also_late(builder.build(label, detection, segment, intake, 0.4)):
                delivery.event(each)
                home.event(each)
                both = None if chance.integers(2) else 0.25
                opinion = SecondOpinion(0.5, None, both, None, 0, (0.0, 8.0), "pe-av", 900)
                delivery.opinion(replace(each, second_opinion=opinion))
                home.opinion(replace(each, second_opinion=opinion))

    def tell_health(begin: int) -> None:
        status = SourceStatus(ledger.account, max(0, begin) * FRAME, 0, 0, 0, 0.1)
        delivery.health(source, health.due(status, None, None, 10.0 * begin / STEP) or {})

    tell_health(-STEP)  # before anything is heard
    for begin in range(0, DAY, STEP):
        block = scores[begin : begin + STEP]
        if begin and begin % (DAY // 4) == 0:
            tell(trackers.close(Reason.GAP))
            ledger.silence()
            meter.end()
            ledger.lose(int(chance.integers(1, SAMPLE_RATE)))
            segment = Segment(begin * FRAME, segment.utc_ns(begin * FRAME) + 12_345_678, begin)
        elif begin % HOUR == 0:
            _set_one(rules, chance)
            tell(trackers.change(rules))
            home.rules(source, trackers.in_force)
        if trackers.onset is not None or block.max() > 1e-10:
            for frame, row in enumerate(block.tolist(), begin):
                tell(trackers.step(frame, row))
        empty = np.zeros(0, np.float32)
        heard = Heard(begin * FRAME, 0, block, [], empty)
        delivery.scores(source, NAMES, heard)
        home.scores(source, NAMES, heard)
        level = chance.choice([0.0, 1e-9, 0.01, 1.0])
        samples = (level * chance.uniform(-1, 1, BLOCK)).astype(np.float32)
        ledger.hear(samples)
        _measure(meter, segment, AudioChunk(begin * FRAME, samples), source, delivery)
        tell_health(begin)
    tell(trackers.close(Reason.STOPPED))


def _measure(
    meter: LevelMeter, segment: Segment, chunk: AudioChunk, source: str, delivery: Delivery
) -> None:
    if chunk.start == segment.start:
        chunk = replace(chunk, anchor_ns=segment.anchor_ns)
    meter.hear(chunk)
    for level in meter.take():
        delivery.level(source, level)


def _set_one(rules: list[LabelRule], chance: np.random.Generator) -> None:
    """Somebody sets a label's threshold, or switches it."""
    column = int(chance.integers(len(rules)))
    threshold = float(chance.choice([LEAST_THRESHOLD, 0.123456789, 0.5, MOST_THRESHOLD]))
    enabled = bool(chance.integers(4))
    rules[column] = replace(
        rules[column], threshold=threshold, off_threshold=0.8 * threshold, enabled=enabled
    )


def _also_late(made: Event) -> list[Event]:
    return [made] if made.phase is not Phase.END else [made, replace(made, late=True)]


def test_schemas_and_code_name_the_same_states(tmp_path: Path) -> None:
    """Those that are written twice, for people who read the document."""
    with standing(tmp_path) as there, there.client() as client:
        parts = client.get("api/v1/openapi.json").json()["components"]["schemas"]
    told = set(parts["SourceHealth"]["properties"])
    ledger = Ledger()
    shown = Health().shown(SourceStatus(ledger.account, 0, 0, 0, 0, None), None, None)
    assert told <= {"name", "labels", "sound_level", *UNFILTERED, *shown}
    level = SoundLevel(48_000, 0.0, 0.0, 0.0, 0.0)
    assert set(parts["LevelState"]["properties"]) == level.to_dict().keys()
    assert set(parts["SourceHealth"]["properties"]["state"]["enum"]) == set(SourceState)
    entry = set(parts["Entry"]["properties"])
    assert entry == {*event_schema()["properties"], "verdict", "note", "has_clip"}
