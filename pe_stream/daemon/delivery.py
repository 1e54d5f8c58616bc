"""Events into the database and to the broker: in the database before they are sent."""

from __future__ import annotations

import json
import logging
from collections.abc import Mapping, Sequence
from typing import Any

from pe_stream.core.detector import Heard
from pe_stream.core.level_meter import SoundLevel, together
from pe_stream.core.listener import LabelsOf, Listener
from pe_stream.core.messages import (
    Message,
    StateBoard,
    Topics,
    event_message,
    level_message,
    opinion_message,
    scores_message,
)
from pe_stream.core.types import Event, Reason
from pe_stream.outputs.mqtt import Publisher
from pe_stream.storage.events import EventStore

log = logging.getLogger(__name__)

TOP_SCORES = 5
"""Labels in a message on the optional scores topic."""


class Delivery(Listener):
    """Events, states, health and scores on their way to MQTT.

    A phase of an event and its message are in one transaction of the store, which has them before
    the publisher does; see EventStore for a disk that does not keep up. Both outlive the scoring.
    """

    def __init__(
        self,
        topics: Topics,
        publisher: Publisher,
        store: EventStore | None,
        of: LabelsOf,
        *,
        scores: bool,
        levels_s: int = 1,
    ) -> None:
        """Begin with every state off.

        store: None where no events are kept. of: the labels in force. scores: whether the top
        labels of each hop are told. levels_s: of so many seconds, levels are told together.
        """
        self._topics, self._publisher, self._store = topics, publisher, store
        self._scores = scores
        self._board = StateBoard(topics, of)
        self._levels_s = levels_s
        self._levels: dict[str, list[SoundLevel]] = {}

    @property
    def labels_in_force(self) -> LabelsOf:
        """The labels that states are published of; from any thread."""
        return self._board.labels

    def begin(self) -> None:
        """Publish every state. On the main thread, before the scoring begins."""
        self._publisher.publish(self._board.retained())

    def go_on(self) -> list[Event]:
        """Publish the last run's messages; returns the ends of its open events, to be told to all.

        On the main thread. Once, as soon as the store can tell; nothing before and after.
        """
        if self._store is None or (left := self._store.left()) is None:
            return []
        waiting, unfinished = left
        self._publisher.publish(waiting)
        if waiting or unfinished:
            log.info(
                "from the last run: %d messages to deliver, %d open events closed",
                len(waiting),
                len(unfinished),
            )
        return unfinished

    def labels(self, of: LabelsOf, keys: Mapping[str, str]) -> None:  # noqa: ARG002 - a part of the protocol
        """Publish the states of labels that are new, remove those of labels that are gone."""
        self._publisher.publish(self._board.relabel(of))

    def event(self, event: Event) -> None:
        """Keep and publish it, then publish the states that it changes.

        The end of what the last run left open changes none: those are of this run.
        """
        if event.reason is Reason.RESTART:
            messages = [event_message(self._topics, event)]
        else:
            messages = self._board.messages(event)
        if self._store is not None:
            messages = self._store.record(event, messages)
        self._publisher.publish(messages)

    def opinion(self, event: Event) -> None:
        """Keep it with the event, and publish it on a topic of its own; no state changes by it."""
        messages = [opinion_message(self._topics, event)]
        if self._store is not None:
            messages = self._store.record_opinion(event, messages)
        self._publisher.publish(messages)

    def scores(self, source: str, names: Sequence[str], heard: Heard) -> None:
        """Publish the top labels, where that is wanted."""
        if self._scores and len(heard.scores):
            peaks = dict(zip(names, heard.scores.max(axis=0).tolist(), strict=True))
            top = dict(sorted(peaks.items(), key=lambda item: -item[1])[:TOP_SCORES])
            self._publisher.publish([scores_message(self._topics, source, top)])

    def level(self, source: str, level: SoundLevel) -> None:
        """Publish it with those of the seconds before; at a break with what there is."""
        levels = self._levels.setdefault(source, [])
        levels.append(level)
        if len(levels) == self._levels_s or level.last:
            self._publisher.publish([level_message(self._topics, source, together(levels))])
            levels.clear()

    def health(self, source: str, health: Mapping[str, Any]) -> None:
        """Publish it."""
        topic, payload = self._topics.health(source), json.dumps(dict(health))
        self._publisher.publish([Message(topic, payload, qos=1, retain=True)])
