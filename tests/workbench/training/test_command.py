"""`pe-stream train`: a small manifest to a checkpoint that loads, hears and says whose it is."""

from __future__ import annotations

import csv
import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml
from processes import Done, pe_stream
from safetensors.torch import load_file
from sounds import write_float_wav

from pe_stream import assets
from pe_stream.audio.synthesis.random_sounds import SOUNDS
from pe_stream.errors import ConfigError, UnavailableError
from pe_stream.model.checkpoint import load
from pe_stream.workbench.training import card, command, group
from pe_stream.workbench.training.options import TrainOptions
from pe_stream.workbench.training.pipeline import Trainer
from pe_stream.workbench.training.recipe import Recipe

pytestmark = pytest.mark.heavy

RECIPE = """\
mixtures: 2
frames: 40
phrasings: 1
corpus: 10
ideal_steps: 2
text_steps: 2
joint_steps: 2
"""

ROWS = [
    # label, made sound, fold, licence, redistributable
    ("door knock", "door knock", "1", "CC-BY", "true"),
    ("siren", "siren", "1", "CC0", "true"),
    ("car horn", "car horn", "1", "CC-BY-NC", "false"),
    ("whistle", "whistle", "2", "CC-BY", "true"),
]


MORE = [("glass breaking", "glass breaking", "train", "CC-BY", "true")]


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return clips(tmp_path_factory.mktemp("data"), ROWS)


