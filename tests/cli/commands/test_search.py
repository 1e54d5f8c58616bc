"""`pe-stream search`, on what a real daemon kept, and on what it cannot search in."""

from __future__ import annotations

import json
import os
import time
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

import numpy as np
import pytest
from mosquitto import Mosquitto
from processes import Daemon, Done, pe_stream
from sounds import noise, write_float_wav

from pe_stream.audio.synthesis import smoke_alarm
from pe_stream.core.pooling import POOL, encode
from pe_stream.core.types import FRAME_NS, SAMPLE_RATE
from pe_stream.model.checkpoint import load
from pe_stream.storage.embedding_files import EmbeddingFiles, EmbeddingRows, Made, stored

HOUR_NS = 3600 * 10**9
ALARM_S = 7.0
TEXT = "a smoke alarm beeping"


@dataclass(frozen=True)
class Kept:
    """A house in which a smoke alarm beeped once."""

    folder: Path
    config: Path

    def search(self, *arguments: str) -> Done:
        return pe_stream("search", *arguments, "-c", self.config)


@pytest.fixture(scope="module")
def kept(tmp_path_factory: pytest.TempPathFactory) -> Kept:
    """The daemon has heard it with the embedded checkpoint, asked for something else."""
    folder = tmp_path_factory.mktemp("house")
    sound = noise((15.0, 0.001))
    alarm = smoke_alarm(2) * np.float32(0.1)
    begin = round(ALARM_S * SAMPLE_RATE)
    sound[begin : begin + len(alarm)] += alarm[: len(sound) - begin]
    wav = write_float_wav(folder / "sound.wav", sound)
    with Mosquitto(folder) as broker:
        text = f"""
node: Test
location: {{timezone: Asia/Tokyo}}
model: {{threads: 1}}
sources: {{kitchen: {{url: {wav}}}}}
labels: {{telephone: {{prompts: [a telephone ringing], threshold: 0.01, min_on_s: 0.0}}}}
mqtt: {{host: 127.0.0.1, port: {broker.port}}}
store: {{path: {folder}/events.db}}
history: {{path: {folder}/scores.db}}
search: {{enabled: true, folder: {folder}/heard}}
clips: {{enabled: true, folder: {folder}/clips}}
"""
        with Daemon(folder, text) as daemon:
            assert daemon.exit_code(90) == 0, daemon.log
    return Kept(folder, folder / "config.yaml")


@pytest.mark.realtime
def test_a_planted_sound_is_found_though_no_label_asked_for_it(kept: Kept) -> None:
    done = kept.search(TEXT, "--format", "jsonl")
    assert done.returncode == 0, done.stderr
    moments = [json.loads(line) for line in done.stdout.splitlines()]
    assert list(moments[0]) == [
        "source",
        "start",
        "local",
        "duration_s",
        "score",
        "peak_at",
        "event",
        "label",
        "clip",
        "clip_s",
    ]
    pieces = stored(kept.folder / "heard", 0, 2**62)
    begun_s = min(piece.rows["start_ns"].min() for piece in pieces) / 1e9
    best = moments[0]
    start = datetime.fromisoformat(best["start"])
    assert start.timestamp() - begun_s == pytest.approx(ALARM_S, abs=0.5)
    assert best["score"] > 0.3
    assert best["score"] > 3 * max(each["score"] for each in moments[1:])
    assert best["source"] == "kitchen"
    assert datetime.fromisoformat(best["local"]) == start
    assert best["local"].endswith("+09:00")
    assert [each["score"] for each in moments] == sorted(
        (e["score"] for e in moments), reverse=True
    )
    assert "model and text took " in done.stderr
    assert " h at kitchen 0." in done.stderr


@pytest.mark.realtime
def test_the_table_is_for_people(kept: Kept) -> None:
    done = kept.search(TEXT, "--limit", "1", "--source", "KITCHEN")
    head, best = done.stdout.splitlines()
    assert head.split() == ["score", "local", "time", "UTC", "length", "source", "event", "clip"]
    assert best.split()[0].startswith("0.")
    assert " kitchen " in best


@pytest.mark.realtime
def test_the_event_and_its_clip_are_told(kept: Kept) -> None:
    """The label's threshold is so low that it fired somewhere."""
    events = pe_stream("events", "-c", kept.config).stdout.splitlines()
    assert events, "no event to find"
    moments = [
        json.loads(line)
        for line in kept.search("a telephone", "--format", "jsonl").stdout.splitlines()
    ]
    there = [each for each in moments if each["event"] is not None]
    assert there
    assert {each["label"] for each in there} == {"telephone"}
    assert {each["event"] for each in there} <= {json.loads(line)["id"] for line in events}
    for each in there:
        assert (each["clip"] is None) == (each["clip_s"] is None)
        assert each["clip"] is None or Path(each["clip"]).is_file()
    assert any(each["clip"] for each in there)


