"""Labels by the clock: which rule of a label is in force, and when another one is."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import datetime
from functools import partial

from pe_stream.config import LabelSettings
from pe_stream.core.types import LabelRule
from pe_stream.local_time import LocalTime


class Schedules:
    """The schedules of labels. Single-threaded.

    recommended: the checkpoint's thresholds, by label. at: the moment (aware) whose rules are in
    force already. Raises ConfigError where a schedule cannot be followed.
    """

    def __init__(
        self,
        labels: Mapping[str, LabelSettings],
        recommended: Mapping[str, float],
        local: LocalTime,
        at: datetime,
    ) -> None:
        """Begin at a moment."""
        self._labels = {name: label for name, label in labels.items() if label.schedule}
        self._recommended = recommended
        self._local = local
        for label in self._labels.values():
            for entry in label.schedule:
                local.holds(entry.span, at)  # sooner than at its hour
        self._in_force = {
            name: label.scheduled(partial(local.holds, at=at))
            for name, label in self._labels.items()
        }

    def follow(self, at: datetime, change: Callable[[str, LabelRule], None]) -> None:
        """Call `change` with each label under another rule than before, and that rule.

        Where it raises, that label is tried again the next time.
        """
        for name, label in self._labels.items():
            holds = partial(self._local.holds, at=at)
            entry = label.scheduled(holds)
            if entry != self._in_force[name]:
                change(name, label.rule(name, self._recommended.get(name), holds))
                self._in_force[name] = entry
