"""Stored scores to calibrate on, and what somebody said of the events that they made."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import datetime

from pe_stream.config import Settings
from pe_stream.core.types import FRAME_S, ScoreRun
from pe_stream.core.utc import utc_ns, utc_text
from pe_stream.labels.fingerprint import CheckpointFacts
from pe_stream.storage import events
from pe_stream.storage.event_queries import EventFilter, EventQueries
from pe_stream.workbench.calibration.propose import STILL_S, moving
from pe_stream.workbench.calibration.stored_scores import TimeRange, database, read_label_scores

SILENT = "only silence was heard, as its scores never move: is the microphone muted?"

_MARGIN_NS = 10**9


@dataclass(slots=True)
class Material:
    """Scores of one label.

    hop: frames between scorings. streams: scores of each source. true: spans (UTC, ns) of events
    marked right, beside them. lacks: by source, why there are no scores.
    """

    hop: int
    streams: list[list[ScoreRun]] = field(default_factory=list)
    true: list[list[tuple[int, int]]] = field(default_factory=list)
    lacks: dict[str, str] = field(default_factory=dict)

    def add(self, source: str, runs: list[ScoreRun], lack: str | None = None) -> None:
        """Take a source's scores, if it was heard at all."""
        left = moving(runs, self.hop)
        frames, all_frames = (sum(len(run.scores) for run in each) for each in (left, runs))
        # Between silence and silence, scores still move for a window.
        if frames and (frames == all_frames or frames * FRAME_S >= STILL_S):
            self.streams.append(left)
            self.true.append([])
        else:
            self.lacks[source] = lack or SILENT


def stored(
    settings: Settings, known: CheckpointFacts, sources: Sequence[str], stretch: TimeRange
) -> Callable[[str], Material]:
    """What reads a label's stored scores, with the verdicts on their events.

    One label at a time: a day of one source takes 9 MB. Both raise UnavailableError.
    """
    path = database(settings)

    def read(name: str) -> Material:
        material = Material(round(settings.model.hop_s / FRAME_S))
        for source in sources:
            if not settings.hears(source, name):
                continue
            label = settings.labels[name]
            scores = read_label_scores(
                path, known.identity, stretch, source=source, name=name, label=label
            )
            material.add(source, scores.runs, scores.lack)
            if source not in material.lacks:
                material.true[-1] = _marked_right(settings, source, name, stretch)
        return material

    return read


def _marked_right(
    settings: Settings, source: str, label: str, stretch: TimeRange
) -> list[tuple[int, int]]:
    """Spans of the events that somebody said were true, with a second around each."""
    path = events.path_of(settings.store)
    if not settings.store.enabled or not path.is_file():
        return []
    since, until = (utc_text(at) for at in (stretch.since, stretch.until))
    asked = EventFilter(since=since, until=until, source=source, label=label, verdict="right")
    spans = []
    for entry in EventQueries(path).events(asked):
        onset_ns = utc_ns(datetime.fromisoformat(entry.event["onset"]))
        end_ns = onset_ns + round(entry.event["duration_s"] * 1e9)
        spans.append((onset_ns - _MARGIN_NS, end_ns + _MARGIN_NS))
    return spans