@pytest.mark.realtime
@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        (["  "], 2, "the text is empty; describe the sound in words"),
        (["x" * 501], 2, "the text has 501 characters, 500 at most"),
        (["dog " * 100], 2, "too long for checkpoint 'embedded'"),
        (["dog", "--since", "yesterday"], 2, "--since 'yesterday': not a time"),
        (["dog", "--until", "soon"], 2, "--until 'soon': not a time"),
        (["dog", "--since", "1h", "--until", "2h"], 2, "--until is not after --since"),
        (["dog", "--limit", "0"], 2, "not a number from 1 to 200"),
        (["dog", "--limit", "201"], 2, "not a number from 1 to 200"),
        (
            ["dog", "--source", "attic"],
            69,
            "nothing is kept of what was heard at 'attic' since 24h",
        ),
        (["dog", "--since", "9h", "--until", "8h"], 69, "was heard since 9h until 8h"),
    ],
)
def test_what_cannot_be_searched(kept: Kept, arguments: list[str], code: int, said: str) -> None:
    done = kept.search(*arguments)
    assert (done.returncode, done.stdout) == (code, "")
    assert said in done.stderr


def test_where_nothing_is_kept_it_says_how_to_turn_it_on(tmp_path: Path) -> None:
    config = tmp_path / "config.yaml"
    config.write_text(f"labels: {{dog: }}\nsearch: {{folder: {tmp_path}/heard}}\n", "utf-8")
    done = pe_stream("search", "dog", "-c", config)
    assert (done.returncode, done.stdout) == (69, "")
    assert "nothing that was heard is kept: set search.enabled to true" in done.stderr


def test_without_a_configuration_the_usual_folder_is_searched(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("STATE_DIRECTORY", str(tmp_path / "state"))
    if os.path.exists("/etc/pe-stream/config.yaml"):  # noqa: PTH110 - as the command looks for it
        pytest.skip("this machine has a configuration")
    done = pe_stream("search", "dog", cwd=tmp_path)
    assert done.returncode == 69
    assert "set search.enabled to true" in done.stderr


def keep(folder: Path, identity: str, at_ns: int, width: int = 192) -> None:
    """Ten seconds that a checkpoint heard."""
    store = EmbeddingFiles(folder, keep_days=7, max_gb=1)
    means = np.random.default_rng(0).normal(0, 1, (25, width)).astype(np.float32)
    starts_ns = [at_ns + i * POOL * FRAME_NS for i in range(25)]
    rows = encode(starts_ns, [POOL] * 25, means)
    assert store.keep(
        EmbeddingRows(Made("kitchen", identity, "facebook/pe-a-frame-small", width), rows)
    )
    store.close()


def test_what_another_checkpoint_heard_is_not_searched(tmp_path: Path) -> None:
    config = tmp_path / "config.yaml"
    heard = tmp_path / "heard"
    config.write_text(
        f"labels: {{dog: }}\nmodel: {{threads: 1}}\nsearch: {{enabled: true, folder: {heard}}}\n"
    )
    hour_ago_ns = time.time_ns() - HOUR_NS
    keep(heard, "cd" * 32, hour_ago_ns, 1024)
    done = pe_stream("search", "dog", "-c", config)
    assert (done.returncode, done.stdout) == (69, "")
    assert "only what another checkpoint heard" in done.stderr
    assert "0.0 h by facebook/pe-a-frame-small" in done.stderr
    keep(heard, load("embedded", threads=1).identity, hour_ago_ns)
    done = pe_stream("search", "dog", "-c", config)
    assert done.returncode == 0
    assert "left out, as another checkpoint heard it: 0.0 h by facebook" in done.stderr
    assert len(done.stdout.splitlines()) > 1


@pytest.mark.realtime
def test_a_damaged_file_is_told_and_the_rest_searched(tmp_path: Path, kept: Kept) -> None:
    path = next((kept.folder / "heard" / "kitchen").glob("*.heard"))
    (kept.folder / "heard" / "porch").mkdir(exist_ok=True)
    damaged = kept.folder / "heard" / "porch" / path.name
    damaged.write_bytes(b"x" * 5000)
    try:
        done = kept.search(TEXT, "--limit", "1")
    finally:
        damaged.unlink()
    assert done.returncode == 0
    assert f"{damaged} is left out: it is damaged, or not ours" in done.stderr
    assert len(done.stdout.splitlines()) == 2


@pytest.mark.realtime
def test_it_reads_beside_a_daemon_and_only_its_rows(kept: Kept) -> None:
    """The lock of the folder is the daemon's; whoever reads needs none."""
    store = EmbeddingFiles(kept.folder / "heard", keep_days=7, max_gb=1)
    store.forget()
    assert store.unavailable_reason is None
    assert kept.search(TEXT).returncode == 0
    store.close()
