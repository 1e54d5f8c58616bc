"""What is learned against the teacher, on mixtures held out."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import Tensor

from pe_stream.workbench.training import agreement, encoder, text
from pe_stream.workbench.training.mixture import FRAMES
from pe_stream.workbench.training.shards import HOP_FRAMES

SECONDS = FRAMES // HOP_FRAMES
CLASSES = {"Bark": "a dog barking", "Rain": "rain", "Silence": "silence"}


@pytest.fixture
def parts(monkeypatch: pytest.MonkeyPatch) -> tuple[Any, Any]:
    """A model whose frames say the teacher's first two classes, and one second of them late."""
    generator = torch.Generator().manual_seed(0)
    taught = torch.randn(24, SECONDS, 3, generator=generator)
    taught[..., 2] = -7.0

    def batch(number: int) -> Any:
        whole = SimpleNamespace(outputs=torch.tensor([number]), taught=taught[number][None])
        whole.to = lambda _: whole
        return whole

    monkeypatch.setattr(text, "embed", lambda *_: torch.eye(3) / encoder.SCALE)
    monkeypatch.setattr(encoder, "read_out", lambda _, outputs: outputs)
    monkeypatch.setattr(
        encoder, "hear", lambda _, outputs: taught[outputs].repeat_interleave(HOP_FRAMES, 1)
    )

    def head(frames: Tensor) -> Tensor:
        return frames * torch.tensor([1.0, -1.0, 1.0])  # rain is placed among its opposites

    model = SimpleNamespace(audio_head=head, text_audio_logit_bias=torch.tensor(0.0))
    learned = SimpleNamespace(model=model, free=lambda seconds: 2 * seconds + 1)
    return learned, SimpleNamespace(held_out=range(24), whole=batch)


def test_texts_and_the_free_head_are_told_apart(parts: tuple[Any, Any], tmp_path: Path) -> None:
    learned, batches = parts
    found = agreement.measured(learned, None, batches, CLASSES)  # type: ignore[arg-type]
    assert found == {"Bark": [1.0, 1.0], "Rain": [-1.0, 1.0]}
    told = agreement.as_text(found)
    assert "(median of 2 classes)" in told
    assert "furthest behind for: Rain -1.00 (1.00), Bark 1.00 (1.00)." in told
    agreement.save(tmp_path, found)
    assert agreement.read(tmp_path) == found


def test_nothing_is_said_of_few_mixtures_or_without_a_teacher(parts: tuple[Any, Any]) -> None:
    learned, batches = parts
    assert agreement.measured(learned, None, batches, {}) == {}  # type: ignore[arg-type]
    batches.held_out = range(9)
    assert agreement.measured(learned, None, batches, CLASSES) == {}  # type: ignore[arg-type]
    assert agreement.as_text({}) == ""


def test_a_training_of_an_older_version_has_none(tmp_path: Path) -> None:
    assert agreement.read(tmp_path) == {}
