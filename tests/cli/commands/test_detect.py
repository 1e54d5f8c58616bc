"""`pe-stream detect` as a user runs it, on a checkpoint whose scores are known."""

from __future__ import annotations

import csv
import io
import json
import subprocess
import time
from pathlib import Path

import jsonschema
import numpy as np
import pytest
from audio.hostile_servers import wav_head
from PIL import Image
from processes import pe_stream
from sounds import noise, write_float_wav
from timing import within

from pe_stream.core.messages import event_schema

RATE = 48_000


@pytest.fixture(scope="module")
def wav(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Loud from 1 to 1.6 s and from 3 s to the end at 4.21 s."""
    signal = noise((1.0, 0.001), (0.6, 0.2), (1.4, 0.001), (1.21, 0.2))
    return write_float_wav(tmp_path_factory.mktemp("wav") / "bursts.wav", signal)


@pytest.fixture(scope="module")
def config(tmp_path_factory: pytest.TempPathFactory, level: Path) -> Path:
    path = tmp_path_factory.mktemp("config") / "config.yaml"
    path.write_text(
        f"model: {{checkpoint: {level}, window_s: 1.0, hop_s: 0.2, lookahead_s: 0.2, threads: 1}}\n"
        "labels:\n  loud: {}\n  never: {threshold: 0.9999}\n",
        "utf-8",
    )
    return path


def test_jsonl_is_finished_events_in_order_of_onset(config: Path, wav: Path) -> None:
    done = pe_stream("detect", wav, wav, "-c", config)
    assert (done.returncode, done.stderr) == (0, "")
    events = [json.loads(line) for line in done.stdout.splitlines()]
    for event in events:
        jsonschema.validate(event, event_schema())
    assert [(e["phase"], e["label"], e["source"]) for e in events] == [
        ("end", "loud", str(wav))
    ] * 4
    assert [e["onset_s"] for e in events] == pytest.approx([1.0, 3.0] * 2, abs=0.041)
    assert [e["offset_s"] for e in events] == pytest.approx([1.6, 4.21] * 2, abs=0.041)
    assert len({e["id"] for e in events}) == 4


def test_tsv_and_audacity(config: Path, wav: Path) -> None:
    table = pe_stream("detect", wav, "-c", config, "--format", "tsv").stdout
    rows = list(csv.DictReader(io.StringIO(table), delimiter="\t"))
    assert list(rows[0]) == ["file", "onset_s", "offset_s", "label", "peak", "mean"]
    assert [(row["file"], row["label"]) for row in rows] == [(str(wav), "loud")] * 2
    labels = pe_stream("detect", wav, "-c", config, "--format", "audacity").stdout
    onset, offset, label = labels.splitlines()[0].split("\t")
    assert (float(onset), float(offset), label) == (
        float(rows[0]["onset_s"]),
        float(rows[0]["offset_s"]),
        "loud",
    )


def test_scores_and_plot_are_written_per_file(config: Path, wav: Path, tmp_path: Path) -> None:
    out = tmp_path / "deep" / "out"
    done = pe_stream("detect", wav, "-c", config, "--scores", out, "--plot", out)
    assert done.returncode == 0, done.stderr
    with np.load(out / "bursts.npz") as saved:
        assert set(saved) == {"labels", "scores", "frame_s"}
        assert saved["labels"].tolist() == ["loud", "never"]
        scores = saved["scores"]
        assert float(saved["frame_s"]) == 0.04
    assert (scores.shape, scores.dtype) == ((106, 2), np.float32)
    assert scores[30:38].min() > 0.9
    assert scores[45:70].max() < 0.1
    with Image.open(out / "bursts.png") as picture:
        assert picture.format == "PNG"
        assert picture.width > 1000


def test_prompts_need_no_config_and_are_the_labels(level: Path, wav: Path, tmp_path: Path) -> None:
    done = pe_stream(
        "detect", wav, "--checkpoint", level, "--prompt", "a dog", "--prompt", "Ein Hund, laut",
        cwd=tmp_path,
    )  # fmt: skip
    assert (done.returncode, done.stderr) == (0, "")
    events = [json.loads(line) for line in done.stdout.splitlines()]
    assert [e["label"] for e in events] == ["a dog", "Ein Hund, laut"] * 2


def test_threshold_overrides_every_label(config: Path, wav: Path) -> None:
    done = pe_stream("detect", wav, "-c", config, "--threshold", "0.6")
    labels = [json.loads(line)["label"] for line in done.stdout.splitlines()]
    assert labels == ["loud", "never"] * 2
    assert {json.loads(line)["threshold"] for line in done.stdout.splitlines()} == {0.6}


@pytest.mark.parametrize("rate", [8000, 44_100, 192_000])
def test_any_rate_and_any_number_of_channels(
    config: Path, wav: Path, tmp_path: Path, rate: int
) -> None:
    other = tmp_path / f"{rate}.wav"
    pan = "pan=8c|" + "|".join(f"c{channel}=c0" for channel in range(8))
    subprocess.run(
        ["ffmpeg", "-v", "error", "-i", wav, "-ar", str(rate), "-af", pan, other], check=True
    )
    events = [
        [json.loads(line) for line in pe_stream("detect", f, "-c", config).stdout.splitlines()]
        for f in (wav, other)
    ]
    assert len(events[1]) == 2
    for key in ("onset_s", "offset_s"):
        wanted = [e[key] for e in events[0]]
        assert [e[key] for e in events[1]] == pytest.approx(wanted, abs=0.041)


@pytest.fixture
def bad(tmp_path: Path) -> dict[str, Path]:
    """Files that cannot be used, by what is wrong with them."""
    files = {
        "silent": write_float_wav(tmp_path / "silent.wav", np.zeros(RATE, np.float32)),
        "NaN": write_float_wav(tmp_path / "nan.wav", np.full(RATE, np.nan, np.float32)),
        "empty": write_float_wav(tmp_path / "none.wav", np.zeros(0, np.float32)),
        "text": tmp_path / "text.wav",
        "zero": tmp_path / "zero.wav",
        "missing": tmp_path / "missing.wav",
        "folder": tmp_path,
    }
    files["text"].write_text("this is no audio\n" * 50, "utf-8")
    files["zero"].touch()
    return files


@pytest.mark.parametrize("kind", ["silent", "NaN", "empty", "text", "zero", "missing", "folder"])
def test_a_bad_file_is_one_clear_line_and_the_others_go_on(
    config: Path, wav: Path, bad: dict[str, Path], kind: str
) -> None:
    done = pe_stream("detect", bad[kind], wav, "-c", config)
    assert done.returncode == 69
    assert len(done.stdout.splitlines()) == 2
    (line,) = done.stderr.splitlines()
    assert line.startswith(f"pe-stream: {bad[kind]}: ")
    assert "Traceback" not in line


def test_usage_errors(config: Path, wav: Path, tmp_path: Path) -> None:
    for arguments, message in (
        (["detect"], "FILE"),
        (["detect", wav, "--threshold", "1.5"], "above 0 and below 1"),
        (["detect", wav, wav, "--format", "audacity", "-c", config], "one FILE"),
        (["detect", wav, wav, "--plot", tmp_path, "-c", config], "bursts"),
        (["detect", wav, "--format", "xml"], "invalid choice"),
        (["dance"], "invalid choice"),
        ([], "COMMAND"),
    ):
        done = pe_stream(*arguments)
        assert done.returncode == 2, arguments
        assert message in done.stderr
        assert done.stdout == ""


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (["--prompt", " "], 78, "empty"),
        (["--prompt", "a dog", "--prompt", "a dog"], 78, "more than once"),
        (["--prompt", "a", "--checkpoint", "/no/such/folder"], 69, "/no/such/folder"),
        (["-c", "/no/such/config.yaml"], 78, "/no/such/config.yaml"),
    ],
)
def test_what_cannot_work_is_said_in_one_line(
    wav: Path, arguments: list[str], code: int, message: str
) -> None:
    done = pe_stream("detect", wav, *arguments)
    assert done.returncode == code
    assert message in done.stderr
    assert len(done.stderr.splitlines()) == 1


def test_an_output_folder_that_cannot_be_made(config: Path, wav: Path) -> None:
    done = pe_stream("detect", wav, "-c", config, "--plot", wav / "below")
    assert done.returncode == 69
    assert str(wav / "below") in done.stderr


def test_an_output_file_that_cannot_be_written(config: Path, wav: Path, tmp_path: Path) -> None:
    (tmp_path / "bursts.npz").mkdir()
    done = pe_stream("detect", wav, "-c", config, "--scores", tmp_path)
    assert done.returncode == 69
    assert "bursts.npz: cannot be written" in done.stderr


@pytest.mark.heavy
def test_a_reader_that_goes_away_is_no_fault(config: Path, wav: Path) -> None:
    import sys

    done = subprocess.run(
        f"{sys.executable} -m pe_stream detect {wav} {wav} -c {config} | head -n 1",
        shell=True,
        capture_output=True,
        text=True,
        check=False,
        timeout=within(100),
    )
    assert len(done.stdout.splitlines()) == 1
    assert done.stderr == ""


def test_a_hostile_file_ends_with_a_word_and_the_others_go_on(
    config: Path, wav: Path, tmp_path: Path
) -> None:
    hostile = tmp_path / "slow.wav"
    hostile.write_bytes(wav_head(1) + b"\x80\x90" * 2048)
    began_s = time.monotonic()
    done = pe_stream("detect", wav, hostile, wav, "-c", config)
    assert time.monotonic() - began_s < within(10)
    assert done.returncode == 69
    said = "a sample rate of 1 Hz; 1 kHz to 768 kHz can be read"
    assert done.stderr == f"pe-stream: {hostile}: {said}\n"
    assert len(done.stdout.splitlines()) == 4
