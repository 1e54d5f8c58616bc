"""What Home Assistant shows of a source: its entities, described for MQTT device discovery.

Ranges, options and states are those of what is published: both come from the same definitions.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from pe_stream.core.ledger import SourceState
from pe_stream.core.messages import Topics, slug
from pe_stream.core.types import LEAST_THRESHOLD, MOST_THRESHOLD, Phase

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


DBFS = "dBFS"
"""Unit of levels: Home Assistant converts no unit that it does not know."""

STEP = 0.001
"""Home Assistant's finest step of a number. The grid begins at the least threshold, so what is
set is typed: a slider would stop at 0.500001."""


@dataclass(frozen=True, slots=True)
class Entities:
    """Entities of one source, whose device has the id `device_id`.

    opinions: whether there are second opinions on events.
    """

    topics: Topics
    source: str
    device_id: str
    opinions: bool = False

    def topic(self, label: str, what: str) -> str:
        """Topic of one thing about a label, beside its state."""
        return self.topics.state(self.source, label).removesuffix("state") + what

    def of_label(self, label: str) -> dict[str, dict[str, Any]]:
        """The five entities of a label."""
        key, name = slug(label), label.replace("_", " ").capitalize()
        command = {"command_topic": self.topic(label, "set")}
        heard = {"availability_mode": "all", "availability": [self._online(), self._scorer()]}
        running = {"availability": [self._online()]}
        kind = _device_class(key)
        icon = next((icon for part, icon in _ICONS.items() if part in key), None)
        shown = {"icon": icon} if icon and kind == "sound" else {}
        of_event = {"json_attributes_topic": self.topic(label, "second_opinion")}
        entities: dict[str, dict[str, Any]] = {
            "heard": {
                "platform": "binary_sensor",
                "name": name,
                "device_class": kind,
                "state_topic": self.topic(label, "state"),
                **shown,
                **heard,
            },
            "event": {
                "platform": "event",
                "name": f"{name} event",
                "event_types": [phase.value for phase in Phase],
                "state_topic": self.topic(label, "event"),
                **(of_event if self.opinions else {}),
                **shown,
                **running,
            },
            "score": {
                "platform": "sensor",
                "name": f"{name} score",
                "state_topic": self.topic(label, "score"),
                "state_class": "measurement",
                "suggested_display_precision": 2,
                "entity_category": "diagnostic",
                "icon": "mdi:chart-bell-curve",
                **heard,
            },
            "threshold": {
                "platform": "number",
                "name": f"{name} threshold",
                "state_topic": self.topic(label, "threshold"),
                "command_template": '{"threshold": {{ value }}}',
                "min": LEAST_THRESHOLD,
                "max": MOST_THRESHOLD,
                "step": STEP,
                "mode": "box",
                "entity_category": "config",
                "icon": "mdi:tune-vertical",
                **command,
                **running,
            },
            "enabled": {
                "platform": "switch",
                "name": f"{name} enabled",
                "state_topic": self.topic(label, "enabled"),
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
            f"{key}_{what}": {**entity, "unique_id": f"{self.device_id}_{key}_{what}"}
            for what, entity in entities.items()
        }

    def diagnostics(self) -> Iterable[tuple[str, dict[str, Any]]]:
        """Entities of the source itself; no label's key is theirs: it ends in another word."""
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
                "unit_of_measurement": DBFS,
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
            yield key, {**entity, "unique_id": f"{self.device_id}_{key}"}

    def of_opinion(self) -> dict[str, Any]:
        """The sensor of the latest second opinion: the score that says most, all as attributes."""
        opinion = "value_json.second_opinion"
        topic = self.topics.second_opinion(self.source)
        return {
            "name": "Second opinion (uncalibrated)",
            "state_topic": topic,
            "value_template": f"{{{{ {opinion}.sound if {opinion}.both is none else {opinion}.both "
            "}}",
            "json_attributes_topic": topic,
            "json_attributes_template": f"{{{{ dict({opinion}, label=value_json.label, "
            "event=value_json.id) | tojson }}",
            "state_class": "measurement",
            "suggested_display_precision": 2,
            "entity_category": "diagnostic",
            "icon": "mdi:ear-hearing",
            "availability": [self._online()],
            "unique_id": f"{self.device_id}_second_opinion",
        }

    def of_level(self) -> dict[str, dict[str, Any]]:
        """The four sensors of the source's level.

        Without a device class: that of sound pressure has dB and dBA alone, of what is heard in the
        room, which is not known here. Peaks are switched off there at first, as each sensor fills
        the recorder.
        """
        names = {
            "mean_dbfs": "Sound level",
            "peak_dbfs": "Sound peak level",
            "a_mean_dbfs": "Sound level, A-weighted",
            "a_peak_dbfs": "Sound peak level, A-weighted",
        }
        return {
            f"sound_{key.removesuffix('_dbfs')}": {
                "platform": "sensor",
                "name": name,
                "unit_of_measurement": DBFS,
                "state_class": "measurement",
                "suggested_display_precision": 1,
                "state_topic": self.topics.level(self.source),
                "value_template": f"{{{{ value_json.{key} }}}}",
                "icon": "mdi:volume-high",
                "enabled_by_default": "peak" not in key,
                "availability_mode": "all",
                "availability": [self._online(), self._connected()],
                "unique_id": f"{self.device_id}_sound_{key.removesuffix('_dbfs')}",
            }
            for key, name in names.items()
        }

    def _online(self) -> dict[str, str]:
        return {"topic": self.topics.status}

    def _scorer(self) -> dict[str, str]:
        """What is deaf is unavailable: a state of OFF would be believed."""
        return {
            "topic": self.topics.health(self.source),
            "value_template": "{{ 'online' if value_json.state == 'hearing' else 'offline' }}",
        }

    def _connected(self) -> dict[str, str]:
        """What a dead microphone has is a level, too."""
        sounding = f"('{SourceState.HEARING}', '{SourceState.FLAT}')"
        template = f"{{{{ 'online' if value_json.state in {sounding} else 'offline' }}}}"
        return {"topic": self.topics.health(self.source), "value_template": template}


def _device_class(key: str) -> str:
    return next((kind for kind, keys in _CLASSES.items() if key in keys), "sound")
