"""`pe-stream prompts` and what `check` says of labels that are nearly the same."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from processes import pe_stream
from sounds import write_float_wav

from pe_stream.assets import COMMON_SOUNDS
from pe_stream.audio.synthesis import dog_barks
from pe_stream.cli.commands import check
from pe_stream.cli.commands.prompts import _without_a_word
from pe_stream.config import LabelSettings, ModelSettings
from pe_stream.core.types import SAMPLE_RATE, Recommended
from pe_stream.labels.overlaps import NEARLY_SAME, cosines, overlaps
from pe_stream.pipeline.scorer import prepare

pytestmark = pytest.mark.heavy

CONFIG = """\
model: {checkpoint: embedded, device: cpu, threads: 1}
labels:
  dog: {prompts: ["a dog barking", "dog bark"]}
  hound: {prompts: ["barking of a dog"]}
  odd: {prompts: ["a doorbell ringing", "doorbell", "rain on a roof"]}
  speech: {prompts: ["a person speaking"], not: ["people chatting"]}
"""


@pytest.fixture(scope="module", autouse=True)
def cached(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_CACHE_HOME", str(tmp_path_factory.mktemp("cache")))
        yield


@pytest.fixture
def config(tmp_path: Path) -> Path:
    path = tmp_path / "config.yaml"
    path.write_text(CONFIG, "utf-8")
    return path


@pytest.fixture
def barks(tmp_path: Path) -> Path:
    sound = dog_barks(np.random.default_rng(1)) * np.float32(0.3)
    return write_float_wav(tmp_path / "barks.wav", np.pad(sound, SAMPLE_RATE // 2))


def found(*arguments: str | Path) -> dict[str, Any]:
    done = pe_stream("prompts", "--json", *arguments)
    assert done.returncode == 0, done.stderr
    told: dict[str, Any] = json.loads(done.stdout)
    return told


def test_labels_that_overlap(config: Path) -> None:
    (pair,) = found("-c", config)["overlaps"]
    assert (pair["first"], pair["second"], pair["nearly_same"]) == ("dog", "hound", True)
    assert pair["cosine"] >= NEARLY_SAME
    assert pair["correlation"] > 0.95


def test_phrasings_that_agree_and_one_that_does_not(config: Path, barks: Path) -> None:
    told = {each["prompt"]: each for each in found("-c", config, "--clips", barks)["phrasings"]}
    assert told["a dog barking"]["agreement"] > 0.9
    assert told["rain on a roof"]["agreement"] < 0.5
    assert told["barking of a dog"]["agreement"] is None
    assert told["a dog barking"]["clips"][str(barks)] > 0.2
    assert told["rain on a roof"]["clips"][str(barks)] < 0.1
    assert all(0 < each["background"] < 1 for each in told.values())
    text = pe_stream("prompts", "-c", config).stdout
    (odd,) = [line for line in text.splitlines() if "something else" in line]
    assert "'rain on a roof'" in odd


def test_the_words_that_move_a_clips_score_most(config: Path, barks: Path) -> None:
    assert found("-c", config)["words"] == []
    words = found("-c", config, "--clips", barks)["words"]
    moved = [each for each in words if each["label"] == "dog"]
    assert moved[0]["word"] in ("barking", "bark", "dog")
    assert moved[0]["clip"] == str(barks)
    differences = [abs(each["score"] - each["without"]) for each in moved]
    assert differences == sorted(differences, reverse=True)
    assert differences[0] > 0.02
    assert len(moved) == 5


def test_leaving_a_word_out() -> None:
    assert _without_a_word("a dog's bark, far") == [
        ("a", "dog's bark, far"),
        ("dog's", "a bark, far"),
        ("bark", "a dog's , far"),
        ("far", "a dog's bark,"),
    ]
    assert _without_a_word("doorbell") == []


def test_common_sounds_near_a_label(config: Path) -> None:
    near = found("-c", config)["neighbours"]
    of_dog = {each["sound"]: each["cosine"] for each in near if each["label"] == "dog"}
    assert "a dog whining" in of_dog
    assert "a dog barking" not in of_dog  # that is what the label says itself
    assert all(0.5 <= cosine <= 1 for cosine in of_dog.values())
    assert "people chatting" not in [each["sound"] for each in near if each["label"] == "speech"]
    sounds = COMMON_SOUNDS.read_text("utf-8").splitlines()
    assert len(sounds) == len(set(sounds)) == 200
    assert all(re.fullmatch("[a-z][a-z ]+[a-z]", sound) for sound in sounds)


def test_the_table_for_people(config: Path, barks: Path) -> None:
    done = pe_stream("prompts", "-c", config, "--clips", barks)
    assert done.returncode == 0
    assert re.search(r"[01]\.\d\d +[01]\.\d\d  dog, hound  nearly the same", done.stdout)
    assert f"{barks}" in done.stdout
    assert "words that move" in done.stdout


def test_nothing_to_tell(tmp_path: Path) -> None:
    path = tmp_path / "config.yaml"
    path.write_text(
        "model: {checkpoint: embedded, device: cpu, threads: 1}\nlabels: {xyz: }\n", "utf-8"
    )
    assert pe_stream("prompts", "-c", path).stdout.count("  none") == 2


@pytest.mark.parametrize(
    ("kind", "message"),
    [("silent", "silent"), ("missing", "No such file"), ("text", "no audio")],
)
def test_a_clip_that_cannot_be_used(config: Path, tmp_path: Path, kind: str, message: str) -> None:
    clip = tmp_path / f"{kind}.wav"
    if kind == "silent":
        write_float_wav(clip, np.zeros(SAMPLE_RATE, np.float32))
    elif kind == "text":
        clip.write_text("no audio at all\n" * 20, "utf-8")
    done = pe_stream("prompts", "-c", config, "--clips", clip)
    assert (done.returncode, done.stdout) == (69, "")
    assert re.search(rf"^pe-stream: .*{kind}\.wav: .*{message}", done.stderr)


def test_a_clip_given_twice(config: Path, barks: Path) -> None:
    done = pe_stream("prompts", "-c", config, "--clips", barks, barks)
    assert (done.returncode, done.stdout) == (2, "")


def test_check_warns_of_labels_that_are_nearly_the_same() -> None:
    prompts = {"dog": "a dog barking", "hound": "dog bark", "rain": "rain on a roof"}
    labels = {name: LabelSettings(prompts=(text,), threshold=0.5) for name, text in prompts.items()}
    model = ModelSettings(device="cpu", threads=1)
    told = check._labels(labels, [prepare(model, labels)])
    assert re.match(r"warning: dog and hound are nearly the same \(cosine [01]\.\d\d\); ", told)
    assert "rain" not in told
    del labels["hound"]
    assert check._labels(labels, [prepare(model, labels)]) == "no two are nearly the same"


def test_check_warns_of_a_label_that_hardly_ever_scores_enough() -> None:
    labels = {
        "dog": LabelSettings(prompts=("a dog barking",), threshold=0.5),
        "rain": LabelSettings(prompts=("rain on a roof",), threshold=0.999),
    }
    told = check._labels(labels, [prepare(ModelSettings(device="cpu", threads=1), labels)])
    assert told.endswith("hardly any score: rain")


def test_check_warns_of_what_the_checkpoint_says_it_cannot_do() -> None:
    recommended = {
        "deaf": Recommended(0.9, recall=0.0, false_alarms_per_hour=0.0),
        "loud": Recommended(0.9, recall=0.8, false_alarms_per_hour=3.5),
        "good": Recommended(0.9, recall=0.8, false_alarms_per_hour=0.5),
        "unmeasured": Recommended(0.9),
    }
    labels = {name: LabelSettings(prompts=(name,)) for name in (*recommended, "unknown")}
    assert check._weak(labels, recommended) == [
        (
            "warning: deaf: at its recommended threshold the checkpoint finds 0% of such sounds in"
            " scenes; examples may help"
        ),
        (
            "warning: loud: at its recommended threshold the checkpoint raises 3.5 false alarms"
            " an hour on background"
        ),
    ]
    own = {name: LabelSettings(prompts=(name,), threshold=0.4) for name in recommended}
    assert check._weak(own, recommended) == []


def test_the_everyday_labels_are_no_overlap() -> None:
    from pe_stream.assets import EVERYDAY
    from pe_stream.config.file import load

    settings = load(EVERYDAY)
    model = ModelSettings(device="cpu", threads=1)
    labels = prepare(model, settings.labels).labels.embeddings
    assert overlaps(labels) == []
    assert overlaps(labels, least=0.6)[0].first in ("clock_alarm", "smoke_alarm")


def test_cosines_of_what_has_no_length() -> None:
    rows = np.array([[0.0, 0.0], [3.0, 4.0]])
    assert cosines(rows, rows).tolist() == [[0, 0], [0, pytest.approx(1)]]


def test_prompts_that_say_nothing_to_the_checkpoint(config: Path) -> None:
    assert found("-c", config)["odd"] == []
    assert pe_stream("prompts", "-c", config).stdout.endswith("checkpoint\n  none\n")
    config.write_text(
        f"{CONFIG}  hund: {{prompts: [ein Hund bellt, a dog], not: [dgo barkign]}}\n", "utf-8"
    )
    first, second = found("-c", config)["odd"]
    assert (first["label"], first["prompt"]) == ("hund", "ein Hund bellt")
    assert (first["kind"], first["language"]) == ("language", "German")
    assert (second["words"], second["meant"]) == (["dgo", "barkign"], [None, "barking"])
    text = pe_stream("prompts", "-c", config).stdout
    assert f"  hund: {first['hint']}\n" in text
    assert f"  hund: {second['hint']}\n" in text


def test_check_hints_at_odd_prompts() -> None:
    prompts = {"dog": "a dog barking", "hund": "ein Hund bellt"}
    labels = {name: LabelSettings(prompts=(text,), threshold=0.5) for name, text in prompts.items()}
    scorer = prepare(ModelSettings(device="cpu", threads=1), labels)
    assert check._labels(labels, [scorer]).endswith(
        "warning: hund: 'ein Hund bellt' seems to be German: describe the sound in English"
    )


def test_unknown_words_are_hinted_at_where_it_is_known_which_were_taught() -> None:
    labels = {"dog": LabelSettings(prompts=("Hundegebell",), threshold=0.5)}
    scorer = prepare(ModelSettings(device="cpu", threads=1), labels)
    assert "warning: dog: 'Hundegebell': the checkpoint" in check._labels(labels, [scorer])
    other = replace(scorer, checkpoint=replace(scorer.loaded, words_known=False))
    assert check._labels(labels, [other]) == "no two are nearly the same"
