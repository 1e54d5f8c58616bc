"""MQTT device discovery: Home Assistant shows the node without being configured.

One device for each source of a node, all of its entities in one retained message
(https://www.home-assistant.io/integrations/mqtt/#device-discovery-payload). Each entity has a topic
of its own, beside those of the contract: of a label its score, its latest event, its threshold and
whether it is enabled.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from pe_stream.core.ledger import SourceState
from pe_stream.core.messages import Message, Topics, slug
from pe_stream.core.types import Event, LabelRule, Phase

_CLASSES = {
    "smoke": ("smoke_alarm", "smoke_detector", "fire_alarm"),
    "carbon_monoxide": ("carbon_monoxide", "co_alarm"),
    "moisture": ("water_leak", "dripping", "water_dripping", "flood"),
    "safety": ("glass_breaking", "scream", "screaming", "gunshot", "gun_shot", "crying_for_help"),
    "problem": ("machine_fault", "alarm_clock_stuck"),
    "motion": ("footsteps", "walking"),
    "door": ("door_slam", "door"),
    "vibration": ("washing_machine_spinning",),
}
"""Home Assistant's device classes by label; every other label is a sound."""

_ICONS = {
    "dog": "mdi:dog",
    "cat": "mdi:cat",
    "baby": "mdi:baby-face-outline",
    "bell": "mdi:bell",
    "alarm": "mdi:alarm-light",
    "siren": "mdi:alarm-light",
    "speech": "mdi:account-voice",
    "voice": "mdi:account-voice",
    "music": "mdi:music",
    "knock": "mdi:door",
    "glass": "mdi:glass-fragile",
    "rain": "mdi:weather-pouring",
    "car": "mdi:car",
    "phone": "mdi:phone-ring",
}
"""Icon by a part of the label's name; other labels have the device class's."""


