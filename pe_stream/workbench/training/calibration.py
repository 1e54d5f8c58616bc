"""Scores that mean something: scale and bias of the logits, and thresholds of everyday labels.

Both are fitted on soundscapes whose onsets and offsets are known, made of clips that were not
trained on, through the pipeline of `pe-stream detect`.
"""

from __future__ import annotations

import json
import logging
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors.torch import load_file, save_file
from torch.nn import functional as F  # noqa: N812 - as everywhere

from pe_stream.config import OFF_RATIO, LabelSettings, ModelSettings
from pe_stream.errors import UnavailableError
from pe_stream.pipeline.scorer import prepare
from pe_stream.workbench import manifest
from pe_stream.workbench.evaluation import promptset, truth
from pe_stream.workbench.evaluation.curves import logit
from pe_stream.workbench.evaluation.events import Tally, sweep, tally
from pe_stream.workbench.evaluation.scoring import Scored, Sounds, System, score
from pe_stream.workbench.evaluation.strong import asked_frames
from pe_stream.workbench.evaluation.truth import Truth
from pe_stream.workbench.training.export import THRESHOLDS

log = logging.getLogger(__name__)

HOP_S = 0.96
"""Between scorings: twice the default, so twice as fast, and near enough."""

_NEAR_BEST = 0.97
"""The middle of all thresholds whose F1 is this part of the best is more stable than the best."""

FALSE_ALARMS_PER_HOUR = 0.5
"""False alarms of a label on background alone, at most, at its recommended threshold."""

_MARGINS = (4, 2, 1, 0)
"""Steps of the sweep, of 0.25 in the logit each, that a threshold is above false alarms: other
backgrounds will be somewhat louder."""

_WORTH = 0.7
"""The most of them that leaves this part of the F1 that is reached without."""

_LOWEST, _HIGHEST = 0.001, 0.999
"""Thresholds beyond are for scores that say nothing."""


def scenes(folder: Path) -> Truth:
    """The everyday labels' true events in a folder of soundscapes, real or made.

    Raises UnavailableError where there are none with known onsets.
    """
    found = truth.find(manifest.read(folder), promptset.shipped("everyday"))
    if not found.strong or not any(file.true or file.made for file in found.files):
        raise UnavailableError(
            f"{folder}: no everyday sound with a known onset; make some with pe-stream soundscapes"
        )
    return found


def calibrate(checkpoint: Path, found: Truth, device: str, threads: int | None) -> None:
    """Set the logits' scale and bias of `checkpoint`, and write its thresholds.json."""
    labels = promptset.shipped("everyday")
    settings = {label.name: LabelSettings(prompts=(label.plain,)) for label in labels}
    model = ModelSettings(checkpoint=str(checkpoint), hop_s=HOP_S, device=device, threads=threads)
    scorer = prepare(model, settings)
    system = System(str(checkpoint), tuple(replace(r, smooth=1) for r in scorer.labels.rules))
    sounds = score(found, scorer, system)
    sounds = made_where_none_is_real(sounds)
    slope, offset = fit_logits(*_logits(sounds, system))
    # 0.5 is to be what half of the labels need: the middle of the thresholds that find something.
    chosen = _choices(sounds, _rescaled(system, slope, offset), smooth_s=(0.0,))
    useful = [choice.threshold for choice in chosen.values() if choice.f1 > 0]
    if useful:
        offset -= float(np.median(logit(np.array(useful))))
    log.info("logits times %.3f plus %.3f", slope, offset)
    rescale(checkpoint / "model.safetensors", slope, offset)
    system = _rescaled(system, slope, offset)
    chosen = with_off_threshold(sounds, system, _choices(sounds, system))
    recommended = {name: choice.recommended for name, choice in chosen.items()}
    text = json.dumps({"labels": recommended}, indent=2) + "\n"
    (checkpoint / THRESHOLDS).write_text(text, "utf-8")


SMOOTH_S = (0.0, 0.6, 1.0)
"""Means of scores that are tried (s)."""

OFF_RATIOS = (OFF_RATIO, 0.5, 0.35, 0.25)
"""Off thresholds that are tried, as parts of thresholds. A score rises over some frames: the lower
this is, the further back an event's onset is placed; but events that follow each other merge."""


