"""Events to MQTT messages: topics, payloads, QoS and retain, as the contract has them."""

from __future__ import annotations

import json
import re
import unicodedata
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any

from pe_stream.core.level_meter import SoundLevel
from pe_stream.core.types import EVENT_SCHEMA, Event, Phase, Reason

ANY = "any"
"""Topic part that stands for "any label of this source"; no label may have it as its slug."""


@dataclass(frozen=True, slots=True)
class Message:
    """One MQTT message to publish. An empty payload with `retain` removes a retained topic.

    late_payload: what is said instead where an outage delays it; None: the same.
    before: of a retained one: payloads that its topic gets before, until the broker has all.
    row: where the store keeps it until the broker has it; None where it does not.
    since_s: from when on it has waited for the broker (monotonic), once it does.
    """

    topic: str
    payload: str
    qos: int
    retain: bool
    late_payload: str | None = None
    row: int | None = None
    since_s: float | None = None
    before: tuple[str, ...] = ()

    @property
    def is_event(self) -> bool:
        """Whether it is to arrive, late if need be, rather than a state that the next replaces."""
        return self.qos > 0 and not self.retain

    @property
    def delayed(self) -> Message:
        """The message as it is after an outage."""
        return replace(self, payload=self.late_payload) if self.late_payload else self

    @property
    def steps(self) -> tuple[Message, ...]:
        """What its topic gets, in order; the last is the message itself."""
        return (*(replace(self, payload=each, before=()) for each in self.before), self)


def removal(topic: str) -> Message:
    """Takes a retained topic from the broker."""
    return Message(topic, "", qos=1, retain=True)


def slug(name: str) -> str:
    """Topic part for a name: lower case, accents dropped, the rest of what is not a-z 0-9 - as `_`.

    Returns "" where nothing of the name is usable.
    """
    plain = unicodedata.normalize("NFKD", name).encode("ascii", "ignore").decode()
    return re.sub(r"[^a-z0-9-]+", "_", plain.lower()).strip("_")


@dataclass(frozen=True, slots=True)
class Topics:
    """Topic names of one node; `prefix` is used as written, the other parts as slugs."""

    prefix: str
    node: str

    @property
    def status(self) -> str:
        """`online` / `offline`, retained."""
        return f"{self.prefix}/{slug(self.node)}/status"

    def events(self, source: str) -> str:
        """Every phase of every event of a source."""
        return self._of(source, "events")

    def second_opinion(self, source: str) -> str:
        """Second opinions on events of a source."""
        return self._of(source, "second_opinion")

    def health(self, source: str) -> str:
        """Topic of a source's health, retained."""
        return self._of(source, "health")

    def level(self, source: str) -> str:
        """Topic of a source's level."""
        return self._of(source, "level")

    def scores(self, source: str) -> str:
        """Top labels each hop."""
        return self._of(source, "scores")

    def state(self, source: str, label: str) -> str:
        """`ON` / `OFF`, retained; `label` may be ANY."""
        return self._of(source, slug(label), "state")

    def retained(self, labels: Mapping[str, Iterable[str]]) -> set[str]:
        """Every retained topic of this node, of the contract; labels: per source, its labels."""
        found = {self.status}
        for source, names in labels.items():
            found |= {self.health(source), self.state(source, ANY)}
            found |= {self.state(source, name) for name in names}
        return found

    def set_filter(self) -> str:
        """Subscription that matches every `set` topic of this node."""
        return f"{self.prefix}/{slug(self.node)}/+/+/set"

    def parse_set(self, topic: str) -> tuple[str, str] | None:
        """(source slug, label slug) of a `set` topic of this node; None for any other topic."""
        head = f"{self.prefix}/{slug(self.node)}/"
        match topic.removeprefix(head).split("/"):
            case [source, label, "set"] if topic.startswith(head):
                return source, label
        return None

    def _of(self, source: str, *parts: str) -> str:
        return "/".join([self.prefix, slug(self.node), slug(source), *parts])


def event_schema() -> dict[str, Any]:
    """JSON Schema of the event, version 1."""

    def seconds(of: str) -> dict[str, Any]:
        return {"type": "number", "minimum": 0, "description": f"{of} (s)"}

    def score(of: str) -> dict[str, Any]:
        return {"type": "number", "minimum": 0, "maximum": 1, "description": of}

    def text(of: str) -> dict[str, Any]:
        return {"type": "string", "description": of}

    def utc(of: str) -> dict[str, Any]:
        pattern = r"^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z$"
        return {"type": "string", "pattern": pattern, "description": f"{of} (UTC)"}

    def or_null(schema: dict[str, Any]) -> dict[str, Any]:
        return schema | {"type": [schema["type"], "null"]}

    properties = {
        "schema": {"const": EVENT_SCHEMA, "description": "version of this contract"},
        "id": {"type": "string", "format": "uuid", "description": "UUIDv7; all phases share it"},
        "phase": {"enum": [phase.value for phase in Phase]},
        "node": text("which daemon"),
        "source": text("which microphone or stream; the file, for files"),
        "label": text("name of the label, or the prompt where there is no configuration"),
        "onset": utc("when it began"),
        "onset_s": seconds("when it began, from the start of the source's segment or file"),
        "offset": or_null(utc("when it ended; null before")),
        "offset_s": or_null(seconds("when it ended, from the same start; null before")),
        "duration_s": seconds("length so far"),
        "peak": score("highest score so far"),
        "peak_s": seconds("when that was, from the same start"),
        "mean": score("mean score so far"),
        "threshold": score("threshold in force when it started"),
        "latency_ms": {
            "type": "number",
            "description": "from the end of the audio that made the start decidable to the "
            "moment the start was handed over (ms)",
        },
        "late": {"type": "boolean", "description": "delivered after an outage"},
        "reason": {
            "enum": [None, *(reason.value for reason in Reason)],
            "description": "why it ended other than by its score falling",
        },
        "checkpoint": text("the checkpoint that heard it"),
        "clip": or_null(text("path or URL of its audio")),
        "second_opinion": or_null(_opinion_schema(score, text)),
    }
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "pe_stream event",
        "type": "object",
        "properties": properties,
        "required": list(properties),
    }


