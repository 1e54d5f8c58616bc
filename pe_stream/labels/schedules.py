"""Labels by the clock: which rule of a label is in force, and when another one is."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import datetime, timedelta
from functools import partial

from pe_stream.config import LabelSettings
from pe_stream.config.local_time import LocalTime
from pe_stream.core.hours import WeeklySpan
from pe_stream.core.types import LabelRule, Recommended


class Schedules:
    """The schedules of labels. Single-threaded.

    recommended: by the checkpoint, by label. at: the moment (aware) whose rules are in
    force already. Raises ConfigError where a schedule cannot be followed.
    """

    def __init__(
        self,
        labels: Mapping[str, LabelSettings],
        recommended: Mapping[str, Recommended],
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


def changes(
    name: str,
    label: LabelSettings,
    recommended: Recommended | None,
    local: LocalTime,
    *,
    since: datetime,
    until: datetime,
) -> list[tuple[datetime, LabelRule]]:
    """The rules of a label that were, or would have been, in force: each from when on.

    The first is from `since` (aware) on. To the minute. Raises ConfigError where the schedule
    cannot be followed.
    """

    def holds(span: WeeklySpan) -> bool:
        return local.holds(span, at)

    at = since
    entry = label.scheduled(holds)
    found = [(at, label.rule(name, recommended, holds))]
    at = at.replace(second=0, microsecond=0)
    while label.schedule and (at := at + timedelta(minutes=1)) < until:
        now = label.scheduled(holds)
        if now != entry:
            entry = now
            found.append((at, label.rule(name, recommended, holds)))
    return found
