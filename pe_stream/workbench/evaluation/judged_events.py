"""Whether second opinions tell right events from false ones.

What is right is known beforehand: from a manifest, or from what a user marked on the page.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import ceil
from typing import Any

import numpy as np
from tqdm import tqdm

from pe_stream.core.types import FRAME_S, SecondOpinion
from pe_stream.pipeline.second_opinion import LabelMoment, SecondOpinions
from pe_stream.workbench.evaluation.curves import curve
from pe_stream.workbench.evaluation.events import runs
from pe_stream.workbench.evaluation.scoring import Scored, Sounds, System
from pe_stream.workbench.evaluation.truth import File, Span

FIGURES = ("peak", "sound", "picture", "both", "together")
"""What is judged: the peak of an event, beside the four scores of a second opinion."""

KEPT = 0.95
"""Part of the right events that a limit is to leave."""


@dataclass(frozen=True, slots=True)
class JudgedEvent:
    """An event, whether it is right, its peak, and what was made of it."""

    label: str
    right: bool
    peak: float
    opinion: SecondOpinion

    def score(self, figure: str) -> float | None:
        """One of FIGURES; None where there is none."""
        score: float | None = self.peak if figure == "peak" else getattr(self.opinion, figure)
        return score


@dataclass(frozen=True, slots=True)
class _Found:
    """A detected event of a file, before it is asked about."""

    moment: LabelMoment
    right: bool
    peak: float


def of_folder(sounds: Sounds, system: System, opinions: SecondOpinions) -> list[JudgedEvent]:
    """The events that the tracker makes of the scores of every file, at the labels' thresholds.

    Right is what overlaps a true event of its label, false what overlaps nothing near to it either;
    the rest is left out. Reads every file with events once more; raises UnavailableError.
    """
    judged: list[JudgedEvent] = []
    both = zip(sounds.files, system.scored, strict=True)
    for file, scored in tqdm(both, total=len(sounds.files), unit="file", disable=None, leave=False):
        found = _found(file, scored, system)
        if not found:
            continue
        given = opinions.of_moments(str(file.path), [each.moment for each in found])
        judged += [
            JudgedEvent(each.moment.label, each.right, each.peak, opinion)
            for each, opinion in zip(found, given, strict=True)
        ]
    return judged


def _found(file: File, scored: Scored, system: System) -> list[_Found]:
    found = []
    for column, rule in enumerate(system.rules):
        scores = system.frames(scored, column)
        true, near = file.true.get(rule.name, ()), file.near.get(rule.name, ())
        for onset, offset in runs(scored.frames[:, column], rule):
            span = Span(onset * FRAME_S, offset * FRAME_S)
            right = any(span.overlaps(each) for each in true)
            if right or not any(span.overlaps(each) for each in near):
                peak = onset + int(np.argmax(scores[onset:offset]))
                moment = LabelMoment(rule.name, peak * FRAME_S)
                found.append(_Found(moment, right, float(scores[peak])))
    return found


def figures(events: Sequence[JudgedEvent], checkpoint: str) -> dict[str, Any]:
    """How well each of FIGURES tells right from false: of every label that has events, and of all.

    auroc: chance that a right event scores above a false one; None where there are none of either.
    least: the highest limit that leaves KEPT of the right events; false_below: the part of the
    false ones that score less.
    """
    by_label: dict[str, list[JudgedEvent]] = {}
    for event in sorted(events, key=lambda event: event.label):
        by_label.setdefault(event.label, []).append(event)
    return {
        "checkpoint": checkpoint,
        "kept": KEPT,
        "labels": {name: _row(own) for name, own in by_label.items()},
        "all": _row(events),
    }


def _row(events: Sequence[JudgedEvent]) -> dict[str, Any]:
    right = sum(event.right for event in events)
    told: dict[str, Any] = {"right": right, "false": len(events) - right}
    return told | {figure: _of_figure(events, figure) for figure in FIGURES}


def _of_figure(events: Sequence[JudgedEvent], figure: str) -> dict[str, float | None]:
    scored = [(event.score(figure), event.right) for event in events]
    given = [(score, right) for score, right in scored if score is not None]
    scores = np.array([score for score, _ in given])
    truths = np.array([right for _, right in given], bool)
    if truths.all() or not truths.any():
        return {"auroc": None, "least": None, "false_below": None}
    rising = np.sort(scores[truths])
    least = float(rising[len(rising) - ceil(KEPT * len(rising))])
    return {
        "auroc": curve(scores, truths).auroc,
        "least": least,
        "false_below": float((scores[~truths] < least).mean()),
    }
