"""Scores that mean something: scale and bias of the logits, and thresholds of everyday labels.

Both are fitted on soundscapes whose onsets and offsets are known, made of clips that were not
trained on, through the pipeline of `pe-stream detect`.
"""

from __future__ import annotations

import json
import logging
import os
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors.torch import load_file, save_file
from torch.nn import functional as F  # noqa: N812 - as everywhere

from pe_stream.config import LabelSettings, ModelSettings
from pe_stream.errors import UnavailableError
from pe_stream.pipeline.scorer import prepare
from pe_stream.workbench import manifest
from pe_stream.workbench.evaluation import promptset, truth
from pe_stream.workbench.evaluation.curves import logit
from pe_stream.workbench.evaluation.scoring import Scored, Sounds, System, score
from pe_stream.workbench.evaluation.strong import asked_frames
from pe_stream.workbench.evaluation.truth import Truth
from pe_stream.workbench.training import threshold_search
from pe_stream.workbench.training.export import THRESHOLDS

log = logging.getLogger(__name__)

HOP_S = 0.96
"""Between scorings: twice the default, so twice as fast, and near enough."""


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
    workers = threads or len(os.sched_getaffinity(0))
    chosen = threshold_search.choices(
        sounds, _rescaled(system, slope, offset), workers, smooth_s=(0.0,)
    )
    useful = [choice.threshold for choice in chosen.values() if choice.f1 > 0]
    if useful:
        offset -= float(np.median(logit(np.array(useful))))
    log.info("logits times %.3f plus %.3f", slope, offset)
    rescale(checkpoint / "model.safetensors", slope, offset)
    system = _rescaled(system, slope, offset)
    chosen = threshold_search.with_off_threshold(
        sounds, system, threshold_search.choices(sounds, system, workers), workers
    )
    recommended = {name: choice.recommended for name, choice in chosen.items()}
    text = json.dumps({"labels": recommended}, indent=2) + "\n"
    (checkpoint / THRESHOLDS).write_text(text, "utf-8")


def made_where_none_is_real(sounds: Sounds) -> Sounds:
    """Judged by made sounds where a label has no real ones: better than no threshold at all."""
    real = {label for file in sounds.files for label in file.true}
    return sounds.of_made(set(sounds.made) - real)


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
