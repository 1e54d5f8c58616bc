"""Home Assistant: which messages it gets, and when."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping, Sequence

from pe_stream.config import HomeAssistantSettings
from pe_stream.core.discovery import Device
from pe_stream.core.messages import Message, Topics, slug
from pe_stream.core.types import Event, FrameScores, LabelRule
from pe_stream.version import __version__

SCORES_S = 1.0
"""Scores are told this often at most (s)."""


class HomeAssistant:
    """What is told about one node; nothing where it is not enabled.

    birth: topic on which Home Assistant says that it has started.
    """

    def __init__(
        self,
        settings: HomeAssistantSettings,
        topics: Topics,
        labels: Mapping[str, Iterable[str]],
        *,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """Take the labels that each source listens for."""
        self.birth = f"{settings.prefix}/status"
        self._labels = {source: list(names) for source, names in labels.items()}
        self._devices = (
            {source: Device(topics, source, settings.prefix, __version__) for source in labels}
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

    def described(self) -> list[Message]:
        """What there is: at the start, and when Home Assistant has started."""
        return [device.described(self._labels[name]) for name, device in self._devices.items()]

    def relabel(self, labels: Mapping[str, Iterable[str]]) -> list[Message]:
        """Take new labels (sources stay); removes the entities of those that are gone."""
        said = []
        before, self._labels = self._labels, {name: list(each) for name, each in labels.items()}
        for source, device in self._devices.items():
            now = self._labels[source]
            kept = {slug(label) for label in now}
            gone = [label for label in before[source] if slug(label) not in kept]
            if gone:
                said.append(device.described(now, gone))
            said.append(device.described(now))
            said += [message for label in gone for message in device.forgotten(label)]
        return said

    def rules(self, source: str, rules: Sequence[LabelRule]) -> list[Message]:
        """The thresholds and switches of a source as they are now."""
        device = self._devices.get(source)
        if device is None:
            return []
        mine = self._labels[source]
        return [said for rule in rules if rule.name in mine for said in device.rule(rule)]

    def event(self, event: Event) -> list[Message]:
        """A phase of an event."""
        device = self._devices.get(event.source)
        return [] if device is None else [device.event(event)]

    def scores(self, source: str, names: Sequence[str], scores: FrameScores) -> list[Message]:
        """The highest scores since the last time, about once a second."""
        device = self._devices.get(source)
        if device is None or not len(scores):
            return []
        peaks = self._peaks.setdefault(source, {})
        for name, score in zip(names, scores.max(axis=0).tolist(), strict=True):
            peaks[name] = max(score, peaks.get(name, 0.0))
        now_s = self._clock()
        if now_s - self._told_s.get(source, -SCORES_S) < SCORES_S:
            return []
        self._told_s[source] = now_s
        self._peaks[source] = {}
        mine = self._labels[source]
        return device.scores({name: peak for name, peak in peaks.items() if name in mine})
