"""`pe-stream bench` as a user runs it, on a scaled-down checkpoint."""

from __future__ import annotations

import contextlib
import json
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

import psutil
import pytest
import torch
from checkpoints import make_checkpoint
from PIL import Image
from processes import Done, pe_stream
from stand_ins import eventually
from timing import within

from pe_stream.cli.main import main
from pe_stream.core.windows import Framing
from pe_stream.errors import UnavailableError
from pe_stream.model.checkpoint import Checkpoint, load
from pe_stream.model.engine import Engine
from pe_stream.workbench.bench import hops, plain, random_weights
from pe_stream.workbench.bench.figures import summary
from pe_stream.workbench.bench.shapes import CHEAP, SIZES, Shape, audio_config

pytestmark = pytest.mark.heavy

FRAMING = Framing(window=50, hop=12, lookahead=12)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_checkpoint(tmp_path_factory.mktemp("scaled_down"))


@pytest.fixture(scope="module")
def checkpoint(folder: Path) -> Checkpoint:
    return load(str(folder), threads=1)


@pytest.fixture(scope="module")
def outcome(folder: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Done, Any, Path]:
    out = tmp_path_factory.mktemp("out")
    before = set(threading.enumerate())
    done = pe_stream(
        *("bench", "--checkpoint", folder, "--seconds", "0.6", "--runs", "3", "--streams", "2"),
        *("--window", "2", "--labels", "7", "--threads", "1", "--dtype", "float32"),
        *("--json", out / "bench.json", "--plot", out / "bench.png"),
    )
    assert done.returncode == 0, done.stderr
    assert eventually(lambda: set(threading.enumerate()) <= before)
    return done, json.loads((out / "bench.json").read_text("utf-8")), out / "bench.png"


@pytest.mark.timeout(400)
def test_the_contract_comes_first_in_the_json(outcome: tuple[Done, Any, Path]) -> None:
    _, made, _ = outcome
    assert list(made)[:3] == ["ratio_to_plain", "live_streams", "p99_latency_ms"]
    assert made["ratio_to_plain"] > 0
    assert made["live_streams"] in (0, 1, 2)
    assert made["p99_latency_ms"] > 240


def test_figures_agree_with_each_other(outcome: tuple[Done, Any, Path]) -> None:
    _, made, _ = outcome
    for name, plainly in (("default", "plain"), ("tuned", "plain_tuned")):
        expected = made[plainly]["median"] / made["engine"]["median"]
        assert made["ratio"][name]["median"] == pytest.approx(expected)
    assert made["ratio_to_plain"] == made["ratio"]["default"]["median"]
    assert (made["plain"]["n"], made["plain_tuned"]["n"], made["engine"]["n"]) == (3, 3, 12)
    assert made["p99_latency_ms"] == made["latency"]["latency_ms"]["p99"]
    assert made["latency"]["events"] == made["latency"]["bursts"]
    assert list(made["stages_ms"]) == ["codec", "encoder", "head", "rest"]
    assert min(made["stages_ms"].values()) > 0
    roof = made["roof"]
    flop = made["model"]["encoder_gflop_per_hop"] * 1e9
    reached = flop / (made["stages_ms"]["encoder"] / 1000) / 1e12
    assert roof["encoder_tflops"] == pytest.approx(reached)
    assert roof["encoder_percent"] == pytest.approx(100 * reached / roof["matmul_tflops"])
    runs = made["live"]["runs"]
    assert made["live_streams"] == (runs[-1]["streams"] if runs[-1]["sustained"] else 0)
    assert max(run["streams"] for run in runs) <= made["live"]["limit"] == 2


def test_what_the_figures_depend_on_is_told(outcome: tuple[Done, Any, Path]) -> None:
    _, made, _ = outcome
    assert made["settings"] == {
        "window_s": 2.0,
        "hop_s": 0.48,
        "lookahead_s": 0.48,
        "labels": 7,
        "compile": False,
        "seconds": 0.6,
        "runs": 3,
    }
    assert made["machine"]["threads"] == 1
    assert made["machine"]["dtype"] == "float32"
    assert made["machine"]["torch"] == torch.__version__
    assert made["machine"]["cpu"]
    assert made["command"]
    assert not made["model"]["random_weights"]
    assert list(made["growth"]) == ["streams", "labels", "window_s"]
    assert made["growth"]["streams"].keys() == {"1", "2", "4", "8"}
    assert made["memory"]["simulated_s"] > 0
    assert made["overhead"]["simulated_s"] == pytest.approx(1800, rel=0.01)