@dataclass(frozen=True, slots=True)
class Choice:
    """A threshold, over means of so many seconds, and what it reaches.

    f1, recall: of events. false_alarms_per_hour: in the empty files.
    """

    threshold: float
    f1: float
    recall: float
    false_alarms_per_hour: float
    smooth_s: float = 0.0
    off_ratio: float = OFF_RATIO

    @property
    def recommended(self) -> dict[str, float]:
        """As in thresholds.json."""
        return {
            "threshold": round(self.threshold, 3),
            "off_threshold": round(self.off_ratio * self.threshold, 4),
            **({"smooth_s": self.smooth_s} if self.smooth_s else {}),
            "recall": round(self.recall, 2),
            "false_alarms_per_hour": round(self.false_alarms_per_hour, 2),
        }


def made_where_none_is_real(sounds: Sounds) -> Sounds:
    """Judged by made sounds where a label has no real ones: better than no threshold at all."""
    real = {label for file in sounds.files for label in file.true}
    return sounds.of_made(set(sounds.made) - real)


def smoothest(
    sounds: Sounds, system: System, column: int, smooth_s: Sequence[float] = SMOOTH_S
) -> Choice | None:
    """The threshold to recommend for a label, and the least of smooth_s that is about the best."""
    best: Choice | None = None
    for seconds in smooth_s:
        choice = _swept(sounds, system, column, seconds, OFF_RATIO)
        if choice is None:
            return None
        if best is None or choice.f1 > best.f1 / _NEAR_BEST:
            best = choice
    return best


def with_off_threshold(
    sounds: Sounds, system: System, chosen: Mapping[str, Choice]
) -> dict[str, Choice]:
    """The choices for labels at the part of their thresholds below which events are to end.

    One of OFF_RATIOS for all: of those with about the best mean F1, the one with which the median
    onset is nearest to the true one. A label's own few events could not tell.
    """
    columns = [n for n, rule in enumerate(system.rules) if rule.name in chosen]
    tried: dict[float, tuple[float, float, dict[str, Choice]]] = {}
    for ratio in OFF_RATIOS:
        choices: dict[str, Choice] = {}
        errors_s: list[float] = []
        for column in columns:
            name = system.rules[column].name
            smooth_s = chosen[name].smooth_s
            choice = _swept(sounds, system, column, smooth_s, ratio) or chosen[name]
            choices[name] = choice
            at = _ruled(system, column, smooth_s, ratio)
            errors_s += tally(sounds, at, column, choice.threshold).onset_errors_s
        f1 = float(np.mean([choice.f1 for choice in choices.values()])) if choices else 0.0
        error_s = float(np.median(np.abs(errors_s))) if errors_s else math.inf
        log.info("off at %g of thresholds: F1 %.3f, onset error %.3f s", ratio, f1, error_s)
        tried[ratio] = f1, error_s, choices
    best = max(f1 for f1, _, _ in tried.values())
    good = [some for some in tried.values() if some[0] >= _NEAR_BEST * best]
    return min(good, key=lambda some: some[1])[2]


def _swept(
    sounds: Sounds, system: System, column: int, smooth_s: float, off_ratio: float
) -> Choice | None:
    ruled = _ruled(system, column, smooth_s, off_ratio)
    choice = best_threshold(list(sweep(sounds, ruled, column)), sounds.empty_hours)
    return choice and replace(choice, smooth_s=smooth_s, off_ratio=off_ratio)


def _ruled(system: System, column: int, smooth_s: float, off_ratio: float) -> System:
    rules = list(system.rules)
    rule = rules[column]
    smooth = LabelSettings(smooth_s=smooth_s).rule("").smooth
    rules[column] = replace(rule, smooth=smooth, off_threshold=off_ratio * rule.threshold)
    return replace(system, rules=tuple(rules))


def _choices(
    sounds: Sounds, system: System, smooth_s: Sequence[float] = SMOOTH_S
) -> dict[str, Choice]:
    """Recommendations for the labels that sound in the files."""
    chosen = {}
    for column, rule in enumerate(system.rules):
        choice = smoothest(sounds, system, column, smooth_s)
        if choice is None:
            log.warning("%s never sounds in these files: no threshold to recommend", rule.name)
            continue
        chosen[rule.name] = choice
        if not choice.f1:
            log.warning("%s is never found: background scores as high", rule.name)
    return chosen


