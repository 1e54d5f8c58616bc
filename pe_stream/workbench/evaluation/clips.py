"""Figures of clips with weak labels: a score for the whole clip, and which label is highest."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pe_stream.core.types import FrameScores
from pe_stream.workbench.evaluation.curves import Curve, curve, logit
from pe_stream.workbench.evaluation.scoring import Sounds, System
from pe_stream.workbench.evaluation.truth import File

POOLINGS = ("mean_probability", "max", "mean_logit")
"""How frames make the score of a clip; the first is the main one."""


def figures(sounds: Sounds, system: System, labels: Sequence[str]) -> dict[str, Any]:
    """Top-1, mAP and per-label figures of a system's main pooling; the summary of the others.

    top1: clips (of those with a label) in which one of their labels is the highest; labels to
        which the clip is near are not asked. top1 of a label: the same over its clips.
    ap, auroc: over the clips that are the label's or not near to it; clips without any sound
        count as none of it. Labels without clips have no figures and are in no mean.

    Labels to which the system is deaf have no figures either, are never the highest, and clips of
    theirs alone are in no top1.
    """
    by_pooling = {
        pooling: _figures(sounds, clip_scores(system, pooling), labels, system.deaf)
        for pooling in POOLINGS
    }
    main = by_pooling[POOLINGS[0]]
    main["poolings"] = {pooling: found["summary"] for pooling, found in by_pooling.items()}
    return main


def clip_scores(system: System, pooling: str) -> NDArray[np.float64]:
    """The scores of all clips, (clips, labels)."""
    return np.stack([_pool(scored.steps, pooling) for scored in system.scored])


def clip_curves(
    files: Sequence[File], scores: NDArray[np.float64], labels: Sequence[str]
) -> dict[str, Curve]:
    """The curve of every label over its clips, from scores (clips, labels)."""
    curves = {}
    for column, label in enumerate(labels):
        true = np.array([label in file.true for file in files])
        asked = true | np.array([label not in file.near for file in files])
        if asked.any():
            curves[label] = curve(scores[asked, column], true[asked])
    return curves


def _pool(steps: FrameScores, pooling: str) -> NDArray[np.float64]:
    scores = steps.astype(np.float64)
    if pooling == "max":
        found: NDArray[np.float64] = scores.max(axis=0)
    elif pooling == "mean_logit":
        found = logit(scores).mean(axis=0)
    else:
        found = scores.mean(axis=0)
    return found


def _figures(
    sounds: Sounds, scores: NDArray[np.float64], labels: Sequence[str], deaf: frozenset[str]
) -> dict[str, Any]:
    curves = clip_curves(sounds.files, scores, labels)
    right = _right(sounds.files, scores, labels, deaf)
    rows: dict[str, dict[str, Any]] = {}
    for label in labels:
        mine = [hit for file, hit in zip(sounds.files, right, strict=True) if label in file.true]
        if not mine:
            rows[label] = {"clips": 0, "ap": None, "auroc": None, "top1": None}
            continue
        known = label not in deaf
        rows[label] = {
            "clips": len(mine),
            "ap": curves[label].average_precision if known else None,
            "auroc": curves[label].auroc if known else None,
            "top1": float(np.mean([bool(hit) for hit in mine])) if known else None,
        }
    asked = [hit for hit in right if hit is not None]
    return {
        "summary": {
            "top1": float(np.mean(asked)) if asked else None,
            "map": mean(row["ap"] for row in rows.values()),
            "auroc": mean(row["auroc"] for row in rows.values()),
        },
        "labels": rows,
    }


def _right(
    files: Sequence[File],
    scores: NDArray[np.float64],
    labels: Sequence[str],
    deaf: frozenset[str],
) -> list[bool | None]:
    """Whether the highest label is one of the clip's; None of clips that have none."""
    right: list[bool | None] = []
    for file, row in zip(files, scores, strict=True):
        unasked = [
            label in deaf or (label in file.near and label not in file.true) for label in labels
        ]
        best = labels[int(np.argmax(np.where(unasked, -np.inf, row)))]
        right.append(best in file.true if file.true.keys() - deaf else None)
    return right


def mean(values: Any) -> float | None:
    """The mean of those values that are not None; None where there are none."""
    there = [value for value in values if value is not None]
    return float(np.mean(there)) if there else None