def test_the_table_is_markdown_for_people(outcome: tuple[Done, Any, Path]) -> None:
    done, made, _ = outcome
    rows = [line for line in done.stdout.splitlines() if line.startswith("|")]
    assert all(row.count("|") == 3 for row in rows)
    assert f"| ratio to plain | {made['ratio_to_plain']:.1f} (" in done.stdout
    assert f"| live streams at a hop of 0.48 s | {made['live_streams']} |" in done.stdout
    assert "1 of " in done.stdout.splitlines()[0]


def test_the_picture_is_one(outcome: tuple[Done, Any, Path]) -> None:
    _, _, path = outcome
    with Image.open(path) as image:
        assert image.format == "PNG"
        assert len(image.convert("RGB").getcolors(1 << 20) or []) > 10


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--size", "huge"], "invalid choice"),
        (["--size", "small", "--checkpoint", "x"], "not allowed with"),
        (["--streams", "0"], "1 to 4096"),
        (["--hop", "-1"], "above 0"),
        (["--hop", "nan"], "above 0"),
        (["--seconds", "inf"], "more than an hour"),
        (["--labels", "many"], "1 to 1024"),
        (["--runs", "0"], "1 to 1024"),
        (["--dtype", "int8"], "invalid choice"),
        (["--hop", "12"], "--window 10, --hop 12"),
        (["--hop", "0.5"], "0.04"),
        (["--window", "0.24", "--hop", "0.12"], "0.36"),
    ],
)
def test_nonsense_is_refused(arguments: list[str], said: str) -> None:
    done = pe_stream("bench", *arguments)
    assert done.returncode == 2
    assert said in done.stderr


@pytest.mark.parametrize(
    "arguments",
    [
        ["--checkpoint", "/nowhere/at/all"],
        ["--device", "cuda:99"],
        ["--json", "/nowhere/bench.json"],
        ["--plot", "/nowhere/bench.png"],
    ],
)
def test_what_is_not_there_is_said(arguments: list[str]) -> None:
    done = pe_stream("bench", *arguments)
    assert done.returncode == 69
    assert arguments[1] in done.stderr
    assert not done.stdout


def test_a_size_becomes_a_checkpoint_of_that_shape() -> None:
    shape = Shape(64, 3, 2, 96, head_width=16, codec_width=2, codebook=8, text_width=32)
    with random_weights.folder(shape) as made:
        loaded = load(str(made), threads=1)
    assert not made.exists()
    audio: Any = loaded.model.config.audio_config
    assert (audio.hidden_size, audio.num_hidden_layers, audio.head_dim) == (64, 3, 16)
    labels = random_weights.labels(loaded, 5)
    assert (len(labels.names), tuple(labels.rows.shape)) == (5, (5, 32))
    assert SIZES.keys() == {"small", "base", "large"}
    assert CHEAP.codec_width < 4


def test_stages_add_up_to_the_call(checkpoint: Checkpoint) -> None:
    engine = Engine(checkpoint, random_weights.labels(checkpoint, 3))
    before = engine.stage
    stages = hops.stages_ms(engine, checkpoint, FRAMING, 1, 9)
    assert min(stages.values()) > 0
    assert stages["codec"] > stages["rest"]
    assert engine.stage is before


def test_the_engine_is_timed_on_hops_of_which_it_knows_the_rest(checkpoint: Checkpoint) -> None:
    engine = Engine(checkpoint, random_weights.labels(checkpoint, 3))
    new: list[int] = []
    hear = engine._codec.hear

    def counting(streams: Any, windows: Any) -> Any:
        heard = [stream.heard for stream in streams]
        made = hear(streams, windows)
        new.extend(stream.heard - was for stream, was in zip(streams, heard, strict=True))
        return made

    vars(engine._codec)["hear"] = counting
    assert len(hops.times_s(engine, FRAMING, 2, 3)) == 3
    assert new[:2] == [FRAMING.window] * 2
    assert set(new[2:]) == {FRAMING.hop}


def test_growth_leaves_the_labels_as_they_were(checkpoint: Checkpoint) -> None:
    labels = random_weights.labels(checkpoint, 3)
    engine = Engine(checkpoint, labels)
    told = hops.growth(engine, checkpoint, FRAMING, 5)  # medians
    assert engine.labels is labels
    assert told["streams"]["8"] > told["streams"]["1"]
    assert told["window_s"]["20"] > told["window_s"]["2.5"]