def _opinion_schema(
    score: Callable[[str], dict[str, Any]], text: Callable[[str], dict[str, Any]]
) -> dict[str, Any]:
    """JSON Schema of a second opinion; score, text: make those of a score and a text."""

    def score_or_null(of: str) -> dict[str, Any]:
        return score(of) | {"type": ["number", "null"]}

    seconds = {"type": "number", "minimum": 0}
    properties = {
        "sound": score_or_null("of the words, by the sound alone; null without sound"),
        "picture": score_or_null("of what is in view, by the picture alone; null without picture"),
        "both": score_or_null("of the words, by sound and picture; null without either"),
        "together": score_or_null("how well sound and picture go together; null without either"),
        "pictures": {"type": "integer", "minimum": 0, "description": "how many were looked at"},
        "span_s": {
            "type": "array",
            "prefixItems": [seconds, seconds],
            "minItems": 2,
            "maxItems": 2,
            "description": "what was listened to and looked at, counted as onset_s (s)",
        },
        "checkpoint": text("the checkpoint that it is by"),
        "took_ms": {"type": "integer", "minimum": 0, "description": "to make it (ms)"},
    }
    return {
        "type": "object",
        "properties": properties,
        "required": list(properties),
        "description": "what PE-AV makes of the sound and picture around the peak; the scores are "
        "not calibrated; null: nobody was asked",
    }


class StateBoard:
    """Which labels of which source are on, and the messages that say so."""

    def __init__(self, topics: Topics, labels: Mapping[str, Iterable[str]]) -> None:
        """Take `labels`: per source, the labels it listens for. All begin OFF."""
        self._topics = topics
        self._on: dict[str, dict[str, bool]] = {
            source: dict.fromkeys(names, False) for source, names in labels.items()
        }

    @property
    def labels(self) -> dict[str, list[str]]:
        """Per source, the labels it listens for."""
        return {source: list(on) for source, on in self._on.items()}

    def retained(self) -> list[Message]:
        """Every state as it is now, for a start or a new connection."""
        return [
            message
            for source, labels in self._on.items()
            for message in (
                *(self._state(source, label, on=on) for label, on in labels.items()),
                self._state(source, ANY, on=any(labels.values())),
            )
        ]

    def messages(self, event: Event) -> list[Message]:
        """The messages of an event: its JSON, then the states that it changed."""
        said = [event_message(self._topics, event)]
        labels = self._on[event.source]
        before = any(labels.values())
        on = event.phase is not Phase.END
        if labels.get(event.label) != on:
            labels[event.label] = on
            said.append(self._state(event.source, event.label, on=on))
        if any(labels.values()) != before:
            said.append(self._state(event.source, ANY, on=not before))
        return said

    def relabel(self, labels: Mapping[str, Iterable[str]]) -> list[Message]:
        """Take new labels (sources stay); returns messages that add and remove states.

        Events of labels that go must have ended before.
        """
        said = []
        for source, names in labels.items():
            old, wanted = self._on[source], list(names)
            gone = {self._topics.state(source, n) for n in old if n not in wanted}
            added = [n for n in wanted if n not in old]
            self._on[source] = {n: old.get(n, False) for n in wanted}
            kept = {self._topics.state(source, n) for n in wanted}
            said += [removal(topic) for topic in sorted(gone - kept)]
            said += [self._state(source, n, on=False) for n in added]
        return said

    def _state(self, source: str, label: str, *, on: bool) -> Message:
        return Message(self._topics.state(source, label), "ON" if on else "OFF", qos=1, retain=True)


def event_message(topics: Topics, event: Event) -> Message:
    """The JSON of an event's phase."""
    return _of_event(topics.events(event.source), event)


def opinion_message(topics: Topics, event: Event) -> Message:
    """The JSON of an event with the second opinion on it."""
    return _of_event(topics.second_opinion(event.source), event)


def _of_event(topic: str, event: Event) -> Message:
    late = replace(event, late=True).to_json()
    return Message(topic, event.to_json(), qos=1, retain=False, late_payload=late)


def level_message(topics: Topics, source: str, level: SoundLevel) -> Message:
    """The level of the last seconds; the next replaces it, so it is no loss."""
    return Message(topics.level(source), json.dumps(level.to_dict()), qos=0, retain=False)


def scores_message(topics: Topics, source: str, top: Mapping[str, float]) -> Message:
    """The highest scores of a hop, for the optional scores topic."""
    payload = json.dumps({label: round(score, 4) for label, score in top.items()})
    return Message(topics.scores(source), payload, qos=0, retain=False)
