"""Scale and bias that make scores probabilities, and thresholds that find the events."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from workbench.evaluation.made import file, sounds

from pe_stream.errors import UnavailableError
from pe_stream.workbench.evaluation.truth import Span
from pe_stream.workbench.training import calibration


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


def test_a_fit_needs_a_label_that_is_there_at_times() -> None:
    with pytest.raises(UnavailableError, match="no label is present in some frames only"):
        calibration.fit_logits([np.zeros(9)], [np.ones(9, bool)])


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


def test_made_sounds_count_only_where_a_label_has_no_real_ones() -> None:
    both = replace(file("0", {"dog": [(2, 5)]}), made={"dog": (Span(6, 7),), "bell": (Span(1, 2),)})
    (judged,) = calibration.made_where_none_is_real(sounds(both)).files
    assert judged.true == {"dog": (Span(2, 5),), "bell": (Span(1, 2),)}
