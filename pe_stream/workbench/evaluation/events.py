"""Figures of events: what the tracker of `pe-stream detect` makes of scores, against the truth."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace

import numpy as np
from numpy.typing import NDArray

from pe_stream.config.labels import OFF_RATIO
from pe_stream.core.tracker import Tracker
from pe_stream.core.types import FRAME_S, LabelRule, Phase
from pe_stream.workbench.evaluation.scoring import Sounds, System
from pe_stream.workbench.evaluation.truth import Span

SWEEP = tuple(1 / (1 + np.exp(-np.arange(-8.0, 8.01, 0.25))))
"""Thresholds tried for a label, even steps of the logit."""


@dataclass(slots=True)
class Tally:
    """What became of a label's true and detected events in all files.

    onset_errors_s: detected less true onset, of the true events that were found.
    false, false_empty: detected events where nothing of the label sounds, nor anything near to
        it; in all files, and in the empty ones.
    """

    true: int = 0
    found: int = 0
    false: int = 0
    false_empty: int = 0
    onset_errors_s: list[float] = field(default_factory=list)

    @property
    def recall(self) -> float | None:
        """Part of the true events that were found."""
        return self.found / self.true if self.true else None


def runs(scores: NDArray[np.float32], rule: LabelRule) -> list[tuple[int, int]]:
    """The tracker's events of (frames,) scores of one label: first frame, one past the last.

    The tracker is led from one frame above `off_threshold` to the next: where there is no run, it
    does nothing with those between.
    """
    tracker = Tracker(rule)
    exact = scores.astype(np.float64)  # as the detector compares them
    above = np.flatnonzero(exact >= rule.off_threshold)
    frames, values = len(exact), exact.tolist()
    said = []
    frame = 0
    while frame < frames:
        if tracker.onset is None:
            following = int(np.searchsorted(above, frame))
            if following == len(above):
                break
            frame = int(above[following])
        said += tracker.step(frame, values[frame])
        frame += 1
    said += tracker.close(None)
    return [(d.onset, d.offset) for d in said if d.phase is Phase.END]


def detected(scores: NDArray[np.float32], rule: LabelRule, duration_s: float) -> list[Span]:
    """The same as `pe-stream detect` tells them: in seconds, none beyond the end of the file."""
    return [
        Span(onset * FRAME_S, min(offset * FRAME_S, duration_s))
        for onset, offset in runs(scores, rule)
    ]


def matches(found: Sequence[Span], true: Sequence[Span]) -> list[tuple[Span, Span]]:
    """Pairs of a detected and a true event that overlap, each in one pair at most.

    Those whose onsets are nearest to each other are paired first.
    """
    pairs = [(f, t) for f in found for t in true if f.overlaps(t)]
    pairs.sort(key=lambda pair: abs(pair[0].onset_s - pair[1].onset_s))
    taken: list[tuple[Span, Span]] = []
    for f, t in pairs:
        if all(f is not other and t is not its for other, its in taken):
            taken.append((f, t))
    return taken


def tally(sounds: Sounds, system: System, column: int, threshold: float | None = None) -> Tally:
    """Count a label's events over all files, at its own threshold or another.

    At another threshold the event ends at OFF_RATIO of it, as in the configuration.
    """
    rule = system.rules[column]
    if threshold is not None:
        rule = replace(rule, threshold=threshold, off_threshold=OFF_RATIO * threshold)
    counts = Tally()
    for scored, file, duration_s in zip(
        system.scored, sounds.files, sounds.durations_s, strict=True
    ):
        found = detected(scored.frames[:, column], rule, duration_s)
        true = file.true.get(rule.name, ())
        pairs = matches(found, true)
        around = (*true, *file.near.get(rule.name, ()))
        false = sum(not any(event.overlaps(span) for span in around) for event in found)
        counts.true += len(true)
        counts.found += len(pairs)
        counts.false += false
        counts.false_empty += false if file.empty else 0
        counts.onset_errors_s += [f.onset_s - t.onset_s for f, t in pairs]
    return counts


def sweep(sounds: Sounds, system: System, column: int) -> Iterator[tuple[float, Tally]]:
    """The label's tally at each of SWEEP, lowest threshold first."""
    for threshold in SWEEP:
        yield float(threshold), tally(sounds, system, column, float(threshold))
