"""The peer's windows, classes and files, with a stand-in for the model."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from sounds import noise

from pe_stream.core.types import Samples
from pe_stream.errors import ConfigError, UnavailableError
from pe_stream.workbench.evaluation.promptset import Label
from pe_stream.workbench.evaluation.yamnet import CLASSES, HOP, MODEL, WINDOW, Yamnet, load

NAMES = ["Speech", "Dog", "Bark", "Siren"]
DOG = Label("dog", "a dog", ("dog",), yamnet=("Dog", "Bark"))
SIREN = Label("siren", "a siren", ("siren",), yamnet=("Siren",))
COW = Label("cow", "a cow", ("cow",))


class Model:
    """Says of a window: its level as Dog, half of it as Bark, and nothing else."""

    def __init__(self) -> None:
        self.windows: list[Samples] = []

    def __call__(self, samples: Samples) -> NDArray[np.float32]:
        self.windows.append(samples)
        level = float(np.sqrt(np.mean(samples**2)))
        return np.array([0.0, level, level / 2, 0.0], np.float32)


def test_a_label_is_the_highest_of_its_classes() -> None:
    bark = Label("bark", "a bark", ("dog",), yamnet=("Bark", "Speech"))
    peer = Yamnet(Model(), NAMES, [DOG, bark, SIREN, COW])
    (scores,) = peer.score(noise((0.9, 0.2)))
    assert scores[0] == pytest.approx(2 * scores[1])
    assert scores[0] > 0.08  # what of the noise is below 8 kHz
    assert scores[2:].tolist() == [0, 0]
    assert peer.deaf == {"cow"}
    assert scores.dtype == np.float32


@pytest.mark.parametrize(
    ("samples", "count"),
    [(1, 1), (WINDOW, 1), (WINDOW + 1, 2), (WINDOW + HOP, 2), (WINDOW + HOP + 1, 3), (80_000, 10)],
)
def test_windows_follow_every_hop_and_cover_all(samples: int, count: int) -> None:
    model = Model()
    audio = np.full(samples * 3, 0.1, np.float32)  # at 48 kHz
    scores = Yamnet(model, NAMES, [DOG]).score(audio)
    assert scores.shape == (count, 1)
    assert {window.shape for window in model.windows} == {(WINDOW,)}


def test_a_score_stands_for_the_hop_around_its_windows_centre() -> None:
    windows = np.arange(4, dtype=np.float32)[:, None]
    frames = Yamnet.frames(windows, 80)[:, 0]
    for frame, score in enumerate(frames):
        centre_s = (frame + 0.5) * 0.04
        centres_s = [0.4875 + 0.4875 * i for i in range(4)]
        nearest = min(range(4), key=lambda i: abs(centres_s[i] - centre_s))
        assert score == nearest, frame


def test_a_class_there_is_not() -> None:
    wrong = Label("dog", "a dog", ("dog",), yamnet=("Bork",))
    with pytest.raises(ConfigError, match=r"dog.yamnet: .*'Bork' \(did you mean 'Bark'\?\)"):
        Yamnet(Model(), NAMES, [wrong])


def write_classes(folder: Path) -> None:
    rows = "\n".join(f"{i},/m/{i},{name}" for i, name in enumerate(NAMES))
    (folder / CLASSES).write_text(f"index,mid,display_name\n{rows}\n", "utf-8")


def test_a_folder_without_the_model(tmp_path: Path) -> None:
    with pytest.raises(UnavailableError, match=f"there is no {MODEL}"):
        load(tmp_path, [DOG])
    (tmp_path / MODEL).write_bytes(b"no model")
    with pytest.raises(UnavailableError, match=f"there is no {CLASSES}"):
        load(tmp_path, [DOG])
    write_classes(tmp_path)
    with pytest.raises(UnavailableError, match="no TFLite model that can be read"):
        load(tmp_path, [DOG])
    (tmp_path / CLASSES).write_text("a,b\n1,2\n", "utf-8")
    with pytest.raises(UnavailableError, match="cannot be read"):
        load(tmp_path, [DOG])


def test_without_its_library_one_line_says_what_to_install(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / MODEL).write_bytes(b"no model")
    write_classes(tmp_path)
    monkeypatch.setitem(sys.modules, "ai_edge_litert.interpreter", None)
    with pytest.raises(UnavailableError, match=r'pip install "pe-stream\[eval\]"'):
        load(tmp_path, [DOG])
