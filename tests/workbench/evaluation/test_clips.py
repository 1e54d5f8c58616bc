"""Figures of weakly labelled clips."""

from __future__ import annotations

from dataclasses import replace
from math import inf

import numpy as np
import pytest
from workbench.evaluation.made import columns, file, sounds, system

from pe_stream.workbench.evaluation import clips
from pe_stream.workbench.evaluation.truth import File

ALL = [(0.0, inf)]
LABELS = ("dog", "cat")


def test_top1_and_map_by_hand() -> None:
    files = [
        file("0", {"dog": ALL}),
        file("1", {"cat": ALL}),
        file("2", {"dog": ALL}),
        file("3"),
    ]
    scores = [columns([d], [c]) for d, c in [(0.9, 0.1), (0.7, 0.6), (0.2, 0.1), (0.8, 0.3)]]
    found = clips.figures(sounds(*files), system(LABELS, *scores), LABELS)
    assert found["summary"]["top1"] == pytest.approx(2 / 3)
    # dog: 0.9 right, 0.8 (nothing), 0.7 (a cat), 0.2 right
    assert found["labels"]["dog"] == {
        "clips": 2,
        "ap": pytest.approx(0.5 * 1 + 0.5 * 2 / 4),
        "auroc": pytest.approx(2 / 4),
        "top1": 1.0,
    }
    assert found["labels"]["cat"] == {"clips": 1, "ap": 1.0, "auroc": 1.0, "top1": 0.0}
    assert found["summary"]["map"] == pytest.approx((0.75 + 1) / 2)
    assert list(found["poolings"]) == ["mean_probability", "max", "mean_logit"]


def test_poolings_by_hand() -> None:
    frames = columns([0.1, 0.9, 0.2], [0.5, 0.5, 0.5])
    of = system(LABELS, frames)
    assert clips.clip_scores(of, "mean_probability")[0] == pytest.approx([0.4, 0.5])
    assert clips.clip_scores(of, "max")[0] == pytest.approx([0.9, 0.5])
    logits = np.log([0.1 / 0.9, 0.9 / 0.1, 0.2 / 0.8]).mean()
    assert clips.clip_scores(of, "mean_logit")[0] == pytest.approx([logits, 0.0], abs=1e-6)
    certain = clips.clip_scores(system(LABELS, columns([1.0], [0.0])), "mean_logit")[0]
    assert np.isfinite(certain).all()


def test_a_clip_near_to_a_label_is_neither_right_nor_wrong_for_it() -> None:
    files = [file("0", {"dog": ALL}), file("1", {"cat": ALL}, {"dog": ALL}), file("2")]
    scores = [columns([d], [c]) for d, c in [(0.5, 0.1), (0.9, 0.2), (0.1, 0.1)]]
    found = clips.figures(sounds(*files), system(LABELS, *scores), LABELS)
    assert found["labels"]["dog"]["ap"] == 1.0
    assert found["labels"]["cat"]["top1"] == 1.0


def test_a_label_without_clips_or_class_has_no_figure() -> None:
    files: list[File] = [file("0", {"dog": ALL}), file("1", {"dog": ALL})]
    of = replace(system(LABELS, *[columns([0.0], [0.0])] * 2), deaf=frozenset({"dog"}))
    found = clips.figures(sounds(*files), of, LABELS)
    assert found["labels"]["cat"] == {"clips": 0, "ap": None, "auroc": None, "top1": None}
    assert found["labels"]["dog"]["ap"] is None
    assert found["summary"]["map"] is None
    assert found["labels"]["dog"]["top1"] is None
    assert found["summary"]["top1"] is None


def test_labels_without_a_class_have_no_part_in_top1() -> None:
    """Neither are their clips asked about, nor can they be taken for the highest."""
    files = [file("0", {"dog": ALL}), file("1", {"cat": ALL}), file("2", {"dog": ALL, "cat": ALL})]
    scores = [columns([d], [c]) for d, c in [(0.9, 0.1), (0.9, 0.6), (0.9, 0.1)]]
    of = system(LABELS, *scores)
    assert clips.figures(sounds(*files), of, LABELS)["summary"]["top1"] == pytest.approx(2 / 3)
    deaf = replace(of, deaf=frozenset({"dog"}))
    assert clips.figures(sounds(*files), deaf, LABELS)["summary"]["top1"] == 1.0