@pytest.fixture(scope="module")
def more(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return clips(tmp_path_factory.mktemp("more"), MORE)


def clips(folder: Path, rows: Sequence[tuple[str, str, str, str, str]]) -> Path:
    with (folder / "manifest.csv").open("w", encoding="utf-8", newline="") as file:
        table = csv.writer(file)
        table.writerow(
            ["path", "dataset", "label", "fold", "licence", "redistributable", "attribution"]
        )
        for label, made, fold, licence, free in rows:
            name = f"{label}.wav"
            write_float_wav(folder / name, SOUNDS[made](np.random.default_rng(0)))
            table.writerow([name, "made", label, fold, licence, free, f"author of {label}"])
    return folder


@pytest.fixture(scope="module")
def recipe(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("recipe") / "recipe.yaml"
    path.write_text(RECIPE, "utf-8")
    return path


def train(data: Path, more: Path, recipe: Path, out: Path, *options: str) -> Done:
    folds = ("--fold", "1", "train")
    return pe_stream(
        "train", data, out, *folds, "--more", more, "--recipe", recipe, "--device", "cpu", *options
    )


@pytest.fixture(scope="module")
def trained(data: Path, more: Path, recipe: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two processes that were stopped once and went on."""
    out = tmp_path_factory.mktemp("trained") / "checkpoint"
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(Trainer, "_joint", interrupt)
        done = train(data, more, recipe, out, "--threads", "1")
    assert done.returncode == 130
    assert not (out / "model.safetensors").exists()
    done = train(data, more, recipe, out, "--threads", "2")
    assert done.returncode == 0, done.stderr
    assert done.stdout == f"{out}\n"
    assert "going on in" in done.stderr
    assert "ideal:" not in done.stderr
    assert "joint: " in done.stderr
    return out


def interrupt(*_: object) -> None:
    raise KeyboardInterrupt


def test_a_teacher_that_is_not_there_is_told_at_once(
    data: Path, recipe: Path, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    done = pe_stream(
        "train", str(data), str(out), "--recipe", str(recipe), "--teacher", str(tmp_path)
    )
    assert done.returncode == 69
    assert done.stderr.count("\n") == 1
    assert "there is no mn04_as.onnx" in done.stderr
    assert not out.exists()


@pytest.mark.timeout(600)
def test_the_checkpoint_loads_and_detects(trained: Path, data: Path) -> None:
    checkpoint = load(str(trained))
    assert checkpoint.recommended == {}
    done = pe_stream("detect", str(data / "siren.wav"), "--checkpoint", str(trained))
    assert done.returncode == 0, done.stderr
    assert (trained / "model.safetensors").stat().st_size <= 20e6
    weights = load_file(trained / "model.safetensors")
    assert all(torch.isfinite(weight).all() for weight in weights.values())


@pytest.mark.timeout(600)
def test_the_card_names_sources_and_authors(trained: Path) -> None:
    text = (trained / "README.md").read_text("utf-8")
    assert "- author of door knock (CC-BY)" in text
    assert "author of siren" not in text  # CC0 asks for nothing
    assert "author of car horn" not in text  # not redistributable, so not heard
    assert "author of whistle" not in text  # of another fold
    assert "- author of glass breaking (CC-BY)" in text  # of the second folder
    assert "| made | CC-BY | 2 |" in text
    assert "| joint_steps | 2 |" in text
    assert "A teacher, " not in text
    facts = json.loads((trained / "training.json").read_text("utf-8"))
    assert {kind: len(errors) for kind, errors in facts["codec"].items()} == {
        "tones": 8,
        "noise": 8,
        "clips": 8,
    }
    assert max(max(errors) for errors in facts["codec"].values()) < 1
    assert "From -80 to -10 dBFS they are off by (dB, RMS): tones 0." in text
    assert "<!--" not in text
    assert "Only clips that may be redistributed" in text
    assert "not calibrated" in text


@pytest.mark.timeout(600)
def test_a_finished_training_is_not_begun_again(
    trained: Path, data: Path, more: Path, recipe: Path
) -> None:
    before = (trained / "model.safetensors").read_bytes()
    done = train(data, more, recipe, trained, "--threads", "1")
    assert done.returncode == 0, done.stderr
    assert "joint: " not in done.stderr
    assert (trained / "model.safetensors").read_bytes() == before


@pytest.mark.timeout(600)
def test_another_recipe_is_refused_in_the_same_folder(trained: Path, data: Path) -> None:
    done = pe_stream("train", data, trained, "--fold", "1", "--device", "cpu")
    assert done.returncode == 78
    assert "was begun with another" in done.stderr
    for key in ("data", "folds", "ideal_steps", "phrasings"):
        assert key in done.stderr
    assert "text_steps" in done.stderr
    assert "seed" not in done.stderr


def test_a_folder_begun_before_a_setting_was_there_is_gone_on_in(
    data: Path, tmp_path: Path
) -> None:
    options = TrainOptions(data=data, out=tmp_path)
    command._remember(options, Recipe())
    path = tmp_path / "work" / "recipe.json"
    before = json.loads(path.read_text("utf-8"))
    del before["phrasings"]
    path.write_text(json.dumps(before), "utf-8")
    command._remember(options, Recipe())
    with pytest.raises(ConfigError, match="another phrasings"):
        command._remember(options, Recipe(phrasings=3))
    path.write_text("{", "utf-8")
    with pytest.raises(UnavailableError, match="damaged"):
        command._remember(options, Recipe())


def test_the_recipe_of_the_checkpoint_that_comes_with_it(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    options = TrainOptions(data=data, out=tmp_path, folds=("1",), recipe="embedded")
    recipe = command._recipe(options)
    shipped = yaml.safe_load(command.EMBEDDED.read_text("utf-8"))
    assert recipe == Recipe(folds=("1",), **shipped)
    made_by = json.loads((assets.EMBEDDED / "training.json").read_text("utf-8"))["recipe"]
    assert {key: made_by[key] for key in shipped} == shipped, "the weights are of this recipe"
    # A file of that name in the folder is not meant.
    monkeypatch.chdir(tmp_path)
    (tmp_path / "embedded").write_text("joint_steps: 1", "utf-8")
    assert command._recipe(options) == recipe
    assert command._recipe(TrainOptions(data=data, out=tmp_path)) == Recipe()


def test_threads_asked_for_are_as_many_processes(
    data: Path, recipe: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without --threads, as many as torch would use; of one process, as many threads."""
    sizes: list[tuple[int, int]] = []

    def run(size: int, *_: object) -> None:
        sizes.append((size, torch.get_num_threads()))
        raise KeyboardInterrupt

    monkeypatch.setattr(group, "run", run)
    before = torch.get_num_threads()
    try:
        for threads in (("--threads", "3"), ("--threads", "1"), ()):
            torch.set_num_threads(2)
            options = ("--recipe", recipe, "--device", "cpu", *threads)
            assert pe_stream("train", data, tmp_path / "out", *options).returncode == 130
    finally:
        torch.set_num_threads(before)
    assert sizes == [(3, 3), (1, 1), (2, 2)]


@pytest.mark.timeout(600)
def test_the_card_names_the_teacher(trained: Path, tmp_path: Path) -> None:
    facts = json.loads((trained / "training.json").read_text("utf-8"))
    assert facts["recipe"]["teacher"] == ""
    for teacher, name in (
        ("mn04", "EfficientAT's mn04 (MIT)"),
        ("YAMNet", "YAMNet (Apache-2.0)"),
        (True, "YAMNet (Apache-2.0)"),  # before there were two
    ):
        facts["recipe"]["teacher"] = teacher
        text = tmp_path / "training.json"
        text.write_text(json.dumps(facts), "utf-8")
        (tmp_path / "model.safetensors").write_bytes(b"")
        assert card.main([str(tmp_path)]) == 0
        assert f"A teacher, {name}, said" in (tmp_path / "README.md").read_text("utf-8")


@pytest.mark.timeout(600)
def test_the_card_says_which_labels_are_not_heard(trained: Path, tmp_path: Path) -> None:
    (tmp_path / "training.json").write_bytes((trained / "training.json").read_bytes())
    (tmp_path / "model.safetensors").write_bytes(b"")
    thresholds = {
        "dog_bark": {"threshold": 0.56, "recall": 0.75, "false_alarms_per_hour": 0.0},
        "siren": {
            "threshold": 0.9,
            "off_threshold": 0.45,
            "smooth_s": 0.6,
            "recall": 0.0,
            "false_alarms_per_hour": 0.25,
        },
    }
    told = {
        json.dumps({"labels": thresholds}): (
            "| siren | 0.9 | 0.45 | 0.6 | 0.00 | 0.25 |\n"
            "| dog_bark | 0.56 | in proportion | 0 | 0.75 | 0 |\n\n"
            "Not heard in these scenes: siren."
        ),
        '{"labels": {"dog_bark": 0.5}}': "what they reach was not noted",
    }
    for text, line in told.items():
        (tmp_path / "thresholds.json").write_text(text, "utf-8")
        assert card.main([str(tmp_path)]) == 0
        assert line in (tmp_path / "README.md").read_text("utf-8")


@pytest.mark.timeout(600)
def test_figures_go_into_the_card(trained: Path, tmp_path: Path) -> None:
    wrong = tmp_path / "wrong.json"
    wrong.write_text("{}", "utf-8")
    assert card.main([str(trained), str(wrong)]) == 69
    figures = {
        "checkpoint_description": "mine",
        "command": "pe-stream eval clips --fold 5",
        "set": "everyday",
        "phrasing": "plain",
        "datasets": [],
        "folds": [],
        "files": 3,
        "hours": 0.5,
        "background_hours": 0.1,
        "labels": "weak",
        "systems": {
            "pe_stream": {
                "summary": {"top1": 0.712, "map": 0.5},
                "labels": {"dog": {"clips": 4, "ap": 0.9, "top1": 0.8}},
            }
        },
    }
    path = tmp_path / "esc50_fold_5.json"
    path.write_text(json.dumps(figures), "utf-8")
    assert card.main([str(trained), str(path)]) == 0
    text = (trained / "README.md").read_text("utf-8")
    assert "### esc50 fold 5" in text
    assert "```sh\npe-stream eval clips --fold 5\n```" in text
    assert "0.712" in text


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("steps: 3", "unknown key 'steps'"),
        ("variants: 2", "unknown key 'variants'"),
        ("folds: [1]", "unknown key 'folds'"),
        ("mixtures: many", "mixtures: not a whole number from 1"),
        ("mixtures: true", "mixtures: not a whole number"),
        ("frames: 0", "frames: not a whole number from 1"),
        ("seed: -1", "seed: not a whole number from 0"),
        ("phrasings: 0", "phrasings: not a whole number from 1"),
        ("ideal_steps: -1", "ideal_steps: not a whole number"),
        ("- 1", "not a mapping"),
        ("a: [", "recipe.yaml"),
    ],
)
def test_a_wrong_recipe_is_told(text: str, message: str, data: Path, tmp_path: Path) -> None:
    path = tmp_path / "recipe.yaml"
    path.write_text(text, "utf-8")
    done = pe_stream("train", str(data), str(tmp_path / "out"), "--recipe", str(path))
    assert done.returncode == 78
    assert message in done.stderr
    assert not (tmp_path / "out").exists()


def test_data_without_a_manifest_or_a_free_clip_is_told(data: Path, tmp_path: Path) -> None:
    done = pe_stream("train", str(tmp_path), str(tmp_path / "out"))
    assert done.returncode == 69
    assert "manifest.csv" in done.stderr
    rows = (data / "manifest.csv").read_text("utf-8").replace("true", "false")
    for path in data.glob("*.wav"):
        (tmp_path / path.name).symlink_to(path)
    (tmp_path / "manifest.csv").write_text(rows, "utf-8")
    done = pe_stream("train", str(tmp_path), str(tmp_path / "out"))
    assert done.returncode == 69
    assert "--every-licence" in done.stderr


def test_a_device_that_is_not_there_is_told(data: Path, tmp_path: Path) -> None:
    done = pe_stream("train", str(data), str(tmp_path / "out"), "--device", "cuda:7")
    assert done.returncode == 69
    assert "cuda:7" in done.stderr
