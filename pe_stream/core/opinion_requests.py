"""What a second opinion on live events is asked about, and in which order; pure."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass

from pe_stream.core.detector import Heard
from pe_stream.core.opinion import choose, excerpt
from pe_stream.core.picture_ring import CameraPicture
from pe_stream.core.ring import Ring
from pe_stream.core.types import SAMPLE_RATE, Event, Phase, Samples

LATEST = 10 * SAMPLE_RATE
"""A peak that is told so much later (10 s) still has all of the sound around it. Of one whose
sound is gone, what has just been heard stands for it."""


@dataclass(frozen=True, slots=True, eq=False)
class EventExcerpt:
    """The sound around an event's peak. samples: (n,); none where it is gone.

    span_s: from its first to its last second, counted as the event's `onset_s`. pictures: JPEGs
    of that time, in order; none where there were none.
    """

    event_id: str
    label: str
    samples: Samples
    span_s: tuple[float, float]
    pictures: tuple[bytes, ...] = ()


PicturesBetween = Callable[[int, int], Sequence[CameraPicture]]
"""The pictures of a source from one absolute sample up to another, in their order."""


class EventExcerpts:
    """Of one source: the sound around the peaks of its events, as it comes.

    Told of every event, and of what was heard after its events. An event has one excerpt: around
    its highest score so far, once so much has been heard after that, or the segment ends.
    """

    def __init__(
        self,
        before: int,
        after: int,
        pictures: PicturesBetween = lambda _begin, _end: (),
        most: int = 0,
    ) -> None:
        """before, after: samples around a peak. pictures: of the source; most: that are taken."""
        self._before, self._after = before, after
        self._pictures, self._most = pictures, most
        self._ring = Ring(before + after + LATEST)
        self._segment = -1
        self._waiting: dict[str, Event] = {}

    def event(self, event: Event) -> None:
        """A phase of an event of which there is to be an excerpt."""
        if event.phase is Phase.START or event.id in self._waiting:
            self._waiting[event.id] = event

    def heard(self, heard: Heard) -> list[EventExcerpt]:
        """Excerpts that are complete with this."""
        found: list[EventExcerpt] = []
        if heard.segment != self._segment or heard.start != self._ring.end:
            new = {event.id for event in heard.events}
            found += self._take([each for each in self._waiting if each not in new])
            self._segment = heard.segment
            self._ring.restart(heard.start)
        self._ring.append(heard.samples)
        due = [key for key, each in self._waiting.items() if self._span(each)[1] <= self._ring.end]
        return found + self._take(list(self._waiting) if heard.last else due)

    def _take(self, ids: Collection[str]) -> list[EventExcerpt]:
        """The excerpts of events, as far as there is sound."""
        found = []
        for event in [self._waiting.pop(each) for each in ids]:
            begin, end = self._span(event)
            begin, end = max(begin, self._ring.start), min(end, self._ring.end)
            end = max(begin, end)  # all of it may be gone
            span_s = self._seconds(begin), self._seconds(end)
            samples = self._ring.read(begin, end)
            seen = self._seen(begin, end, self._peak(event))
            found.append(EventExcerpt(event.id, event.label, samples, span_s, seen))
        return found

    def _seen(self, begin: int, end: int, peak: int) -> tuple[bytes, ...]:
        """The pictures that stand for these samples: the one nearest to the peak is among them."""
        there = self._pictures(begin, end)
        chosen = choose([each.sample for each in there], self._most, peak)
        return tuple(there[i].jpeg for i in chosen)

    def _peak(self, event: Event) -> int:
        """Absolute sample."""
        peak = self._segment + round(event.peak_s * SAMPLE_RATE)
        if peak < self._ring.start:  # of a pattern, which may take minutes
            peak = self._ring.end - self._after
        return peak

    def _span(self, event: Event) -> tuple[int, int]:
        """First and last sample (exclusive), absolute."""
        begin, end = excerpt(self._peak(event) - self._segment, self._before, self._after)
        return self._segment + begin, self._segment + end

    def _seconds(self, sample: int) -> float:
        return round((sample - self._segment) / SAMPLE_RATE, 3)


@dataclass(frozen=True, slots=True, eq=False)
class OpinionRequest:
    """Something to give an opinion on. asked_s: when that was asked for (monotonic)."""

    excerpt: EventExcerpt
    asked_s: float


class OpinionQueue:
    """Requests, of which the newest is seen to first, and the oldest is given up first."""

    def __init__(self, most: int, wait_s: float) -> None:
        """most: so many wait; wait_s: and so long (s)."""
        self._most, self._wait_s = most, wait_s
        self._waiting: deque[OpinionRequest] = deque()

    def __len__(self) -> int:
        """How many wait."""
        return len(self._waiting)

    def put(self, request: OpinionRequest) -> list[OpinionRequest]:
        """Have one wait; returns those that are given up for it."""
        self._waiting.append(request)
        return self._give_up(len(self._waiting) - self._most)

    def expired(self, now_s: float) -> list[OpinionRequest]:
        """Give up those that have waited for too long. now_s: monotonic."""
        return self._give_up(sum(self.is_late(each, now_s) for each in self._waiting))

    def is_late(self, request: OpinionRequest, now_s: float) -> bool:
        """Whether an opinion on it would come too late."""
        return now_s - request.asked_s > self._wait_s

    def take(self) -> OpinionRequest | None:
        """The newest; None where none waits."""
        return self._waiting.pop() if self._waiting else None

    def _give_up(self, count: int) -> list[OpinionRequest]:
        return [self._waiting.popleft() for _ in range(count)]
