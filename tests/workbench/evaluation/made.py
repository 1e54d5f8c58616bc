"""Truth and scores of a few frames, made by hand."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from pe_stream.core.types import FRAME_S, FrameScores, LabelRule
from pe_stream.workbench.evaluation.scoring import Scored, Sounds, System
from pe_stream.workbench.evaluation.truth import File, Span

Times = Sequence[tuple[float, float]]


def file(
    name: str, true: Mapping[str, Times] | None = None, near: Mapping[str, Times] | None = None
) -> File:
    spans = [
        {label: tuple(Span(*t) for t in times) for label, times in (given or {}).items()}
        for given in (true, near)
    ]
    return File(Path(name), name, spans[0], spans[1], empty=not true and not near)


def sounds(*files: File, duration_s: float = 10.0) -> Sounds:
    return Sounds(files, (duration_s,) * len(files), ())


def track(frames: int, *parts: tuple[float, float, float], floor: float = 0.0) -> list[float]:
    """Scores of one label: (onset_s, offset_s, score) over a floor."""
    scores = np.full(frames, floor)
    for onset_s, offset_s, score in parts:
        scores[round(onset_s / FRAME_S) : round(offset_s / FRAME_S)] = score
    found: list[float] = scores.tolist()
    return found


def columns(*tracks: Sequence[float]) -> FrameScores:
    return np.array(tracks, np.float32).T


def rule(name: str, threshold: float = 0.5) -> LabelRule:
    """Without any minimum, bridging or maximum: what is above is the event."""
    return LabelRule(name, threshold, 0.8 * threshold)


def system(labels: Sequence[str], *scores: FrameScores, name: str = "pe_stream") -> System:
    return System(name, tuple(map(rule, labels)), [Scored(each, each) for each in scores])
