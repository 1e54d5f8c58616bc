"""`pe-stream eval` as a user runs it, on a checkpoint whose scores are known: a level meter."""

from __future__ import annotations

import json
import shlex
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image
from processes import Done, pe_stream
from sounds import noise, write_float_wav

from pe_stream.cli.main import main
from pe_stream.core.types import Samples
from pe_stream.workbench.calibration import propose
from pe_stream.workbench.evaluation import command, thresholds, yamnet
from pe_stream.workbench.evaluation.options import EvalOptions, command_line
from pe_stream.workbench.soundscapes import hours

pytestmark = pytest.mark.heavy

QUIET, LOUD = 0.001, 0.2


@pytest.fixture(scope="module")
def strong(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A bang where the manifest has one, a bang where it has none, and quiet."""
    folder = tmp_path_factory.mktemp("strong")
    (folder / "a").mkdir()
    bang = noise((1.0, QUIET), (0.6, LOUD), (0.8, QUIET), (0.6, LOUD), (0.5, QUIET))
    write_float_wav(folder / "a" / "bang.wav", bang)
    write_float_wav(folder / "quiet.wav", noise((3.0, QUIET)))
    (folder / "manifest.csv").write_text(
        "path,label,onset_s,offset_s,fold\n"
        "a/bang.wav,bang,1.0,1.6,1\n"
        "a/bang.wav,hiss,2.4,3.0,1\n"
        "quiet.wav,,,,1\n",
        "utf-8",
    )
    return folder


@pytest.fixture(scope="module")
def weak(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("weak")
    write_float_wav(folder / "loud.wav", noise((1.5, LOUD)))
    write_float_wav(folder / "quiet.wav", noise((1.5, QUIET)))
    write_float_wav(folder / "cow.wav", noise((1.5, LOUD)))
    write_float_wav(folder / "nothing.wav", noise((1.5, QUIET)))
    (folder / "manifest.csv").write_text(
        "path,label,fold,dataset,clip_id\n"
        "loud.wav,bang,1,one,7\n"
        "loud.wav,bang,1,two,7\n"
        "quiet.wav,hush,2,one,8\n"
        "nothing.wav,,3,one,9\n"
        "cow.wav,cow,1,one,10\n",
        "utf-8",
    )
    return folder


@pytest.fixture(scope="module")
def prompts(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("prompts") / "mine.yaml"
    path.write_text(
        "bang: {plain: a bang, related: [hiss], unseen: [boom], yamnet: [Bang]}\n"
        "hush: {plain: a hush, yamnet: [Hush]}\n",
        "utf-8",
    )
    return path


class LevelModel:
    """Instead of YAMNet: the level of a window as Bang, nothing as Hush."""

    def __call__(self, samples: Samples) -> NDArray[np.float32]:
        return np.array([min(1.0, 5 * float(np.abs(samples).mean())), 0.0], np.float32)


@pytest.fixture
def peer(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    (tmp_path / yamnet.MODEL).write_bytes(b"a stand-in is used")
    (tmp_path / yamnet.CLASSES).write_text("index,mid,display_name\n0,a,Bang\n1,b,Hush\n", "utf-8")
    monkeypatch.setattr(yamnet, "_classifier", lambda *_: LevelModel())
    return tmp_path


def evaluate(folder: Path, level: Path, *arguments: str | Path) -> Done:
    return pe_stream("eval", folder, "--checkpoint", level, "--threads", "1", *arguments)


def figures(done: Done) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def test_strong_labels(strong: Path, level: Path, prompts: Path, peer: Path) -> None:
    out, plots = peer / "out.json", peer / "deep" / "plots"
    done = evaluate(
        strong, level, "--prompts", prompts, "--peer", peer, "--json", out, "--plot", plots
    )
    assert (done.returncode, done.stderr) == (0, "")
    made = json.loads(out.read_text("utf-8"))
    ours = made["systems"]["pe_stream"]
    bang = ours["labels"]["bang"]
    assert bang["auroc"] > 0.99
    assert bang["recall"] == 1.0
    assert bang["false_alarms_per_hour"] == 0.0  # the hiss is loud, and near to a bang
    assert bang["onset_error_median_s"] < 0.05
    assert bang["f1"] == bang["best_f1"] == 1.0
    assert ours["summary"]["psds1"] == pytest.approx(1.0)
    # the level meter hears both bang and hiss as hush, which nothing is
    assert ours["labels"]["hush"]["false_alarms_per_hour"] == pytest.approx(2 * 3600 / 6.5)
    assert ours["summary"]["background_false_alarms_per_hour"] == 0.0
    assert (made["files"], made["labels"]) == (2, "strong")
    assert made["hours"] == pytest.approx(6.5 / 3600)
    assert made["versions"]["sed_scores_eval"]
    assert made["systems"]["yamnet"]["labels"]["bang"]["auroc"] < bang["auroc"]
    assert "| bang" in done.stdout
    assert "YAMNet is ahead of ours for none of 1 labels (AUROC)." in done.stdout
    names = {path.name for path in plots.iterdir()}
    assert names == {
        "alarms.png",
        "precision_recall.png",
        "roc.png",
        "scores_a_bang.png",
        "scores_quiet.png",
    }
    for path in plots.iterdir():
        with Image.open(path) as picture:
            assert picture.format == "PNG"


def test_second_opinions_on_the_events(
    strong: Path, level: Path, prompts: Path, pe_av: Path, tmp_path: Path
) -> None:
    """The bang is right, the hiss near to it left out; all that is heard as hush is false."""
    out = tmp_path / "out.json"
    asked = ("--second-opinion", pe_av, "--json", out)
    done = evaluate(strong, level, "--prompts", prompts, *asked)
    assert (done.returncode, done.stderr) == (0, "")
    made = json.loads(out.read_text("utf-8"))
    found = made["second_opinion"]
    assert found["checkpoint"] == str(pe_av)
    counts = {name: (row["right"], row["false"]) for name, row in found["labels"].items()}
    assert counts == {"bang": (1, 0), "hush": (0, 2)}
    assert found["all"]["sound"]["auroc"] is not None
    assert f"Second opinions by {pe_av}: AUROC of right" in done.stdout
    plain = figures(evaluate(strong, level, "--prompts", prompts, "--json", "-"))
    assert "second_opinion" not in plain
    assert plain["systems"] == made["systems"]


def test_made_sounds_stand_in_a_table_of_their_own(
    strong: Path, level: Path, prompts: Path, peer: Path, tmp_path: Path
) -> None:
    """The same folder, its second bang from a formula, and a third that is quiet too."""
    folder = tmp_path / "made"
    shutil.copytree(strong, folder)
    note = "background: room; SNR 9.0 dB; of "
    (folder / "manifest.csv").write_text(
        "path,label,onset_s,offset_s,fold,note\n"
        f"a/bang.wav,bang,1.0,1.6,1,{note}x.wav\n"
        f"a/bang.wav,bang,2.4,3.0,1,{note}synthesised\n"
        f"quiet.wav,bang,1.0,2.0,1,{note}synthesised\n",
        "utf-8",
    )
    out = tmp_path / "out.json"
    done = evaluate(folder, level, "--prompts", prompts, "--peer", peer, "--json", out)
    assert (done.returncode, done.stderr) == (0, "")
    found = json.loads(out.read_text("utf-8"))
    real = found["systems"]["pe_stream"]
    made = found["made"]["systems"]["pe_stream"]
    assert (real["labels"]["bang"]["events"], made["labels"]["bang"]["events"]) == (1, 2)
    assert real["summary"]["recall"] == 1.0
    assert made["summary"]["recall"] == 0.5
    assert real["labels"]["bang"]["false_alarms_per_hour"] == 0.0, "the made one is no false alarm"
    assert made["labels"]["bang"]["false_alarms_per_hour"] == 0.0, "nor is the real one"
    assert real["labels"]["bang"]["auroc"] > 0.99 > made["labels"]["bang"]["auroc"]
    assert list(made["labels"]) == ["bang"]
    assert set(found["made"]["systems"]) == {"pe_stream", "yamnet"}
    above, below = done.stdout.split("Made sounds, apart: ")
    assert "| bang  |      1 |" in above
    assert "| bang  |      2 |" in below
    assert "hush" not in below
    plain = json.loads(evaluate(strong, level, "--prompts", prompts, "--json", "-").stdout)
    assert "made" not in plain


def test_weak_labels(weak: Path, level: Path, prompts: Path, peer: Path) -> None:
    done = evaluate(
        weak, level, "--prompts", prompts, "--peer", peer, "--json", "-", "--plot", peer / "p"
    )
    assert done.returncode == 0
    assert "1 rows left out, the set has no such label: cow (1)" in done.stderr
    assert "1 rows left out: another data set has the same clip" in done.stderr
    made = figures(done)
    ours = made["systems"]["pe_stream"]
    assert ours["labels"]["bang"]["ap"] == 1.0
    assert set(ours["poolings"]) == {"mean_probability", "max", "mean_logit"}
    assert ours["summary"]["background_false_alarms_per_hour"] == 0.0
    assert made["systems"]["yamnet"]["labels"]["bang"]["ap"] == 1.0
    assert made["left_out"] == {"unknown_labels": {"cow": 1}, "doubles": 1, "unreadable": []}
    assert (peer / "p" / "precision_recall.png").stat().st_size > 1000


def test_scores_are_those_of_detect(strong: Path, level: Path, prompts: Path) -> None:
    made = figures(evaluate(strong, level, "--prompts", prompts, "--json", "-"))
    bang = strong / "a" / "bang.wav"
    done = pe_stream("detect", bang, "--checkpoint", level, "--prompt", "bang")
    onsets = [json.loads(line)["onset_s"] for line in done.stdout.splitlines()]
    assert len(onsets) == 2
    error = made["systems"]["pe_stream"]["labels"]["bang"]["onset_error_median_s"]
    assert error == pytest.approx(abs(onsets[0] - 1.0))


def test_folds_data_sets_phrasing_and_threshold(weak: Path, level: Path, prompts: Path) -> None:
    done = evaluate(
        weak, level, "--prompts", prompts, "--fold", "1", "3", "--dataset", "two", "one",
        "--json", "-",
    )  # fmt: skip
    made = figures(done)
    assert (made["files"], made["folds"], made["datasets"]) == (2, ["1", "3"], ["two", "one"])
    for arguments, said in [
        (("--fold", "9"), "no clip of fold 9"),
        (("--dataset", "three"), "no clip of data set three; there are one, two"),
    ]:
        done = evaluate(weak, level, "--prompts", prompts, *arguments)
        assert done.returncode == 69
        assert said in done.stderr
    done = evaluate(weak, level, "--prompts", prompts, "--phrasing", "1")
    assert done.returncode == 2
    assert "the label 'hush' has 0 phrasings" in done.stderr
    done = evaluate(weak, level, "--set", "esc50", "--phrasing", "nine")
    assert done.returncode == 2


def test_of_doubles_the_better_counts_unless_the_user_says_otherwise(
    level: Path, prompts: Path, tmp_path: Path
) -> None:
    write_float_wav(tmp_path / "low.wav", noise((1.0, LOUD)))
    write_float_wav(tmp_path / "high.wav", noise((1.5, LOUD)))
    (tmp_path / "manifest.csv").write_text(
        "path,label,dataset,clip_id,sample_rate\n"
        "low.wav,bang,one,7,16000\n"
        "high.wav,bang,two,7,44100\n",
        "utf-8",
    )
    for arguments, seconds in (((), 1.5), (("--dataset", "one", "two"), 1.0)):
        made = figures(evaluate(tmp_path, level, "--prompts", prompts, "--json", "-", *arguments))
        assert made["hours"] == pytest.approx(seconds / 3600)
        assert made["left_out"]["doubles"] == 1


def test_thresholds_recommended_and_given(
    strong: Path, level: Path, prompts: Path, tmp_path: Path
) -> None:
    checkpoint = tmp_path / "checkpoint"
    shutil.copytree(level, checkpoint)
    (checkpoint / "thresholds.json").write_text('{"labels": {"bang": 0.25}}', "utf-8")
    arguments = ("--prompts", prompts, "--json", "-")
    found = figures(evaluate(strong, checkpoint, *arguments))["systems"]["pe_stream"]["labels"]
    assert (found["bang"]["threshold"], found["hush"]["threshold"]) == (0.25, 0.5)
    given = figures(evaluate(strong, checkpoint, *arguments, "--threshold", "0.7"))
    assert given["systems"]["pe_stream"]["labels"]["bang"]["threshold"] == 0.7


def test_a_file_that_is_no_audio_is_left_out_and_the_code_says_so(
    strong: Path, level: Path, prompts: Path, tmp_path: Path
) -> None:
    folder = tmp_path / "damaged"
    shutil.copytree(strong, folder)
    (folder / "quiet.wav").write_text("this is no audio\n" * 50, "utf-8")
    done = evaluate(folder, level, "--prompts", prompts, "--json", "-")
    assert done.returncode == 69
    assert f"left out: {folder / 'quiet.wav'}" in done.stderr
    assert figures(done)["left_out"]["unreadable"] == ["quiet.wav"]
    (folder / "a" / "bang.wav").write_bytes(b"")
    done = evaluate(folder, level, "--prompts", prompts)
    assert done.returncode == 69
    assert "none of the files can be evaluated" in done.stderr


def test_an_event_beyond_its_file(strong: Path, level: Path, prompts: Path, tmp_path: Path) -> None:
    shutil.copytree(strong, tmp_path / "long")
    with (tmp_path / "long" / "manifest.csv").open("a", encoding="utf-8") as rows:
        rows.write("a/bang.wav,bang,90,91,1\n")
    done = evaluate(tmp_path / "long", level, "--prompts", prompts, "--json", "-")
    assert done.returncode == 69
    said = "the manifest has an event at 90 s, and the file ends at 3.50 s"
    assert f"left out: {tmp_path / 'long' / 'a' / 'bang.wav'}: {said}" in done.stderr
    made = figures(done)
    assert (made["files"], made["left_out"]["unreadable"]) == (1, ["a/bang.wav"])
    assert made["hours"] == pytest.approx(3 / 3600)
    alarms = made["systems"]["pe_stream"]["summary"]["background_false_alarms_per_hour"]
    assert alarms == 0.0  # of the quiet file's own scores


def test_a_run_that_fails_leaves_no_json_behind(strong: Path, level: Path, tmp_path: Path) -> None:
    out = tmp_path / "out.json"
    done = evaluate(strong, tmp_path / "none", "--json", out)
    assert done.returncode != 0
    assert not out.exists()
    out.write_text("of an earlier run", "utf-8")
    done = evaluate(strong, tmp_path / "none", "--json", out)
    assert done.returncode != 0
    assert out.read_text("utf-8") == "of an earlier run"


def test_a_peer_without_some_classes(
    strong: Path, weak: Path, level: Path, tmp_path: Path, peer: Path
) -> None:
    path = tmp_path / "mine.yaml"
    path.write_text("bang: {plain: a bang, yamnet: [Bang]}\nhush: a hush\nhiss: a hiss\n", "utf-8")
    for folder, key in ((strong, "auroc"), (weak, "map")):
        done = evaluate(folder, level, "--prompts", path, "--peer", peer, "--json", "-")
        systems = figures(done)["systems"]
        ours = systems["pe_stream"]
        assert systems["yamnet"]["deaf"] == ["hiss", "hush"]
        assert ours["both_know"]["labels"] == ["bang"]
        main_of_bang = ours["labels"]["bang"]["auroc" if key == "auroc" else "ap"]
        assert ours["both_know"]["summary"][key] == main_of_bang
        assert ours["both_know"]["summary"].keys() == ours["summary"].keys()
        assert "both_know" not in systems["yamnet"]


def test_the_backgrounds_of_soundscapes_are_told(
    strong: Path, level: Path, prompts: Path, tmp_path: Path
) -> None:
    folder = tmp_path / "noted"
    shutil.copytree(strong, folder)
    (folder / "manifest.csv").write_text(
        "path,label,onset_s,offset_s,note\n"
        "a/bang.wav,bang,1.0,1.6,background: rain; SNR 3.0 dB; of bang.wav\n"
        "quiet.wav,,,,background: quiet room\n",
        "utf-8",
    )
    out = tmp_path / "out.json"
    done = evaluate(folder, level, "--prompts", prompts, "--json", out)
    assert json.loads(out.read_text("utf-8"))["backgrounds"] == {"quiet room": 1}
    assert "min without events over quiet room)" in done.stdout


def test_the_report_holds_the_command_that_made_it(
    strong: Path, level: Path, prompts: Path
) -> None:
    done = evaluate(strong, level, "--prompts", prompts, "--json", "-")
    said = figures(done)["command"]
    assert said == (
        f"pe-stream eval {strong} --checkpoint {level} --prompts {prompts} --json - --threads 1"
    )


@pytest.mark.parametrize(
    "options",
    [
        EvalOptions(Path("a folder")),
        EvalOptions(
            Path("x"),
            checkpoint="it's/mine",
            prompts=Path("p q.yaml"),
            phrasing=2,
            datasets=("b", "a c"),
            folds=("1", "2"),
            threshold=0.25,
            json="-",
            plot=Path("p"),
            peer=Path("y"),
            threads=2,
            hop_s=0.96,
        ),
        EvalOptions(Path("x"), set="esc50", phrasing="unseen"),
        EvalOptions(Path("x"), calibration=5, seed=3),
        EvalOptions(Path("x"), second_opinion="pe/av"),
        EvalOptions(second_opinion="pe/av", config=Path("my config.yaml")),
    ],
)
def test_the_command_in_the_report_gives_the_same_options(
    options: EvalOptions, monkeypatch: pytest.MonkeyPatch
) -> None:
    given: list[EvalOptions] = []

    def run(options: EvalOptions) -> int:
        given.append(options)
        return 0

    monkeypatch.setattr(command, "run", run)
    program, *arguments = shlex.split(command_line(options))
    assert program == "pe-stream"
    assert main(arguments) == 0
    assert given == [options]


def test_what_is_missing_is_one_line(strong: Path, level: Path, tmp_path: Path) -> None:
    done = evaluate(tmp_path, level)
    assert done.returncode == 69
    assert "manifest.csv" in done.stderr
    done = evaluate(strong, level, "--peer", tmp_path)
    assert done.returncode == 69
    assert "there is no yamnet.tflite, and no mn04_as.onnx" in done.stderr
    wrong = tmp_path / "wrong.yaml"
    wrong.write_text("bang: [a bang]\n", "utf-8")
    done = evaluate(strong, level, "--prompts", wrong)
    assert done.returncode == 78
    assert f"{wrong}:1: bang: a prompt belongs here" in done.stderr
    done = evaluate(strong, level, "--json", tmp_path / "none" / "out.json")
    assert done.returncode == 69
    assert "cannot be written" in done.stderr
    for wrongly in (("--threads", "0"), ("--threshold", "2"), ("--phrasing", "0")):
        assert evaluate(strong, level, *wrongly).returncode == 2


def test_no_label_of_the_manifest_is_in_the_set(weak: Path, level: Path, tmp_path: Path) -> None:
    path = tmp_path / "other.yaml"
    path.write_text("moose: a moose\n", "utf-8")
    done = evaluate(weak, level, "--prompts", path, "--fold", "1")
    assert done.returncode == 69
    assert "no clip is of any label in the set" in done.stderr


@pytest.fixture
def house(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Bangs and rustles to make hours of four scenes of, and an ambience in another fold."""
    monkeypatch.setattr(hours, "SCENES", 4)
    monkeypatch.setattr(propose, "LEAST_S", 60.0)
    monkeypatch.setattr(thresholds, "RATES", (30.0, 90.0))
    folder = tmp_path / "house"
    folder.mkdir()
    rows = ["path,label,fold,dataset,clip_id"]
    for n in range(8):
        write_float_wav(folder / f"{n}.wav", noise((1.0, LOUD)))
        rows.append(f"{n}.wav,{'bang' if n % 2 else 'rustle'},dev,one,{n}")
    write_float_wav(folder / "hum.wav", noise((10.0, LOUD)))
    rows.append("hum.wav,hum,train,background,hum")
    (folder / "manifest.csv").write_text("\n".join(rows) + "\n", "utf-8")
    return folder


def test_thresholds_calibrated_in_one_hour_are_judged_in_another(
    house: Path, level: Path, prompts: Path, tmp_path: Path
) -> None:
    out = tmp_path / "out.json"
    arguments = ("--prompts", prompts, "--fold", "dev", "--calibration", "2", "--json", out)
    done = evaluate(house, level, *arguments)
    assert (done.returncode, done.stderr) == (0, "")
    made = json.loads(out.read_text("utf-8"))
    assert (made["hours"], made["seed"], made["folds"]) == (2, 0, ["dev"])
    assert [row["wanted_per_hour"] for row in made["rates"]] == [30.0, 90.0]
    assert {row["trials"] for row in made["rates"]} == {4}
    labels = made["recall"]["labels"]
    assert [labels[name]["events"] for name in ("bang", "hush")] == [4, 0]
    assert len(labels["bang"]["thresholds"]) == 2
    assert "2 hours without a common recording, seed 0" in done.stdout
    assert "| bang " in done.stdout
    again = figures(evaluate(house, level, *arguments[:-1], "-"))
    assert again["recall"] == made["recall"]
    assert again["rates"] == made["rates"]
    other = figures(evaluate(house, level, *arguments[:-1], "-", "--seed", "1"))
    assert other["seed"] == 1
    assert other["recall"] != made["recall"]


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        (("--calibration", "1"), 2, "not a number from 2 to 24"),
        (("--calibration", "25"), 2, "not a number from 2 to 24"),
        (("--calibration", "2", "--seed", "-1"), 2, "not a number from 0"),
        (("--seed", "3"), 2, "--seed is about --calibration"),
        (("--calibration", "2", "--threshold", "0.3"), 2, "--threshold does not go with"),
        (("--calibration", "2", "--plot", "p"), 2, "--plot does not go with"),
        (("--calibration", "2", "--peer", "p"), 2, "--peer does not go with"),
        (("--calibration", "2", "--dataset", "one"), 2, "--dataset does not go with"),
        (("--calibration", "9", "--fold", "dev"), 69, "8 recordings are too few for 9 hours"),
        (("--calibration", "2", "--fold", "nine"), 69, "no clip of fold nine"),
        (("--calibration", "2", "--json", "/no/such/out.json"), 69, "cannot be written"),
    ],
)
def test_what_cannot_be_calibrated_is_said(
    house: Path, level: Path, arguments: tuple[str, ...], code: int, said: str
) -> None:
    done = evaluate(house, level, *arguments)
    assert (done.returncode, done.stdout) == (code, "")
    assert said in done.stderr


def test_too_little_background_is_said(
    house: Path, level: Path, prompts: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(propose, "LEAST_S", 300.0)
    done = evaluate(house, level, "--prompts", prompts, "--fold", "dev", "--calibration", "2")
    assert (done.returncode, done.stdout) == (69, "")
    assert "bang: " in done.stderr
    assert "at least 5 min are needed" in done.stderr
