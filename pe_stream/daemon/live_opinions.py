"""Second opinions on events of live sources: what is asked, and what becomes of the answers."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace

from pe_stream.config import SecondOpinionSettings
from pe_stream.core.detector import Heard
from pe_stream.core.listener import Listener
from pe_stream.core.opinion import OpinionStatus
from pe_stream.core.opinion_requests import EventExcerpts, PicturesBetween
from pe_stream.core.opinion_vectors import OpinionProbe, OpinionVectors
from pe_stream.core.types import SAMPLE_RATE, Event, Phase, SecondOpinion
from pe_stream.daemon.active_labels import ActiveLabels
from pe_stream.pipeline.live import Live
from pe_stream.pipeline.opinion_service import OpinionService


class LiveOpinions(Listener):
    """Has an opinion given on each event, and told, whenever it comes.

    Listens for events and their sound like any output; nothing that it does holds up anybody. Its
    state is the scoring thread's.
    """

    def __init__(
        self,
        settings: SecondOpinionSettings,
        labels: ActiveLabels,
        live: Live,
        listeners: Listener,
        on_failure: Callable[[BaseException], None],
        *,
        pictures: Mapping[str, PicturesBetween],
        keep: Callable[[str, OpinionVectors], None] | None = None,
    ) -> None:
        """Prepare; nothing is asked before `start`.

        labels: those in force. live: has the scoring thread. listeners: told of opinions, on that.
        on_failure, keep: see OpinionService. pictures: by source, of those that have any.
        """
        self._pictures, self._most = pictures, settings.pictures
        self._labels, self._live, self._listeners = labels, live, listeners
        self._around = round(settings.before_s * SAMPLE_RATE), round(settings.after_s * SAMPLE_RATE)
        self._service = OpinionService(
            settings,
            lambda: labels.settings.asked_labels,
            self._answered,
            on_failure,
            keep,
            sees=bool(pictures),
        )
        self._excerpts: dict[str, EventExcerpts] = {}
        # Events that go on, or are being asked about; as they were last told.
        self._events: dict[str, Event] = {}

    @property
    def status(self) -> OpinionStatus:
        """How it does; on any thread."""
        return self._service.status

    def start(self) -> None:
        """Begin to ask."""
        self._service.start()

    def stop(self) -> None:
        """Ask no more; what is not answered yet is left."""
        self._service.stop()

    def probe(self, text: str) -> OpinionProbe:
        """A text to search by; on any thread. As of OpinionService."""
        return self._service.probe(text)

    def completed(self, event: Event) -> Event:
        """An event with the opinion on it, where there is one by now."""
        known = self._events.get(event.id)
        return event if known is None else replace(event, second_opinion=known.second_opinion)

    def awaits(self, event: Event) -> bool:
        """Whether there will be an opinion on an event, or word that there is none."""
        known = self._events.get(event.id)
        return known is not None and known.second_opinion is None

    def event(self, event: Event) -> None:
        """Remember it, if it gets an opinion; what was open in the last run gets none."""
        begins = event.phase is Phase.START and self._labels.settings.has_opinion(event.label)
        if not begins and event.id not in self._events:
            return
        self._events[event.id] = event
        self._of(event.source).event(event)
        if event.phase is Phase.END and event.second_opinion is not None:
            del self._events[event.id]

    def scores(self, source: str, names: Sequence[str], heard: Heard) -> None:  # noqa: ARG002 - a part of the protocol
        """Ask about events of which all sound has come."""
        for excerpt in self._of(source).heard(heard):
            if len(excerpt.samples):
                self._service.ask(excerpt)
            else:
                self._take(excerpt.event_id, None)

    def _of(self, source: str) -> EventExcerpts:
        if source not in self._excerpts:
            seen = (self._pictures[source], self._most) if source in self._pictures else ()
            self._excerpts[source] = EventExcerpts(*self._around, *seen)
        return self._excerpts[source]

    def _answered(self, event_id: str, opinion: SecondOpinion | None) -> None:
        self._live.between_scorings(lambda: self._take(event_id, opinion))

    def _take(self, event_id: str, opinion: SecondOpinion | None) -> None:
        """Tell an event's opinion; None: there is none. On the scoring thread."""
        event = self._events.pop(event_id)
        if opinion is None:
            self._listeners.opinion_given_up(event)
            return
        event = replace(event, second_opinion=opinion)
        if event.phase is not Phase.END:  # its end will have it, too
            self._events[event_id] = event
        self._listeners.opinion(event)