def fit_logits(
    logits: Sequence[NDArray[np.floating[Any]]], truths: Sequence[NDArray[np.bool_]]
) -> tuple[float, float]:
    """The (slope, offset) with which `logits` best tell `truths`; a pair of arrays a label.

    Platt's logistic fit. Every label weighs the same, however many frames it is asked about.
    Raises UnavailableError where no label is both there and not there.
    """
    pairs = [
        (torch.from_numpy(x).double(), torch.from_numpy(y).double())
        for x, y in zip(logits, truths, strict=True)
        if y.any() and not y.all()
    ]
    if not pairs:
        raise UnavailableError("nothing to calibrate by: no label is present in some frames only")
    weights = torch.zeros(2, dtype=torch.float64, requires_grad=True)
    optimizer = torch.optim.LBFGS([weights], max_iter=100, line_search_fn="strong_wolfe")

    def loss() -> torch.Tensor:
        optimizer.zero_grad()
        slope, offset = weights[0].exp(), weights[1]
        parts = [F.binary_cross_entropy_with_logits(slope * x + offset, y) for x, y in pairs]
        total = torch.stack(parts).mean()
        total.backward()
        return total

    optimizer.step(loss)
    return float(weights[0].detach().exp()), float(weights[1].detach())


def best_threshold(points: Sequence[tuple[float, Tally]], empty_hours: float) -> Choice | None:
    """Of a label's tallies by threshold, the threshold to recommend; None where it never sounds.

    Only thresholds count that raise at most FALSE_ALARMS_PER_HOUR in the `empty_hours` of empty
    files, if it does not cost too much also some steps below (_MARGINS, _WORTH). Of these it is the
    middle of those of about the best F1 of events. Where none of them finds anything, it is the
    lowest of them, or, where there are none, the highest of all: a label that cannot be told from
    background is to be quiet.
    """
    if not any(counts.true for _, counts in points):
        return None
    most = FALSE_ALARMS_PER_HOUR * empty_hours

    def quiet(margin: int) -> list[tuple[float, Tally]]:
        return [
            (at, counts)
            for i, (at, counts) in enumerate(points)
            if _LOWEST <= at <= _HIGHEST and points[max(0, i - margin)][1].false_empty <= most
        ]

    bare = quiet(0)
    reached = _best(bare)
    if not reached:
        usable = [point for point in points if _LOWEST <= point[0] <= _HIGHEST]
        return _choice(bare[0] if bare else usable[-1], empty_hours)
    margins = (quiet(margin) for margin in _MARGINS)
    chosen = next(some for some in margins if _best(some) >= _WORTH * reached)
    good = [point for point in chosen if _f1(point[1]) >= _NEAR_BEST * _best(chosen)]
    return _choice(good[len(good) // 2], empty_hours)


def _best(points: Sequence[tuple[float, Tally]]) -> float:
    return max((_f1(counts) for _, counts in points), default=0.0)


def _choice(point: tuple[float, Tally], empty_hours: float) -> Choice:
    threshold, counts = point
    false_alarms = counts.false_empty / empty_hours if empty_hours else 0.0
    return Choice(threshold, _f1(counts), counts.recall or 0.0, false_alarms)


def _f1(counts: Tally) -> float:
    wrong = counts.false + counts.true - counts.found
    return 2 * counts.found / max(1, 2 * counts.found + wrong)


def _logits(
    sounds: Sounds, system: System
) -> tuple[list[NDArray[np.float64]], list[NDArray[np.bool_]]]:
    asked = [asked_frames(sounds, system, column) for column in range(len(system.rules))]
    return [logit(scores) for scores, _ in asked], [truths for _, truths in asked]


def _rescaled(system: System, slope: float, offset: float) -> System:
    def rescaled(scored: Scored) -> Scored:
        frames = 1 / (1 + np.exp(-(slope * logit(scored.frames) + offset)))
        return Scored(frames.astype(np.float32), frames.astype(np.float32))

    return replace(system, scored=[rescaled(scored) for scored in system.scored])


def rescale(weights: Path, slope: float, offset: float) -> None:
    """The model's own scale and bias, times `slope` and plus `offset`."""
    tensors: dict[str, Any] = load_file(weights)
    scale, bias = tensors["text_audio_logit_scale"], tensors["text_audio_logit_bias"]
    tensors["text_audio_logit_scale"] = scale * slope
    tensors["text_audio_logit_bias"] = bias * slope + offset
    save_file(tensors, weights, metadata={"format": "pt"})