def timing_processes(process: psutil.Process) -> list[psutil.Process]:
    """Its children that time the plain call, under way: libraries start others for a moment."""
    found, now_s = [], time.time()
    for child in process.children():
        with contextlib.suppress(psutil.NoSuchProcess):  # a zombie is one, too
            if plain.__name__ in child.cmdline() and now_s - child.create_time() > 1:
                found.append(child)
    return found


@pytest.mark.timeout(300)
def test_a_signal_ends_it_with_its_other_process(folder: Path) -> None:
    arguments = ["bench", "--checkpoint", str(folder), "--runs", "1000", "--threads", "1"]
    with subprocess.Popen(
        [sys.executable, "-m", "pe_stream", *arguments], stdout=subprocess.PIPE
    ) as bench:
        try:
            assert eventually(lambda: timing_processes(psutil.Process(bench.pid)), 200)
            (plainly,) = timing_processes(psutil.Process(bench.pid))
            bench.terminate()
            assert bench.wait(within(60)) == 143
            assert not plainly.is_running()
        finally:
            bench.kill()


def job(**changes: Any) -> plain.TimingJob:
    settings: dict[str, Any] = {
        "audio": audio_config(CHEAP),
        "text_width": 32,
        "window": 25,
        "labels": 3,
        "runs": 2,
        "threads": 1,
        "device": "cpu",
    }
    return plain.TimingJob(**settings | changes)


def test_the_plain_call_runs_with_the_allocator_asked_for(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Whatever this process has: a stand-in for Python writes down what it is started with."""
    seen = tmp_path / "seen"
    program = tmp_path / "python"
    program.write_text(
        f'#!/bin/sh\nenv > {seen}\necho \'{{"times_s": [1.0], "peak_mb": 1.0}}\'\n',
        "utf-8",
    )
    program.chmod(0o755)
    monkeypatch.setattr("sys.executable", str(program))
    monkeypatch.setenv("GLIBC_TUNABLES", "glibc.malloc.mmap_max=1")
    monkeypatch.setenv("MALLOC_ARENA_MAX", "1")
    plain.measure(job(), tuned=False)
    assert "GLIBC_TUNABLES" not in seen.read_text("utf-8")
    assert "MALLOC_" not in seen.read_text("utf-8")
    plain.measure(job(), tuned=True)
    assert f"GLIBC_TUNABLES={plain.TUNED}\n" in seen.read_text("utf-8")


@pytest.mark.timeout(300)
def test_a_plain_call_that_cannot_run_is_said(folder: Path) -> None:
    with pytest.raises(UnavailableError, match="the plain call could not be run"):
        plain.measure(job(device="meta-nonsense"), tuned=False)


def test_the_warm_up_of_the_plain_call_does_not_count() -> None:
    threads = torch.get_num_threads()
    done = plain.run(job())
    torch.set_num_threads(threads)
    assert len(done.times_s) == 2
    assert summary(done.times_s)["min"] > 0


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (["--start", "--engine"], "--start and --engine: give one of them"),
        (["--second-opinion", "--bulk"], "--second-opinion and --bulk: give one of them"),
        (["--start", "--plot", "there.png"], "there is no picture of --start"),
        (["--plot", "there.png", "--bulk"], "there is no picture of --bulk"),
    ],
)
def test_what_is_measured_alone_goes_with_nothing_else(
    given: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["bench", *given]) == 2
    assert message in capsys.readouterr().err


def test_a_hop_over_the_wire_is_measured_beside_one_here(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    given = ["bench", "--engine", "--checkpoint", str(folder), "--runs", "2", "--window", "2"]
    given += ["--labels", "7", "--threads", "1", "--dtype", "float32", "--device", "cpu"]
    assert main([*given, "--json", "-"]) == 0
    made = json.loads(capsys.readouterr().out)
    assert list(made)[:3] == ["ratio_to_plain", "live_streams", "p99_latency_ms"]
    one, eight = made["far_engine"]
    assert (one["streams"], eight["streams"], one["wire"]) == (1, 8, "pcm16")
    assert 12 * 1920 * 2 < one["bytes_up"] < 12 * 1920 * 2 + 20_000
    assert one["bytes_down"] > 24 * 7 * 4
    assert eight["bytes_up"] > 7 * one["bytes_up"]
    assert one["far_ms"]["n"] == 8
    assert one["far_cpu_ms"]["p50"] > one["edge_cpu_ms"]["p50"] > 0
    assert main([*given, "--plot", "there.png"]) == 2
    assert "there is no picture of --engine" in capsys.readouterr().err
    assert main(given) == 0
    assert capsys.readouterr().out.count("\n| 8 | ") == 1
