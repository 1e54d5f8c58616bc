"""One event to many outputs: in order, and none of them takes the others along."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from pe_stream.core.detector import Heard
from pe_stream.core.level_meter import SoundLevel
from pe_stream.core.listener import LabelsOf, Listener
from pe_stream.core.opinion import in_words
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
        self, on_failure: Callable[[BaseException], None], *completes: Callable[[Event], Event]
    ) -> None:
        """Begin with nobody to tell.

        on_failure: called with what a listener or one of `completes` raised, once it is logged, on
        the thread that told it. completes: what each makes of an event, before anybody is told,
        such as giving it its clip; once one has raised, events are told without it.
        """
        self._on_failure = on_failure
        self._completes = completes
        self._all: tuple[Listener, ...] = ()
        self._changing = threading.Lock()  # of `_all`, which two threads may make shorter

    def complete_by(self, complete: Callable[[Event], Event]) -> None:
        """Have events completed by this, too; before anything happens."""
        self._completes = (*self._completes, complete)

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
        for complete in self._completes:
            try:
                event = complete(event)
            except Exception as error:
                log.exception("completing events has failed: they are told without")
                self._completes = tuple(each for each in self._completes if each is not complete)
                self._on_failure(error)
        self._tell(lambda listener: listener.event(event))

    def opinion(self, event: Event) -> None:
        """Tell all."""
        self._tell(lambda listener: listener.opinion(event))

    def opinion_given_up(self, event: Event) -> None:
        """Tell all."""
        self._tell(lambda listener: listener.opinion_given_up(event))

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

    def opinion(self, event: Event) -> None:
        """A second opinion is one, too."""
        opinion = event.second_opinion
        if opinion is not None:
            log.info(
                "%s: %s at %s: second opinion: %s, in %.1f s",
                event.source,
                event.label,
                event.onset,
                in_words(opinion),
                opinion.took_ms / 1000,
            )
