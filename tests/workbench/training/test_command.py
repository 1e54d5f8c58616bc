"""`pe-stream train`: a small manifest to a checkpoint that loads, hears and says whose it is."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import numpy as np
import pytest
from processes import pe_stream
from sounds import write_float_wav

from pe_stream.audio.synthesis.random_sounds import SOUNDS
from pe_stream.model.checkpoint import load
from pe_stream.workbench.training import card

RECIPE = """\
variants: 2
synthesised: 1
corpus: 10
text_steps: 3
readout_steps: 2
ideal_steps: 2
joint_steps: 1
"""

ROWS = [
    # label, made sound, fold, licence, redistributable
    ("door knock", "door knock", "1", "CC-BY", "true"),
    ("siren", "siren", "1", "CC0", "true"),
    ("car horn", "car horn", "1", "CC-BY-NC", "false"),
    ("whistle", "whistle", "2", "CC-BY", "true"),
]


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("data")
    with (folder / "manifest.csv").open("w", encoding="utf-8", newline="") as file:
        table = csv.writer(file)
        table.writerow(
            ["path", "dataset", "label", "fold", "licence", "redistributable", "attribution"]
        )
        for label, made, fold, licence, free in ROWS:
            name = f"{label}.wav"
            write_float_wav(folder / name, SOUNDS[made](np.random.default_rng(0)))
            table.writerow([name, "made", label, fold, licence, free, f"author of {label}"])
    return folder


@pytest.fixture(scope="module")
def recipe(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("recipe") / "recipe.yaml"
    path.write_text(RECIPE, "utf-8")
    return path


@pytest.fixture(scope="module")
def trained(data: Path, recipe: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("trained") / "checkpoint"
    done = pe_stream("train", str(data), str(out), "--fold", "1", "--recipe", str(recipe))
    assert done.returncode == 0, done.stderr
    assert done.stdout == f"{out}\n"
    return out


def test_a_teacher_that_is_not_there_is_told_at_once(
    data: Path, recipe: Path, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    done = pe_stream(
        "train", str(data), str(out), "--recipe", str(recipe), "--teacher", str(tmp_path)
    )
    assert done.returncode == 69
    assert "there is no yamnet.tflite" in done.stderr
    assert not out.exists()


@pytest.mark.timeout(600)
def test_the_checkpoint_loads_and_detects(trained: Path, data: Path) -> None:
    checkpoint = load(str(trained))
    assert checkpoint.recommended == {}
    done = pe_stream("detect", str(data / "siren.wav"), "--checkpoint", str(trained))
    assert done.returncode == 0, done.stderr
    assert (trained / "model.safetensors").stat().st_size <= 16e6


@pytest.mark.timeout(600)
def test_the_card_names_sources_and_authors(trained: Path) -> None:
    text = (trained / "README.md").read_text("utf-8")
    assert "- author of door knock (CC-BY)" in text
    assert "author of siren" not in text  # CC0 asks for nothing
    assert "author of car horn" not in text  # not redistributable, so not heard
    assert "author of whistle" not in text  # of another fold
    assert "| made | CC-BY | 1 |" in text
    assert "| joint_steps | 1 |" in text
    assert "<!--" not in text
    assert "Only clips that may be redistributed" in text
    assert "not calibrated" in text


@pytest.mark.timeout(600)
def test_a_finished_training_is_not_begun_anew(trained: Path, data: Path, recipe: Path) -> None:
    before = (trained / "model.safetensors").read_bytes()
    done = pe_stream("train", str(data), str(trained), "--fold", "1", "--recipe", str(recipe))
    assert done.returncode == 0, done.stderr
    assert "readout: " not in done.stderr
    assert (trained / "model.safetensors").read_bytes() == before


@pytest.mark.timeout(600)
def test_another_recipe_is_refused_in_the_same_folder(trained: Path, data: Path) -> None:
    done = pe_stream("train", str(data), str(trained), "--fold", "1")
    assert done.returncode == 78
    assert "was begun with another" in done.stderr
    assert "ideal_steps" in done.stderr


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
        ("variants: many", "variants: not a whole number"),
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
