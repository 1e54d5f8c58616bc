"""Phases of labels to events, as the contract has them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from pe_stream.core.intake import Intake
from pe_stream.core.timebase import Segment
from pe_stream.core.tracker import Detection
from pe_stream.core.types import SAMPLE_RATE, Event, Phase


@dataclass(frozen=True, slots=True)
class Origin:
    """Fields that all events of a source share."""

    node: str
    source: str
    checkpoint: str


@dataclass(frozen=True, slots=True)
class _Started:
    """Fields that all phases of an event share: its id, its onset, the latency of its start."""

    id: str
    onset: str
    latency_ms: float


class EventBuilder:
    """The events of one source; single-threaded, pure.

    Frames become UTC and seconds by the segment that they are in. Each label has one open event at
    most: its id is made with the start and forgotten with the end.
    """

    def __init__(self, origin: Origin, new_id: Callable[[], str]) -> None:
        """Begin with no event open. new_id: makes the id of an event."""
        self._origin = origin
        self._new_id = new_id
        self._open: dict[str, _Started] = {}

    def build(
        self, label: str, detection: Detection, segment: Segment, intake: Intake, now_s: float
    ) -> Event:
        """The event of a phase of a label.

        segment, intake: the audio it is in; nothing of it lies after the end of `intake`. now_s:
        the monotonic time at which its scores are handed on, on the clock of `captured_s`.
        Raises KeyError for a label that goes on or ends without having started.
        """
        ended = detection.phase is Phase.END
        onset = segment.sample(detection.onset)
        if detection.phase is Phase.START:
            decided = min(segment.sample(detection.decided), intake.end)
            latency_ms = 1000 * (now_s - intake.captured_s(decided))
            self._open[label] = _Started(self._new_id(), segment.utc(onset), latency_ms)
        started = self._open.pop(label) if ended else self._open[label]
        offset = min(segment.sample(detection.offset), intake.end)
        return Event(
            id=started.id,
            phase=detection.phase,
            node=self._origin.node,
            source=self._origin.source,
            label=label,
            onset=started.onset,
            onset_s=segment.seconds(onset),
            offset=segment.utc(offset) if ended else None,
            offset_s=segment.seconds(offset) if ended else None,
            duration_s=round((offset - onset) / SAMPLE_RATE, 3),
            peak=round(detection.peak, 4),
            peak_s=segment.seconds(segment.sample(detection.peak_frame)),
            mean=round(detection.mean, 4),
            threshold=detection.threshold,
            latency_ms=round(started.latency_ms, 1),
            late=False,
            reason=detection.reason,
            checkpoint=self._origin.checkpoint,
        )
