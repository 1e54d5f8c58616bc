"""Scale and bias that make scores probabilities, and thresholds that find the events."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from pe_stream.errors import UnavailableError
from pe_stream.evaluation.events import Tally
from pe_stream.training import calibration


def test_the_fit_finds_slope_and_offset() -> None:
    rng = np.random.default_rng(0)
    logits, truths = [], []
    for _ in range(3):
        x = rng.normal(0, 3, 40_000).astype(np.float32)
        logits.append(x)
        truths.append(rng.random(40_000) < 1 / (1 + np.exp(-(0.5 * x - 1.5))))
    slope, offset = calibration.fit_logits(logits, truths)
    assert slope == pytest.approx(0.5, rel=0.05)
    assert offset == pytest.approx(-1.5, rel=0.05)


def test_a_label_without_an_event_has_no_say() -> None:
    rng = np.random.default_rng(1)
    x = rng.normal(0, 3, 20_000).astype(np.float32)
    truth = rng.random(20_000) < 1 / (1 + np.exp(-x))
    alone = calibration.fit_logits([x], [truth])
    both = calibration.fit_logits([x, x + 9], [truth, np.zeros(20_000, bool)])
    assert both == pytest.approx(alone)


def tally(true: int, found: int, false: int, false_empty: int = 0) -> Tally:
    return Tally(true, found, false, false_empty)


def test_the_threshold_is_the_middle_of_the_best() -> None:
    points = [
        (0.1, tally(10, 10, 30)),
        (0.3, tally(10, 9, 1)),
        (0.4, tally(10, 9, 1)),
        (0.5, tally(10, 9, 1)),
        (0.8, tally(10, 3, 0)),
    ]
    assert calibration.best_threshold(points, 0) == 0.4


def test_false_alarms_on_background_are_bounded() -> None:
    points = [(0.3, tally(10, 9, 3, 3)), (0.6, tally(10, 8, 3, 1)), (0.9, tally(10, 2, 0))]
    assert calibration.best_threshold(points, 0) == 0.9
    assert calibration.best_threshold(points, 1) == 0.6
    assert calibration.best_threshold(points, 3) == 0.3


def test_a_label_that_is_always_loud_on_background_gets_the_highest() -> None:
    points = [(0.3, tally(10, 9, 3, 3)), (0.6, tally(10, 8, 3, 1)), (0.9999, tally(10, 2, 0))]
    assert calibration.best_threshold(points, 0) == 0.6


def test_a_label_that_never_sounds_gets_no_threshold() -> None:
    assert calibration.best_threshold([(0.3, tally(0, 0, 4)), (0.6, tally(0, 0, 0))], 0) is None


def test_thresholds_at_the_ends_are_not_recommended() -> None:
    points = [(0.0001, tally(10, 10, 0)), (0.5, tally(10, 5, 5)), (0.9999, tally(10, 10, 0))]
    assert calibration.best_threshold(points, 0) == 0.5


def test_scenes_without_known_onsets_are_refused(tmp_path: Path) -> None:
    (tmp_path / "a.wav").write_bytes(b"")
    (tmp_path / "manifest.csv").write_text("path,label\na.wav,dog\n", "utf-8")
    with pytest.raises(UnavailableError, match="known onset"):
        calibration.scenes(tmp_path)


def test_the_weights_are_rescaled_and_nothing_else(tmp_path: Path) -> None:
    path = tmp_path / "model.safetensors"
    half = torch.float16
    before = {
        "text_audio_logit_scale": torch.tensor([0.1], dtype=half),
        "text_audio_logit_bias": torch.tensor([-5.0], dtype=half),
        "other": torch.arange(4, dtype=half),
    }
    save_file(before, path)
    calibration.rescale(path, 2.0, 1.5)
    after = load_file(path)
    assert after["text_audio_logit_scale"].item() == pytest.approx(0.2, rel=1e-3)
    assert after["text_audio_logit_bias"].item() == pytest.approx(-8.5, rel=1e-3)
    assert torch.equal(after["other"], before["other"])
    assert {tensor.dtype for tensor in after.values()} == {half}
