"""`pe-stream search --events`, on events whose second opinions a small PE-AV checkpoint gave."""

from __future__ import annotations

import json
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import pytest
from model.pe_av import pictures, sounds
from stand_ins import event

from pe_stream.cli.main import main
from pe_stream.core.opinion import OpinionTexts
from pe_stream.core.opinion_vectors import OpinionVectors
from pe_stream.core.types import Phase
from pe_stream.core.utc import utc_text
from pe_stream.model.second_opinion import OpinionModel, SquarePicture, load_opinion_model
from pe_stream.storage.events import EventStore

TEXT = "a white van"
COUNT = 6


@dataclass(frozen=True)
class Kept:
    """Events of the last hour. scores: of TEXT by event, as the model gives them on the whole."""

    config: Path
    scores: dict[str, dict[str, float | None]]


@pytest.fixture(scope="module")
def kept(tmp_path_factory: pytest.TempPathFactory, pe_av: Path) -> Kept:
    folder = tmp_path_factory.mktemp("house")
    config = folder / "config.yaml"
    config.write_text(
        f"labels: {{dog: }}\nlocation: {{timezone: Asia/Tokyo}}\n"
        f"store: {{path: {folder}/events.db}}\n"
        f"second_opinion: {{checkpoint: {pe_av}, device: cpu, dtype: float32}}\n",
        "utf-8",
    )
    model = load_opinion_model(str(pe_av), [TEXT], device="cpu", dtype="float32")
    store = EventStore(folder / "events.db", keep_days=30, limit=5)
    scores = {}
    for number in range(COUNT):
        name, made, scores_of = _told(model, number)
        onset = utc_text(datetime.now(UTC) - timedelta(minutes=number + 1))
        told = event(number, Phase.END, 2.0, label="dog")
        store.record(replace(told, onset=onset), [])
        store.record_vectors(name, made)
        scores[name] = scores_of
    store.close()
    return Kept(config, scores)


def _told(model: OpinionModel, number: int) -> tuple[str, OpinionVectors, dict[str, float | None]]:
    """An event's vectors and its scores; every other one has pictures."""
    shown: list[SquarePicture] = []
    if number % 2:
        shown = [model.square(each, (number, i)) for i, each in enumerate(pictures(number))]
    clip = model.embed(sounds(number + 3), shown)
    found = model.judge(clip, OpinionTexts((TEXT,), (TEXT,)))
    scores = {"sound": found.sound, "picture": found.picture, "both": found.both}
    return f"id-{number:04}", model.kept(clip), scores


def search(kept: Kept, *arguments: str) -> int:
    return main(["search", "--events", *arguments, "-c", str(kept.config)])


def test_events_come_in_the_order_of_their_best_score(
    kept: Kept, capsys: pytest.CaptureFixture[str]
) -> None:
    assert search(kept, TEXT, "--format", "jsonl") == 0
    lines = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert list(lines[0]) == [
        "source",
        "start",
        "local",
        "duration_s",
        "score",
        "sound",
        "picture",
        "both",
        "event",
        "label",
        "clip",
    ]
    best = {
        name: max(score for score in each.values() if score is not None)
        for name, each in kept.scores.items()
    }
    assert [line["event"] for line in lines] == sorted(best, key=lambda name: -best[name])
    assert len({*best.values()}) == COUNT
    for line in lines:
        assert line["score"] == pytest.approx(best[line["event"]], abs=2e-3)
        for kind, score in kept.scores[line["event"]].items():
            told = pytest.approx(score, abs=2e-3) if score is not None else None
            assert line[kind] == told
        assert line["local"].endswith("+09:00")
        assert (line["label"], line["duration_s"], line["clip"]) == ("dog", 2.0, None)


def test_the_table_is_for_people(kept: Kept, capsys: pytest.CaptureFixture[str]) -> None:
    assert search(kept, TEXT, "--limit", "2", "--source", "PORCH") == 0
    head, first, second = capsys.readouterr().out.splitlines()
    assert head.split() == [
        *("score", "sound", "picture", "both", "local", "time", "UTC"),
        *("length", "source", "event", "clip"),
    ]
    for line in (first, second):  # its events have no pictures
        score, sound, picture, both, *_ = line.split()
        assert (score, picture, both) == (sound, "-", "-")
        assert " porch " in line
        assert " dog " in line


def test_another_checkpoints_are_left_out_and_told(
    kept: Kept, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    store = EventStore(tmp_path / "events.db", keep_days=30, limit=5)
    store.record(replace(event(1, Phase.END), onset=utc_text(datetime.now(UTC))), [])
    vectors = {"sound": np.ones(32, np.float16)}
    store.record_vectors("id-0001", OpinionVectors("pe-av-large", "ef" * 32, vectors))  # type: ignore[arg-type]  # a kind
    store.close()
    config = tmp_path / "config.yaml"
    folder = str(kept.config.parent)
    config.write_text(kept.config.read_text("utf-8").replace(folder, str(tmp_path)), "utf-8")
    assert main(["search", "--events", TEXT, "-c", str(config)]) == 69
    told = capsys.readouterr()
    assert told.out == ""
    assert "only those of another checkpoint (1 by pe-av-large)" in told.err


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        (["  "], 2, "the text is empty; describe the sound in words"),
        (["x" * 501], 2, "the text has 501 characters, 500 at most"),
        (["dog " * 100], 2, "is too long for checkpoint"),
        (["dog", "--since", "yesterday"], 2, "--since 'yesterday': not a time"),
        (["dog", "--since", "1h", "--until", "2h"], 2, "--until is not after --since"),
        (["dog", "--source", "attic"], 69, "no event at 'attic' since 24h has a second opinion"),
        (["dog", "--since", "9h", "--until", "8h"], 69, "no event since 9h until 8h has a"),
    ],
)
def test_what_cannot_be_searched(
    kept: Kept,
    arguments: list[str],
    code: int,
    said: str,
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert search(kept, *arguments) == code
    told = capsys.readouterr()
    assert told.out == ""
    assert said in told.err
    assert "Traceback" not in told.err


@pytest.mark.parametrize(
    ("config", "said"),
    [
        ("", "set second_opinion.checkpoint in the configuration"),
        ("second_opinion: {checkpoint: a/b}\nstore: {enabled: false}", "store.enabled is false"),
        ("second_opinion: {checkpoint: a/b}\nstore: {path: FOLDER/no.db}", "no events are stored"),
    ],
)
def test_where_there_is_nothing_to_search_it_says_so(
    config: str, said: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """And loads nothing for it."""
    path = tmp_path / "config.yaml"
    path.write_text(f"labels: {{dog: }}\n{config.replace('FOLDER', str(tmp_path))}\n", "utf-8")
    assert main(["search", "--events", "a dog", "-c", str(path)]) == 69
    assert said in capsys.readouterr().err
