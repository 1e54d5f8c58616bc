"""One event to many outputs: in order, and none of them takes the others along."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from pe_stream.core.detector import Heard
from pe_stream.core.level_meter import SoundLevel
from pe_stream.core.listener import LabelsOf, Listener
from pe_stream.core.types import Event, LabelRule

log = logging.getLogger(__name__)


class Listeners(Listener):
    """Tells every listener of everything, on the thread that calls: see `Listener`.

    Each event goes to all of them, in their order, before the next one goes to any. A listener that
    raises gets no further calls, as nobody knows what state it is in; the others are told all the
    same, also the ends of open events while the daemon stops. Every error is logged, and
    `on_failure` ends the daemon.
    """

    def __init__(
        self, on_failure: Callable[[BaseException], None], clipped: Callable[[Event], Event]
    ) -> None:
        """Begin with nobody to tell.

        on_failure: called with what a listener or `clipped` raised, once it is logged, on the
        thread that told it. clipped: gives an event its clip, before anybody is told; once it has
        raised, events are told without.
        """
        self._on_failure = on_failure
        self._clipped = clipped
        self._all: tuple[Listener, ...] = ()
        self._changing = threading.Lock()  # of `_all`, which two threads may make shorter

    def set(self, *listeners: Listener) -> None:
        """Tell these from now on, in this order; before anything happens."""
        self._all = listeners

    def labels(self, of: LabelsOf, keys: Mapping[str, str]) -> None:
        """Tell all."""
        self._tell(lambda listener: listener.labels(of, keys))

    def rules(self, source: str, rules: Sequence[LabelRule]) -> None:
        """Tell all."""
        self._tell(lambda listener: listener.rules(source, rules))

    def event(self, event: Event) -> None:
        """Tell all."""
        try:
            event = self._clipped(event)
        except Exception as error:
            log.exception("naming clips has failed: events are told without")
            self._clipped = _without_clip
            self._on_failure(error)
        self._tell(lambda listener: listener.event(event))

    def scores(self, source: str, names: Sequence[str], heard: Heard) -> None:
        """Tell all."""
        self._tell(lambda listener: listener.scores(source, names, heard))

    def level(self, source: str, level: SoundLevel) -> None:
        """Tell all."""
        self._tell(lambda listener: listener.level(source, level))

    def health(self, source: str, health: Mapping[str, Any]) -> None:
        """Tell all."""
        self._tell(lambda listener: listener.health(source, health))

    def _tell(self, tell: Callable[[Listener], None]) -> None:
        for listener in self._all:
            try:
                tell(listener)
            except Exception as error:
                log.exception("%s has failed and gets no further events", type(listener).__name__)
                with self._changing:
                    self._all = tuple(each for each in self._all if each is not listener)
                self._on_failure(error)


class EventLog(Listener):
    """Every phase of an event is a line of the log."""

    def event(self, event: Event) -> None:
        """Write it."""
        log.info(
            "%s: %s %s at %s, %.2f s, peak %.2f",
            event.source,
            event.label,
            event.phase,
            event.onset,
            event.duration_s,
            event.peak,
        )


def _without_clip(event: Event) -> Event:
    return event
