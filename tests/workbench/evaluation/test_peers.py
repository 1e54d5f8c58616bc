"""The peers of a folder, with stand-ins for the models."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from sounds import noise

from pe_stream.config import yaml_lines
from pe_stream.core.types import Samples
from pe_stream.errors import ConfigError, UnavailableError
from pe_stream.workbench.evaluation import mn04, peers, promptset, yamnet
from pe_stream.workbench.evaluation.peers import Answers, Mn04Peer
from pe_stream.workbench.evaluation.promptset import Label
from pe_stream.workbench.training.concepts import CLASSES

NAMES = ("Speech", "Dog", "Bark", "Siren")
DOG = Label("dog", "a dog", ("dog",), yamnet=("Dog", "Bark"))
SIREN = Label("siren", "a siren", ("siren",), yamnet=("Siren",))
COW = Label("cow", "a cow", ("cow",))


class Model:
    """Instead of mn04: the seconds it hears at once as Dog, and which of its windows as Siren."""

    classes = NAMES

    def __init__(self) -> None:
        self.asked: list[tuple[int, tuple[float, ...]]] = []

    def logits(
        self, samples: Samples, hop_s: float, widths_s: tuple[float, ...]
    ) -> NDArray[np.float32]:
        (width_s,) = widths_s
        self.asked.append((len(samples), widths_s))
        count = max(1, int(np.ceil(len(samples) / 48_000 / hop_s)))
        rows = np.zeros((count, len(NAMES)), np.float32)
        rows[:, 1] = width_s
        rows[:, 2] = -5
        rows[:, 3] = np.arange(count)
        return rows


def peer(model: Model, *widths_s: float, labels: tuple[Label, ...] = (DOG, SIREN, COW)) -> Mn04Peer:
    return Mn04Peer(Answers(model), labels, widths_s)  # type: ignore[arg-type] # a stand-in


def probability(logit: float) -> float:
    return float(1 / (1 + np.exp(-logit)))


def test_logits_of_all_widths_are_averaged_and_a_label_is_its_highest_class() -> None:
    heard = peer(Model(), 1.0, 2.0, 6.0).hear(noise((2.0, 0.1)), 50)
    assert heard.frames.shape == (50, 3)
    assert heard.frames[:, 0] == pytest.approx(probability(3.0))
    assert heard.frames[:, 2].tolist() == [0.0] * 50
    assert peer(Model(), 1.0).deaf == {"cow"}


def test_an_answer_stands_for_the_half_second_around_its_centre() -> None:
    frames = peer(Model(), 1.0).hear(noise((2.0, 0.1)), 60).frames[:, 1]
    for frame, score in enumerate(frames):
        centre_s = (frame + 0.5) * 0.04
        distances = [(round(abs(0.5 * (k + 0.5) - centre_s), 6), -k) for k in range(4)]
        nearest = -min(distances)[1]  # of two, the later
        assert score == pytest.approx(probability(nearest)), frame


def test_a_clip_is_heard_as_a_whole_by_the_sum_and_in_windows_by_one_width() -> None:
    model = Model()
    assert peer(model, 1.0).hear(noise((4.0, 0.1)), 100).steps.shape == (8, 3)
    for seconds, pieces in ((0.4, 1), (4.0, 1), (10.0, 1), (25.0, 3)):
        model.asked.clear()
        steps = peer(model, 1.0, 2.0).hear(noise((seconds, 0.1)), 10).steps
        assert steps.shape == (pieces, 3)
        heard_s = max(1.0, seconds / pieces)
        assert steps[:, 0] == pytest.approx(probability(heard_s), abs=1e-4)


def test_two_peers_ask_once_and_anew_for_another_file() -> None:
    model = Model()
    answers = Answers(model)  # type: ignore[arg-type] # a stand-in
    one, both = (Mn04Peer(answers, (DOG,), widths) for widths in ((1.0,), (1.0, 2.0)))
    for samples in (noise((3.0, 0.1)), noise((2.0, 0.1))):
        for each in (one, both):
            each.hear(samples, 50)
        asked = [widths for _, widths in model.asked]
        assert asked == [(1.0,), (2.0,), (len(samples) / 48_000,)]
        model.asked.clear()


def test_other_classes_may_be_named_for_mn04() -> None:
    told = Label("dog", "a dog", ("dog",), yamnet=("Dog",), mn04=("Siren",))
    only = Label("cow", "a cow", ("cow",), mn04=("Bark",))
    found = peer(Model(), 1.0, labels=(told, only))
    assert found.deaf == frozenset()
    heard = found.hear(noise((1.0, 0.1)), 25)
    assert heard.steps[0].tolist() == pytest.approx([probability(0.0), probability(-5.0)])
    with pytest.raises(ConfigError, match=r"dog.mn04: mn04 has no class 'Bork' .*'Bark'"):
        peer(Model(), 1.0, labels=(Label("dog", "a dog", ("dog",), mn04=("Bork",)),))


def write(folder: Path, *names: str) -> None:
    rows = "\n".join(f"{i},/m/{i},{name}" for i, name in enumerate(NAMES))
    for name in names:
        text = f"index,mid,display_name\n{rows}\n" if name.endswith("csv") else "no model"
        (folder / name).write_text(text, "utf-8")


def test_all_that_are_in_the_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(yamnet, "_classifier", lambda *_: lambda _: np.zeros(4, np.float32))
    monkeypatch.setattr(mn04, "Mn04", lambda *_: Model())
    with pytest.raises(UnavailableError, match=r"no yamnet.tflite, and no mn04_as.onnx"):
        peers.load(tmp_path, [DOG])
    write(tmp_path, yamnet.MODEL, yamnet.CLASSES)
    assert list(peers.load(tmp_path, [DOG, COW])) == ["yamnet"]
    write(tmp_path, mn04.MODEL, mn04.CLASSES)
    found = peers.load(tmp_path, [DOG, COW])
    assert list(found) == ["yamnet", "mn04_1s", "mn04"] == list(peers.TITLES)
    for each in found.values():
        assert each.deaf == {"cow"}
        assert each.hear(noise((2.0, 0.1)), 50).frames.shape == (50, 2)
    (tmp_path / yamnet.MODEL).unlink()
    assert list(peers.load(tmp_path, [DOG])) == ["mn04_1s", "mn04"]


def test_a_folder_in_which_something_is_missing_or_wrong(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write(tmp_path, mn04.MODEL)
    with pytest.raises(UnavailableError, match=f"there is no {mn04.CLASSES}"):
        peers.load(tmp_path, [DOG])
    write(tmp_path, mn04.CLASSES)
    with pytest.raises(UnavailableError, match="no ONNX model that can be read"):
        peers.load(tmp_path, [DOG])
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    with pytest.raises(UnavailableError, match=r'pip install "pe-stream\[eval\]"'):
        peers.load(tmp_path, [DOG])


def test_every_class_that_the_shipped_sets_name_is_one_of_mn04s() -> None:
    """Of AudioSet's 527, as the training set of phrases names them."""
    classes = yaml_lines.read(CLASSES.read_text("utf-8")).data
    assert len(classes) == 527
    for name in ("everyday", "esc50"):
        for label in promptset.shipped(name):
            assert set(label.yamnet) | set(label.mn04) <= classes.keys(), label.name
