"""mn04's windows, classes and files, with a stand-in for the model."""

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
from pe_stream.workbench.evaluation import mn04
from pe_stream.workbench.evaluation.mn04 import CLASSES, MODEL, RATE, Mn04

NAMES = ("Level", "Seconds")


class Session:
    """Says of a window its level, and how long it is."""

    def __init__(self, name: str = "logits", classes: int | str = 2) -> None:
        self.batches: list[tuple[int, ...]] = []
        self._said = type("Output", (), {"name": name, "shape": ["batch", classes]})

    def get_outputs(self) -> list[Any]:
        return [self._said]

    def run(self, names: Sequence[str], heard: dict[str, Samples]) -> list[NDArray[np.float32]]:
        assert names == ["logits"]
        (windows,) = heard.values()
        assert list(heard) == ["audio"]
        assert windows.dtype == np.float32
        self.batches.append(windows.shape)
        level = np.sqrt(np.mean(np.square(windows), axis=1))
        seconds = np.full(len(windows), windows.shape[1] / RATE)
        said: NDArray[np.float32] = np.stack([level, seconds], 1).astype(np.float32)
        return [said]


def write(folder: Path) -> Path:
    (folder / MODEL).write_bytes(b"no model")
    rows = "\n".join(f"{i},/m/{i},{name}" for i, name in enumerate(NAMES))
    (folder / CLASSES).write_text(f"index,mid,display_name\n{rows}\n", "utf-8")
    return folder


@pytest.fixture
def session(monkeypatch: pytest.MonkeyPatch) -> Session:
    session = Session()
    monkeypatch.setattr(mn04, "_session", lambda *_: session)
    return session


@pytest.fixture
def model(tmp_path: Path, session: Session) -> Mn04:
    return Mn04(write(tmp_path))


def ramp(seconds: float) -> Samples:
    """A tone whose level rises by 0.1 a second."""
    times = np.arange(round(seconds * SAMPLE_RATE)) / SAMPLE_RATE
    tone = np.sqrt(2) * np.sin(2 * np.pi * 400 * times)
    return np.asarray(0.1 * times * tone, np.float32)


def test_classes_are_those_of_the_table(model: Mn04) -> None:
    assert model.classes == NAMES


@pytest.mark.parametrize(
    ("seconds", "hop_s", "count"),
    [(10.0, 1.0, 10), (10.0, 0.5, 20), (10.1, 1.0, 11), (0.3, 1.0, 1), (3.0, 2.0, 2)],
)
def test_there_is_an_answer_for_each_hop_that_begins_in_the_audio(
    seconds: float, hop_s: float, count: int, model: Mn04
) -> None:
    logits = model.logits(noise((seconds, 0.1)), hop_s)
    assert logits.shape == (count, 2)
    assert logits.dtype == np.float32
    np.testing.assert_allclose(logits[:, 1], (1 + 2 + 5) / 3, rtol=1e-5)


@pytest.mark.parametrize("hop_s", [0.5, 1.0, 2.0])
@pytest.mark.parametrize("width_s", [1.0, 2.0, 5.0])
def test_a_window_is_centred_on_its_hop(width_s: float, hop_s: float, model: Mn04) -> None:
    logits = model.logits(ramp(12.0), hop_s, [width_s])
    inside = 0
    for k, level in enumerate(logits[:, 0]):
        centre_s = hop_s * (k + 0.5)
        if width_s / 2 <= centre_s <= 12 - width_s / 2:
            mean_square = centre_s**2 + width_s**2 / 12  # of a ramp around its middle
            assert level == pytest.approx(0.1 * np.sqrt(mean_square), rel=0.01)
            inside += 1
    assert inside >= 3


def test_answers_of_several_widths_are_averaged(model: Mn04) -> None:
    audio = noise((3.0, 0.1), (2.0, 0.3))
    each = [model.logits(audio, 1.0, [width_s]) for width_s in (1.0, 2.0, 5.0)]
    np.testing.assert_allclose(model.logits(audio, 1.0), np.mean(each, axis=0), rtol=1e-5)


def test_little_audio_is_heard_at_once(model: Mn04, session: Session) -> None:
    model.logits(noise((40.0, 0.1)), 1.0)
    assert {count * samples / RATE <= 16 for count, samples in session.batches} == {True}
    assert sum(count for count, samples in session.batches if samples == RATE) == 40


@pytest.mark.parametrize("wrong", [Session("scores"), Session(classes=521), Session(classes="n")])
def test_another_model_is_told(
    wrong: Session, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(mn04, "_session", lambda *_: wrong)
    with pytest.raises(UnavailableError, match="not mn04"):
        Mn04(write(tmp_path))


def test_files_that_are_missing_or_broken_are_told(tmp_path: Path) -> None:
    with pytest.raises(UnavailableError, match=f"there is no {MODEL}"):
        Mn04(tmp_path)
    write(tmp_path)
    with pytest.raises(UnavailableError, match="no ONNX model that can be read"):
        Mn04(tmp_path)
    for broken in (b"a,b\n1,2\n", b"\xff\xfe\n"):
        (tmp_path / CLASSES).write_bytes(broken)
        with pytest.raises(UnavailableError, match=f"{CLASSES}: cannot be read"):
            Mn04(tmp_path)
    (tmp_path / CLASSES).unlink()
    with pytest.raises(UnavailableError, match=f"there is no {CLASSES}"):
        Mn04(tmp_path)


def test_without_its_library_one_line_says_what_to_install(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    with pytest.raises(UnavailableError, match=r'pip install "pe-stream\[eval\]"'):
        Mn04(write(tmp_path))