@dataclass(frozen=True, slots=True)
class Device:
    """One source of a node, as Home Assistant sees it.

    prefix: of Home Assistant's discovery topics. version: of ours.
    """

    topics: Topics
    source: str
    prefix: str
    version: str

    @property
    def topic(self) -> str:
        """Topic of the retained description."""
        return f"{self.prefix}/device/{self._id}/config"

    @property
    def _id(self) -> str:
        return f"{slug(self.topics.prefix)}_{slug(self.topics.node)}_{slug(self.source)}"

    def described(self, labels: Iterable[str], gone: Iterable[str] = ()) -> Message:
        """The description of all entities. gone: labels whose entities are to be removed."""
        components: dict[str, Any] = dict(self._diagnostics())
        for label in labels:
            components |= self._entities(label)
        for label in gone:
            components |= {
                key: {"platform": entity["platform"]}
                for key, entity in self._entities(label).items()
            }
        told = {
            "device": {
                "identifiers": [self._id],
                "name": f"{self.source} ({self.topics.node})",
                "manufacturer": "pe_stream",
                "model": "Sound detector",
                "sw_version": self.version,
            },
            "origin": {"name": "pe_stream", "sw_version": self.version},
            "qos": 1,
            "components": components,
        }
        return Message(self.topic, json.dumps(told, ensure_ascii=False), qos=1, retain=True)

    def rule(self, rule: LabelRule) -> list[Message]:
        """States of a label's threshold and switch."""
        enabled = "ON" if rule.enabled else "OFF"
        return [
            Message(self._of(rule.name, "threshold"), f"{rule.threshold:g}", qos=1, retain=True),
            Message(self._of(rule.name, "enabled"), enabled, qos=1, retain=True),
        ]

    def forgotten(self, label: str) -> list[Message]:
        """Take the topics of a label that is gone from the broker."""
        return [
            Message(self._of(label, what), "", qos=1, retain=True)
            for what in ("threshold", "enabled")
        ]

    def event(self, event: Event) -> Message:
        """A phase of an event, for those who listen now: a late one would set off automations."""
        told = {
            "event_type": event.phase,
            "onset": event.onset,
            "offset": event.offset,
            "duration_s": event.duration_s,
            "peak": event.peak,
            "reason": event.reason,
            "id": event.id,
            "clip": event.clip,
        }
        return Message(self._of(event.label, "event"), json.dumps(told), qos=0, retain=False)

    def scores(self, peaks: Mapping[str, float]) -> list[Message]:
        """The highest score of each label lately."""
        return [
            Message(self._of(label, "score"), f"{peak:.3f}", qos=0, retain=False)
            for label, peak in peaks.items()
        ]

    def _of(self, label: str, what: str) -> str:
        return self.topics.state(self.source, label).removesuffix("state") + what

    def _entities(self, label: str) -> dict[str, dict[str, Any]]:
        key, name = slug(label), label.replace("_", " ").capitalize()
        command = {"command_topic": self._of(label, "set")}
        heard = {"availability_mode": "all", "availability": [self._online(), self._scorer()]}
        running = {"availability": [self._online()]}
        kind = _device_class(key)
        icon = next((icon for part, icon in _ICONS.items() if part in key), None)
        shown = {"icon": icon} if icon and kind == "sound" else {}
        entities: dict[str, dict[str, Any]] = {
            "heard": {
                "platform": "binary_sensor",
                "name": name,
                "device_class": kind,
                "state_topic": self._of(label, "state"),
                **shown,
                **heard,
            },
            "event": {
                "platform": "event",
                "name": f"{name} event",
                "event_types": [phase.value for phase in Phase],
                "state_topic": self._of(label, "event"),
                **shown,
                **running,
            },
            "score": {
                "platform": "sensor",
                "name": f"{name} score",
                "state_topic": self._of(label, "score"),
                "state_class": "measurement",
                "suggested_display_precision": 2,
                "entity_category": "diagnostic",
                "icon": "mdi:chart-bell-curve",
                **heard,
            },
            "threshold": {
                "platform": "number",
                "name": f"{name} threshold",
                "state_topic": self._of(label, "threshold"),
                "command_template": '{"threshold": {{ value }}}',
                "min": 0.01,
                "max": 0.99,
                "step": 0.01,
                "mode": "slider",
                "entity_category": "config",
                "icon": "mdi:tune-vertical",
                **command,
                **running,
            },
            "enabled": {
                "platform": "switch",
                "name": f"{name} enabled",
                "state_topic": self._of(label, "enabled"),
                "state_on": "ON",
                "state_off": "OFF",
                "payload_on": '{"enabled": true}',
                "payload_off": '{"enabled": false}',
                "entity_category": "config",
                **command,
                **running,
            },
        }
        return {
            f"{key}_{what}": {**entity, "unique_id": f"{self._id}_{key}_{what}"}
            for what, entity in entities.items()
        }

    def _diagnostics(self) -> Iterable[tuple[str, dict[str, Any]]]:
        """Whether it can be trusted. Their keys cannot be labels': those end in another word."""
        health: dict[str, Any] = {
            "state_topic": self.topics.health(self.source),
            "entity_category": "diagnostic",
        }
        entities: dict[str, dict[str, Any]] = {
            "connection": {
                "platform": "binary_sensor",
                "name": "Connection",
                "device_class": "connectivity",
                "state_topic": self.topics.status,
                "payload_on": "online",
                "payload_off": "offline",
                "entity_category": "diagnostic",
            },
            "hearing": {
                "platform": "sensor",
                "name": "Hearing",
                "device_class": "enum",
                "options": [state.value for state in SourceState],
                "value_template": "{{ value_json.state }}",
                "icon": "mdi:ear-hearing",
                "availability": [self._online()],
                **health,
            },
            "level": {
                "platform": "sensor",
                "name": "Level",
                "unit_of_measurement": "dBFS",
                "state_class": "measurement",
                "value_template": "{{ value_json.level_dbfs }}",
                "icon": "mdi:microphone",
                "availability_mode": "all",
                "availability": [self._online(), self._scorer()],
                **health,
            },
            "lost": {
                "platform": "sensor",
                "name": "Audio lost",
                "unit_of_measurement": "s",
                "device_class": "duration",
                "state_class": "total_increasing",
                "value_template": "{{ value_json.lost_s }}",
                "availability": [self._online()],
                **health,
            },
        }
        for key, entity in entities.items():
            yield key, {**entity, "unique_id": f"{self._id}_{key}"}

    def _online(self) -> dict[str, str]:
        return {"topic": self.topics.status}

    def _scorer(self) -> dict[str, str]:
        """What is deaf is unavailable: a state of OFF would be believed."""
        return {
            "topic": self.topics.health(self.source),
            "value_template": "{{ 'online' if value_json.state == 'hearing' else 'offline' }}",
        }


def _device_class(key: str) -> str:
    return next((kind for kind, keys in _CLASSES.items() if key in keys), "sound")
