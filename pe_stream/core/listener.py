"""The protocol of the daemon's outputs: events, scores, rules, labels and health."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from pe_stream.core.detector import Heard
from pe_stream.core.level_meter import SoundLevel
from pe_stream.core.types import Event, LabelRule

LabelsOf = Mapping[str, Sequence[str]]
"""The labels that each source is listened to for, by source."""


class Listener:
    """Hears what happens; each method does nothing unless it is overridden.

    Calls come in the order in which things happen. All but `health` come one at a time; `health`
    may come while another goes on, on another thread. None may take long: scoring waits meanwhile.
    What a method raises ends the scoring; in the daemon, see `daemon.listeners`.
    """

    def labels(self, of: LabelsOf, keys: Mapping[str, str]) -> None:
        """Labels are in force: at the start, and whenever there are others.

        On the main thread before the scoring begins, then on the scoring thread; after the last
        event of labels that are gone, and before the rules of the new ones.
        keys: by label, a fingerprint of what makes its scores; see `labels.prepare.PreparedLabels`.
        """

    def rules(self, source: str, rules: Sequence[LabelRule]) -> None:
        """The rules of a source, one for each column of its scores, as they are in force.

        At the start and whenever they change; thresholds that follow the room at most once a
        minute. On the main thread before the scoring begins, then on the scoring thread.
        """

    def event(self, event: Event) -> None:
        """A phase of an event. On the scoring thread; on the main thread once that has ended.

        `late` and with reason "restart": the end of what the last run left open.
        """

    def opinion(self, event: Event) -> None:
        """The second opinion on an event: the event as it was last told, with that in it.

        On the scoring thread; once for an event that has one. Phases that are told later have it.
        """

    def opinion_given_up(self, event: Event) -> None:
        """There will be no second opinion on an event for which one was asked; as it was last told.

        On the scoring thread.
        """

    def scores(self, source: str, names: Sequence[str], heard: Heard) -> None:
        """Frames of a source that became final, after their events. On the scoring thread.

        names: of the columns of `heard.scores`.
        """

    def level(self, source: str, level: SoundLevel) -> None:
        """The level of a second of a source, or of less where its sound broke off.

        On the scoring thread, when it has come: before its scores. Where levels are measured.
        """

    def health(self, source: str, health: Mapping[str, Any]) -> None:
        """How a source does, as MQTT says it: on change, and now and then. On the main thread."""
