"""MQTT device discovery: Home Assistant shows the node without being configured.

One device for each source of a node, described by retained messages
(https://www.home-assistant.io/integrations/mqtt/#device-discovery-payload): all of its entities in
one, or, where that would be too large for a broker, those of each label in one of their own. Each
entity has a topic of its own, beside those of the contract: of a label its score, its latest event,
its threshold and whether it is enabled.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from pe_stream.core.entities import Entities
from pe_stream.core.messages import Message, Topics, removal, slug
from pe_stream.core.types import LEAST_THRESHOLD, MOST_THRESHOLD, Event, LabelRule

MOST_BYTES = 100_000
"""Of a description of all entities: brokers in the cloud take packets of 128 kB."""

_REMOVED_AT_ONCE = 80
"""Labels whose entities are removed in one message, about 20 kB besides the description."""


@dataclass(frozen=True, slots=True)
class Device:
    """One source of a node, as Home Assistant sees it.

    prefix: of Home Assistant's discovery topics. version: of ours. levels: whether the source's
    level is told. opinions: whether there are second opinions on its events.
    """

    topics: Topics
    source: str
    prefix: str
    version: str
    levels: bool = True
    opinions: bool = False

    @property
    def topic(self) -> str:
        """Topic of the retained description."""
        return f"{self.prefix}/device/{self._id}/config"

    def topic_of(self, label: str) -> str:
        """Topic of the retained description of a label alone; no slug has two `_` in a row."""
        return f"{self.prefix}/device/{self._id}__{slug(label)}/config"

    @property
    def _id(self) -> str:
        return f"{slug(self.topics.prefix)}_{slug(self.topics.node)}_{slug(self.source)}"

    @property
    def _entities(self) -> Entities:
        return Entities(self.topics, self.source, self._id, self.opinions)

    def described(self, labels: Iterable[str], gone: Iterable[str] = ()) -> Message:
        """The description of all entities. gone: labels whose entities are to be removed."""
        components: dict[str, Any] = dict(self._entities.diagnostics())
        if self.levels:
            components |= self._entities.of_level()
        for label in labels:
            components |= self._entities.of_label(label)
        for label in gone:
            components |= _removed(self._entities.of_label(label))
        return self._described(self.topic, components)

    def descriptions(self, labels: Sequence[str]) -> list[Message]:
        """The description of all entities; of several messages, the device's is first."""
        whole = self.described(labels)
        if len(whole.payload.encode()) <= MOST_BYTES:
            return [whole]
        own = [
            self._described(self.topic_of(label), self._entities.of_label(label))
            for label in labels
        ]
        return [self.described(()), *own]

    def opinion_sensor(self) -> list[Message]:
        """The description of the sensor of second opinions, where there are any.

        On a topic of its own: cleared, as whatever is no more retained, it removes the sensor.
        """
        if not self.opinions:
            return []
        told = {**self._about, "qos": 1, **self._entities.of_opinion()}
        topic = f"{self.prefix}/sensor/{self._id}/second_opinion/config"
        return [Message(topic, json.dumps(told, ensure_ascii=False), qos=1, retain=True)]

    def removing(self, labels: Sequence[str], gone: Iterable[str]) -> Iterator[Message]:
        """Messages that remove entities from the device's description, which has those of `labels`.

        Home Assistant removes what is still there, and named with nothing but its platform. Of the
        level, what an earlier run described is not known: without, it is always removed.
        """
        if not self.levels:
            there = json.loads(self.described(labels).payload)["components"]
            yield self._described(self.topic, there | _removed(self._entities.of_level()))
        names = sorted(gone)
        for first in range(0, len(names), _REMOVED_AT_ONCE):
            yield self.described(labels, names[first : first + _REMOVED_AT_ONCE])

    def retained(self, labels: Sequence[str]) -> set[str]:
        """Every retained topic of the device with these labels, beside those of the contract."""
        messages = [*self.descriptions(labels), *self.opinion_sensor()]
        described = {message.topic for message in messages}
        return described | {topic for label in labels for topic in self._settings_of(label)}

    def labels_in(self, topics: Collection[str]) -> set[str]:
        """Labels (slugs) in the device's description, by the retained topics that a run left."""
        head = self.topics.health(self.source).removesuffix("health")
        parts = [t.removeprefix(head).split("/") for t in topics if t.startswith(head)]
        told = {label for label, *rest in parts if rest == ["threshold"]}
        alone = {label for label in told if self.topic_of(label) in topics}
        return told - alone if self.topic in topics else set()

    def rule(self, rule: LabelRule) -> list[Message]:
        """States of a label's threshold and switch, as they can be set."""
        enabled = "ON" if rule.enabled else "OFF"
        threshold = min(max(rule.threshold, LEAST_THRESHOLD), MOST_THRESHOLD)
        of_threshold, of_switch = self._settings_of(rule.name)
        return [
            Message(of_threshold, f"{threshold:g}", qos=1, retain=True),
            Message(of_switch, enabled, qos=1, retain=True),
        ]

    def forgotten(self, label: str) -> list[Message]:
        """Take the topics of a label that is gone from the broker."""
        return [removal(topic) for topic in self._settings_of(label)]

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
        topic = self._entities.topic(event.label, "event")
        return Message(topic, json.dumps(told), qos=0, retain=False)

    def opinion(self, event: Event) -> Message:
        """Attributes of the label's event entity: the second opinion on an event, and its id."""
        opinion = event.second_opinion and event.second_opinion.to_dict()
        told = {"second_opinion": opinion, "second_opinion_on": event.id}
        topic = self._entities.topic(event.label, "second_opinion")
        return Message(topic, json.dumps(told), qos=0, retain=False)

    def scores(self, peaks: Mapping[str, float]) -> list[Message]:
        """The highest score of each label lately."""
        return [
            Message(self._entities.topic(label, "score"), f"{peak:.3f}", qos=0, retain=False)
            for label, peak in peaks.items()
        ]

    def _settings_of(self, label: str) -> tuple[str, str]:
        return self._entities.topic(label, "threshold"), self._entities.topic(label, "enabled")

    @property
    def _about(self) -> dict[str, Any]:
        return {
            "device": {
                "identifiers": [self._id],
                "name": f"{self.source} ({self.topics.node})",
                "manufacturer": "pe_stream",
                "model": "Sound detector",
                "sw_version": self.version,
            },
            "origin": {"name": "pe_stream", "sw_version": self.version},
        }

    def _described(self, topic: str, components: Mapping[str, Any]) -> Message:
        told = {**self._about, "qos": 1, "components": components}
        return Message(topic, json.dumps(told, ensure_ascii=False), qos=1, retain=True)


def _removed(entities: Mapping[str, Mapping[str, Any]]) -> dict[str, Any]:
    """Entities as they are described for their removal."""
    return {key: {"platform": entity["platform"]} for key, entity in entities.items()}
