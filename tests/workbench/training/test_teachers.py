"""The teacher of a folder: which it is, where its answers are, and what is told of a wrong one."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from sounds import noise

from pe_stream.core.types import SAMPLE_RATE, Samples
from pe_stream.errors import UnavailableError
from pe_stream.workbench.evaluation import mn04, yamnet
from pe_stream.workbench.training import teachers


def write(folder: Path, model: str, classes: str, names: Sequence[str] = ("Dog", "Rain")) -> None:
    (folder / model).write_bytes(b"no model")
    rows = "\n".join(f"{i},/m/{i},{name}" for i, name in enumerate(names))
    (folder / classes).write_text(f"index,mid,display_name\n{rows}\n", "utf-8")


def test_without_a_folder_nobody_teaches() -> None:
    nobody = teachers.load(None)
    assert nobody.name == ""
    assert teachers.classes(None) == ()
    assert nobody.logits(noise((10.0, 0.1)), 1.0).shape == (10, 0)
    assert nobody.logits(noise((1.2, 0.1)), 0.5).shape == (3, 0)


class Loudness:
    """Instead of YAMNet: scores of a window are its level, and one less it."""

    def __init__(self) -> None:
        self.windows: list[Samples] = []

    def __call__(self, window: Samples) -> NDArray[np.float32]:
        assert window.shape == (yamnet.WINDOW,)
        self.windows.append(window)
        level = float(np.sqrt(np.mean(np.square(window))))
        return np.array([level, 1 - level], np.float32)


@pytest.fixture
def loudness(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Loudness:
    model = Loudness()
    monkeypatch.setattr(yamnet, "classifier", lambda folder: (model, ["Loud", "Soft"]))
    write(tmp_path, yamnet.MODEL, yamnet.CLASSES)
    return model


@pytest.mark.parametrize(("hop_s", "count"), [(1.0, 4), (0.5, 8), (0.96, 5)])
def test_yamnet_is_asked_of_windows_around_each_answers_middle(
    hop_s: float, count: int, loudness: Loudness, tmp_path: Path
) -> None:
    """Of a ramp of levels, a window's is that of its middle."""
    teacher = teachers.load(tmp_path)
    assert teacher.name == "YAMNet"
    assert tuple(teacher.classes) == teachers.classes(tmp_path) == ("Loud", "Soft")
    times = np.arange(4 * SAMPLE_RATE) / SAMPLE_RATE
    ramp = (0.2 * times * np.sqrt(2) * np.sin(2 * np.pi * 400 * times)).astype(np.float32)
    logits = teacher.logits(ramp, hop_s)
    assert logits.shape == (count, 2)
    assert logits.dtype == np.float32
    scores = 1 / (1 + np.exp(-logits))
    inside = [k for k in range(count) if 0.5 <= hop_s * (k + 0.5) <= 3.5]
    assert len(inside) > 2
    for k in inside:
        assert scores[k, 0] == pytest.approx(0.2 * hop_s * (k + 0.5), abs=0.02)
    np.testing.assert_allclose(scores.sum(1), 1, atol=1e-3)


def test_certain_scores_of_yamnet_are_finite_logits(
    loudness: Loudness, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Loudness, "__call__", lambda *_: np.array([0, 1], np.float32))
    logits = teachers.load(tmp_path).logits(noise((2.0, 0.1)), 1.0)
    np.testing.assert_allclose(logits, [[-13.8, 13.8]] * 2, atol=0.1)


def test_mn04_is_taken_where_there_are_both(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Session:
        def get_outputs(self) -> list[Any]:
            return [type("Output", (), {"name": "logits", "shape": ["batch", 2]})]

    monkeypatch.setattr(mn04, "_session", lambda *_: Session())
    write(tmp_path, yamnet.MODEL, yamnet.CLASSES)
    write(tmp_path, mn04.MODEL, mn04.CLASSES)
    teacher = teachers.load(tmp_path)
    assert isinstance(teacher, mn04.Mn04)
    assert teacher.name == "mn04"
    assert teachers.classes(tmp_path) == ("Dog", "Rain")


@pytest.mark.parametrize(
    ("files", "message"),
    [
        ((), f"there is no {mn04.MODEL}"),
        ((yamnet.MODEL,), f"there is no {yamnet.CLASSES}"),
        ((mn04.MODEL,), f"there is no {mn04.CLASSES}"),
        ((yamnet.MODEL, yamnet.CLASSES), "no TFLite model that can be read"),
        ((mn04.MODEL, mn04.CLASSES), "no ONNX model that can be read"),
        ((yamnet.MODEL, mn04.MODEL, mn04.CLASSES), "no ONNX model that can be read"),
    ],
)
def test_a_folder_that_does_not_do_is_told_in_one_line(
    files: tuple[str, ...], message: str, tmp_path: Path
) -> None:
    write(tmp_path, yamnet.MODEL, yamnet.CLASSES)
    write(tmp_path, mn04.MODEL, mn04.CLASSES)
    for path in tmp_path.iterdir():
        if path.name not in files:
            path.unlink()
    with pytest.raises(UnavailableError, match=message) as told:
        teachers.load(tmp_path)
    assert told.value.exit_code == 69
    assert str(tmp_path) in str(told.value)
    assert "\n" not in str(told.value)


def test_without_a_library_one_line_says_what_to_install(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write(tmp_path, yamnet.MODEL, yamnet.CLASSES)
    monkeypatch.setitem(sys.modules, "ai_edge_litert.interpreter", None)
    with pytest.raises(UnavailableError, match=r'pip install "pe-stream\[eval\]"'):
        teachers.load(tmp_path)
