"""The codec's errors are found, and told."""

from __future__ import annotations

import copy
from typing import Any

import pytest
import torch

from pe_stream.workbench.training import codec_error, frontend, shape


@pytest.fixture(scope="module")
def embedder() -> Any:
    embedder = shape.new_model(0).eval().audio_encoder.embedder
    frontend.build(embedder)
    return embedder


def test_a_wrong_codec_is_found(embedder: Any) -> None:
    samples = 0.01 * torch.randn(1, 48_000, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        assert codec_error.error_db(embedder, samples).abs().max() < 3
        louder = copy.deepcopy(embedder)
        louder.bottleneck.bias += 1.0  # 15 dB
        error = codec_error.error_db(louder, samples)
    assert error.mean() == pytest.approx(15, abs=0.5)
    assert error.shape == (1, 25 - 4, 192)


def test_the_table_has_means_and_the_worst() -> None:
    assert codec_error.as_table({}) == ""
    text = codec_error.as_table({"tones": [0.3, 0.4], "noise": [0.2, 0.9]})
    assert text == (
        "From -80 to -10 dBFS they are off by (dB, RMS): tones 0.35, noise 0.65; "
        "at the level where that is most, 0.90."
    )
