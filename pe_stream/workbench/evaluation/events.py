"""Figures of events: what the tracker of `pe-stream detect` makes of scores, against the truth."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace

import numpy as np
from numpy.typing import NDArray

from pe_stream.core.replay import replay
from pe_stream.core.smoothing import SmoothRun
from pe_stream.core.types import FRAME_NS, FRAME_S, LabelRule, ScoreRun
from pe_stream.workbench.evaluation.scoring import Sounds, System
from pe_stream.workbench.evaluation.truth import Span

SWEEP = tuple(1 / (1 + np.exp(-np.arange(-8.0, 8.01, 0.25))))
"""Thresholds tried for a label, even steps of the logit."""


@dataclass(slots=True)
class Tally:
    """Counts of a label's true and detected events in all files.

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
    """The tracker's events of (frames,) scores of one label: first frame, one past the last."""
    return _runs(ScoreRun(0, scores), rule)


def _runs(track: ScoreRun, rule: LabelRule) -> list[tuple[int, int]]:
    return [
        (event.onset_ns // FRAME_NS, event.offset_ns // FRAME_NS) for event in replay([track], rule)
    ]


def detected(scores: NDArray[np.float32], rule: LabelRule, duration_s: float) -> list[Span]:
    """The same as `pe-stream detect` tells them: in seconds, none beyond the end of the file."""
    return _detected(ScoreRun(0, scores), rule, duration_s)


def _detected(track: ScoreRun, rule: LabelRule, duration_s: float) -> list[Span]:
    return [
        Span(onset * FRAME_S, min(offset * FRAME_S, duration_s))
        for onset, offset in _runs(track, rule)
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

    At another threshold the event ends in the same proportion to it.
    """
    return _tally(sounds, _tracks(system, column), system.rules[column], threshold)


def sweep(
    sounds: Sounds, system: System, column: int, thresholds: Iterable[float] = SWEEP
) -> Iterator[tuple[float, Tally]]:
    """The label's tally at each of `thresholds`, in their order; made when it is asked for."""
    tracks = _tracks(system, column)
    for threshold in thresholds:
        yield float(threshold), _tally(sounds, tracks, system.rules[column], float(threshold))


def _tracks(system: System, column: int) -> list[ScoreRun]:
    """A label's scores of every file, smoothed once and not for every threshold."""
    smooth = system.rules[column].smooth
    tracks = [ScoreRun(0, scored.frames[:, column]) for scored in system.scored]
    return [SmoothRun.of(track, smooth) for track in tracks] if smooth > 1 else tracks


def _tally(
    sounds: Sounds, tracks: Iterable[ScoreRun], rule: LabelRule, threshold: float | None
) -> Tally:
    if threshold is not None:
        ratio = rule.off_threshold / rule.threshold
        rule = replace(rule, threshold=threshold, off_threshold=ratio * threshold)
    counts = Tally()
    for track, file, duration_s in zip(tracks, sounds.files, sounds.durations_s, strict=True):
        found = _detected(track, rule, duration_s)
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
