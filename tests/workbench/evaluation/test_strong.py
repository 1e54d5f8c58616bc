"""All figures of a few strongly labelled files, by hand."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from workbench.evaluation.made import columns, file, sounds, system, track

from pe_stream.workbench.evaluation import strong
from pe_stream.workbench.evaluation.scoring import Sounds, System

LABELS = ("dog", "cat", "cow")
FRAMES = 250


def made() -> tuple[Sounds, System]:
    """Half an hour: two files of 10 s, and one of nearly all without events."""
    heard = Sounds(
        (
            file("0", {"dog": [(1, 2), (4, 5)]}, {"cat": [(1, 2)]}),
            file("1", {"cat": [(3, 4)]}),
            file("2"),
        ),
        (10.0, 10.0, 1780.0),
        (),
    )
    scores = (
        columns(track(FRAMES, (1.08, 2, 0.9), (4, 5, 0.3)), track(FRAMES, (1, 2, 0.9)), [0] * 250),
        columns(track(FRAMES), track(FRAMES, (2.8, 4, 0.8), (7, 8, 0.95)), [0] * 250),
        columns(track(FRAMES, (5, 6, 0.2)), track(FRAMES), track(FRAMES, (1, 2, 0.7))),
    )
    return heard, system(LABELS, *scores)


def test_figures_by_hand() -> None:
    heard, of = made()
    found = strong.figures(heard, of)
    dog, cat, cow = (found["labels"][name] for name in LABELS)
    assert (dog["events"], dog["recall"], dog["false_alarms_per_hour"]) == (2, 0.5, 0.0)
    assert dog["onset_error_median_s"] == pytest.approx(0.08)
    # with a threshold below 0.3 both are found, and above 0.2 nothing else is
    assert dog["recall_at_1_per_hour"] == 1.0
    assert 0.2 < dog["threshold_at_1_per_hour"] < 0.3
    assert (cat["recall"], cat["false_alarms_per_hour"]) == (1.0, pytest.approx(2.0))
    assert cat["onset_error_p90_s"] == pytest.approx(0.2)
    assert cat["recall_at_1_per_hour"] == 0.0  # the false alarm scores higher
    assert (cow["events"], cow["recall"], cow["auroc"], cow["psds1"]) == (0, None, None, None)
    assert cow["background_false_alarms_per_hour"] == pytest.approx(3600 / 1780)
    summary = found["summary"]
    assert summary["recall"] == pytest.approx(0.75)
    assert summary["false_alarms_per_hour"] == pytest.approx(4.0)
    assert summary["background_false_alarms_per_hour"] == pytest.approx(3600 / 1780)
    assert summary["onset_error_median_s"] == pytest.approx(0.14)
    assert 0 <= summary["psds1"] <= summary["psds2"] <= 1


def test_frame_auroc_leaves_out_what_is_near() -> None:
    heard, of = made()
    curve = strong.frame_curves(heard, of)["cat"]
    assert (curve.positive, curve.negative) == (25, 3 * FRAMES - 2 * 25)
    # 25 frames of 0.95 are above the 25 true ones, 5 of 0.8 equal, all others below
    assert curve.auroc == pytest.approx((700 - 25 - 5 / 2) / 700)


def test_labels_a_system_has_no_class_for_are_in_no_figure() -> None:
    heard, of = made()
    deaf = replace(of, deaf=frozenset({"cat", "cow"}))
    found = strong.figures(heard, deaf)
    assert found["labels"]["cat"]["auroc"] is None
    assert found["labels"]["cat"]["recall"] is None
    assert found["summary"]["recall"] == 0.5
    assert found["summary"]["false_alarms_per_hour"] == 0.0


def test_a_summary_over_fewer_labels_is_that_of_a_system_deaf_to_the_others() -> None:
    heard, of = made()
    deaf = replace(of, deaf=frozenset({"cat"}))
    rows = strong.figures(heard, of)["labels"]
    summary = strong.summary(heard, deaf, rows)
    assert summary == pytest.approx(strong.figures(heard, deaf)["summary"])
    assert summary["recall"] == 0.5
    assert summary["false_alarms_per_hour"] == pytest.approx(2.0)  # the cow, not the cat
    assert strong.summary(heard, of, rows) == strong.figures(heard, of)["summary"]


def test_background_of_labels_without_a_class_does_not_count() -> None:
    heard, of = made()
    deaf = replace(of, deaf=frozenset({"cow"}))
    assert strong.background(heard, deaf)["background_false_alarms_per_hour"] == 0.0


def test_frames_asked_are_those_of_all_files_but_what_is_near() -> None:
    heard, of = made()
    scores, truths = strong.asked_frames(heard, of, column=1)
    assert len(scores) == len(truths) == 3 * FRAMES - 25
    assert scores.dtype == np.float32
    assert set(scores[truths]) == {np.float32(0.8)}
    assert scores[:FRAMES].max() == 0.0  # the 0.9 was where a dog sounds, near to a cat


def test_figures_are_of_smoothed_scores_where_the_rule_smooths() -> None:
    """A dog that wavers, and clicks as high: only the means tell them apart."""
    wavering = np.tile([0.9, 0.9, 0.1], 25)
    scores = np.zeros(250)
    scores[50:125] = wavering
    scores[150:240:10] = 0.9
    heard = sounds(file("0", {"dog": [(2.0, 5.0)]}))
    raw = system(["dog"], scores[:, None].astype(np.float32))
    smooth = replace(raw, rules=(replace(raw.rules[0], smooth=9, min_off=3),))
    rough, means = (strong.figures(heard, of)["labels"]["dog"] for of in (raw, smooth))
    assert means["frame_ap"] > 0.95 > rough["frame_ap"]
    assert (means["false_alarms_per_hour"], rough["false_alarms_per_hour"] > 0) == (0, True)
    assert means["psds1"] > rough["psds1"]
    assert means["onset_error_median_s"] == pytest.approx(0)
    assert means["f1"] == 1.0


def test_background_by_hand() -> None:
    heard, of = made()
    found = strong.background(heard, of)
    assert found["labels"] == {"dog": 0.0, "cat": 0.0, "cow": pytest.approx(3600 / 1780)}
    assert found["background_false_alarms_per_hour"] == pytest.approx(3600 / 1780)
    without = sounds(file("0", {"dog": [(1, 2)]}))
    of = system(["dog"], np.zeros((250, 1), np.float32))
    assert strong.background(without, of)["background_false_alarms_per_hour"] is None
