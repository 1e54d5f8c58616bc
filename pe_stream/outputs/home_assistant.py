"""Home Assistant: which messages it gets, and when."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace

from pe_stream.config import HomeAssistantSettings
from pe_stream.core.detector import Heard
from pe_stream.core.discovery import Device
from pe_stream.core.listener import LabelsOf, Listener
from pe_stream.core.messages import Message, Topics, removal, slug
from pe_stream.core.types import Event, LabelRule
from pe_stream.version import __version__

SCORES_S = 1.0
"""Scores are told this often at most (s)."""


@dataclass(slots=True)
class _Described:
    """Labels (slugs) whose entities the broker may have: in the device's description, or alone."""

    together: set[str] = field(default_factory=set)
    alone: set[str] = field(default_factory=set)


class HomeAssistant(Listener):
    """Messages about one node; none where it is not enabled. `greet` may come on any thread.

    birth: topic on which Home Assistant says that it has started.
    """

    def __init__(
        self,
        settings: HomeAssistantSettings,
        topics: Topics,
        publish: Callable[[Iterable[Message]], None],
        of: LabelsOf,
        *,
        levels: bool = True,
        opinions: bool = False,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """Take the labels that each source listens for. publish: sends messages, without waiting.

        levels: whether sources' levels are told. opinions: whether there are second opinions on
        events. clock: monotonic (s).
        """
        self.birth = f"{settings.prefix}/status"
        self._publish = publish
        self._labels = {source: list(names) for source, names in of.items()}
        self._devices = (
            {
                source: Device(
                    topics, source, settings.prefix, __version__, levels=levels, opinions=opinions
                )
                for source in of
            }
            if settings.enabled
            else {}
        )
        # Guards what was described: the scoring thread, MQTT's and the main one describe.
        self._describing = threading.Lock()
        self._described = {source: _Described() for source in self._devices}
        self._told = False
        self._clock = clock
        self._peaks: dict[str, dict[str, float]] = {}
        self._told_s: dict[str, float] = {}

    @property
    def enabled(self) -> bool:
        """Whether anything is told."""
        return bool(self._devices)

    def greet(self, said: str) -> None:
        """Home Assistant says that it has started, or ends; on the MQTT thread."""
        if said == "online":
            with self._describing:
                self._publish([m for source in self._devices for m in self._descriptions(source)])
                self._publish([m for d in self._devices.values() for m in d.opinion_sensor()])

    def retained(self) -> set[str]:
        """Every topic that it has the broker keep, with the labels in force."""
        labels = self._labels
        return {
            topic
            for source, device in self._devices.items()
            for topic in device.retained(labels[source])
        }

    def recall(self, topics: Collection[str]) -> None:
        """Take the topics that earlier runs left: entities of labels that are gone are removed.

        Descriptions of single labels are removed by clearing their topics, which is to be first.
        """
        with self._describing:
            for source, device in self._devices.items():
                self._described[source].together |= device.labels_in(topics)
                if self._told:
                    self._publish(self._changed(source))

    def labels(self, of: LabelsOf, keys: Mapping[str, str]) -> None:  # noqa: ARG002 - a part of the protocol
        """Say what there is (sources stay); removes the entities of labels that are gone."""
        said = []
        with self._describing:
            for source in self._devices:
                self._note(source)
            before, self._labels = self._labels, {name: list(each) for name, each in of.items()}
            self._told = True
            for source, device in self._devices.items():
                said += self._changed(source)
                kept = {slug(label) for label in self._labels[source]}
                gone = [label for label in before[source] if slug(label) not in kept]
                said += [message for label in gone for message in device.forgotten(label)]
            self._publish(said)

    def _changed(self, source: str) -> list[Message]:
        """Its descriptions, after what removes those that are gone, or have moved."""
        device, described = self._devices[source], self._described[source]
        first, *own = self._descriptions(source)
        alone = {slug(label) for label in self._labels[source]} if own else set()
        cleared = [removal(device.topic_of(label)) for label in sorted(described.alone - alone)]
        described.alone = alone
        self._note(source)
        return [*cleared, *first.steps[:-1], first, *own, *device.opinion_sensor()]

    def _note(self, source: str) -> None:
        """The labels in force are, or will be, described."""
        names = {slug(label) for label in self._labels[source]}
        _, *own = self._devices[source].descriptions(self._labels[source])
        if own:
            self._described[source].alone |= names
        else:
            self._described[source].together |= names

    def _descriptions(self, source: str) -> list[Message]:
        device, labels = self._devices[source], self._labels[source]
        first, *own = device.descriptions(labels)
        together = () if own else labels
        gone = self._described[source].together - {slug(label) for label in together}
        # All since the start, as it cannot be known here which of them the broker has passed on.
        steps = tuple(step.payload for step in device.removing(together, gone))
        return [replace(first, before=steps), *own]

    def rules(self, source: str, rules: Sequence[LabelRule]) -> None:
        """The thresholds and switches of a source as they are now."""
        if (device := self._devices.get(source)) is not None:
            mine = self._labels[source]
            told = [said for rule in rules if rule.name in mine for said in device.rule(rule)]
            self._publish(told)

    def event(self, event: Event) -> None:
        """A phase of an event, unless it is late: that would set off automations."""
        device = self._devices.get(event.source)
        if device is not None and not event.late:
            self._publish([device.event(event)])

    def opinion(self, event: Event) -> None:
        """The second opinion on an event; no entity's state follows from it but its own."""
        device = self._devices.get(event.source)
        if device is not None:
            self._publish([device.opinion(event)])

    def scores(self, source: str, names: Sequence[str], heard: Heard) -> None:
        """The highest scores since the last time, about once a second."""
        device = self._devices.get(source)
        if device is None or not len(heard.scores):
            return
        peaks = self._peaks.setdefault(source, {})
        for name, score in zip(names, heard.scores.max(axis=0).tolist(), strict=True):
            peaks[name] = max(score, peaks.get(name, 0.0))
        now_s = self._clock()
        if now_s - self._told_s.get(source, -SCORES_S) < SCORES_S:
            return
        self._told_s[source] = now_s
        self._peaks[source] = {}
        mine = self._labels[source]
        self._publish(device.scores({name: p for name, p in peaks.items() if name in mine}))
