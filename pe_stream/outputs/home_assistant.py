"""Home Assistant: which messages it gets, and when."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping, Sequence

from pe_stream.config import HomeAssistantSettings
from pe_stream.core.detector import Heard
from pe_stream.core.discovery import Device
from pe_stream.core.listener import LabelsOf, Listener
from pe_stream.core.messages import Message, Topics, slug
from pe_stream.core.types import Event, LabelRule
from pe_stream.version import __version__

SCORES_S = 1.0
"""Scores are told this often at most (s)."""


class HomeAssistant(Listener):
    """Messages about one node; none where it is not enabled.

    birth: topic on which Home Assistant says that it has started.
    """

    def __init__(
        self,
        settings: HomeAssistantSettings,
        topics: Topics,
        publish: Callable[[Iterable[Message]], None],
        of: LabelsOf,
        *,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """Take the labels that each source listens for. publish: sends messages, without waiting.

        clock: monotonic (s).
        """
        self.birth = f"{settings.prefix}/status"
        self._publish = publish
        self._labels = {source: list(names) for source, names in of.items()}
        self._devices = (
            {source: Device(topics, source, settings.prefix, __version__) for source in of}
            if settings.enabled
            else {}
        )
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
            labels = self._labels
            self._publish(
                [device.described(labels[name]) for name, device in self._devices.items()]
            )

    def labels(self, of: LabelsOf, keys: Mapping[str, str]) -> None:  # noqa: ARG002 - a part of the protocol
        """Say what there is (sources stay); removes the entities of labels that are gone."""
        said = []
        before, self._labels = self._labels, {name: list(each) for name, each in of.items()}
        for source, device in self._devices.items():
            now = self._labels[source]
            kept = {slug(label) for label in now}
            gone = [label for label in before[source] if slug(label) not in kept]
            if gone:
                said.append(device.described(now, gone))
            said.append(device.described(now))
            said += [message for label in gone for message in device.forgotten(label)]
        self._publish(said)

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
