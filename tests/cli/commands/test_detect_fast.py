"""`pe-stream detect --fast` as a user runs it, on a checkpoint whose scores are known."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from processes import pe_stream
from sounds import noise, write_float_wav

SAME_S = 0.041


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """Loud from 1 to 1.6 s, and from 3 s on: to the end at 4.21 s; to 9 s; and a short file."""
    folder = tmp_path_factory.mktemp("wav")
    begin = [(1.0, 0.001), (0.6, 0.2), (1.4, 0.001)]
    made = {"a": [*begin, (1.21, 0.2)], "b": [*begin, (6.0, 0.2), (7.0, 0.001)], "c": [(0.5, 0.2)]}
    return [write_float_wav(folder / f"{name}.wav", noise(*of)) for name, of in made.items()]


@pytest.fixture(scope="module")
def config(tmp_path_factory: pytest.TempPathFactory, level: Path) -> Path:
    path = tmp_path_factory.mktemp("config") / "config.yaml"
    path.write_text(
        f"model: {{checkpoint: {level}, window_s: 1.0, hop_s: 0.2, lookahead_s: 0.2, threads: 1}}\n"
        "labels:\n  loud: {}\n  never: {threshold: 0.9999}\n",
        "utf-8",
    )
    return path


def told(stdout: str) -> list[dict[str, Any]]:
    """Events, but for their ids, how long they took, and rounding."""
    return [
        json.loads(line)
        | {"id": "", "latency_ms": 0.0}
        | {key: pytest.approx(json.loads(line)[key], abs=1e-3) for key in ("peak", "mean")}
        for line in stdout.splitlines()
    ]


def test_a_checkpoint_that_goes_by_no_context_gives_the_same_events(
    config: Path, files: list[Path], tmp_path: Path
) -> None:
    plain = pe_stream("detect", *files, "-c", config, "--scores", tmp_path / "plain")
    how = ("--fast", "--scores", tmp_path / "fast", "--plot", tmp_path / "fast")
    fast = pe_stream("detect", *files, "-c", config, *how)
    assert (fast.returncode, fast.stderr) == (0, "")
    expected = [json.loads(line) for line in plain.stdout.splitlines()]
    found = [json.loads(line) for line in fast.stdout.splitlines()]
    assert len(expected) == 5
    for key in ("source", "label", "phase", "reason"):
        assert [e[key] for e in found] == [e[key] for e in expected]
    for key in ("onset_s", "offset_s"):
        assert [e[key] for e in found] == pytest.approx([e[key] for e in expected], abs=SAME_S)
    for file in files:
        scores = [
            np.load(tmp_path / way / f"{file.stem}.npz")["scores"] for way in ("plain", "fast")
        ]
        assert scores[0].shape == scores[1].shape
        assert np.abs(scores[0] - scores[1]).mean() < 0.02
        assert (tmp_path / "fast" / f"{file.stem}.png").stat().st_size > 1000


@pytest.mark.heavy
@pytest.mark.usefixtures("forked_pools")
def test_side_by_side_and_bad_files_are_told_as_one_by_one(
    config: Path, files: list[Path], tmp_path: Path
) -> None:
    silent = write_float_wav(tmp_path / "silent.wav", np.zeros(48_000, np.float32))
    text = tmp_path / "text.wav"
    text.write_text("this is no audio\n" * 50, "utf-8")
    every = [files[0], silent, tmp_path / "none.wav", files[1], text, files[2]]
    plain = pe_stream("detect", *every, "-c", config)
    fast = pe_stream("detect", *every, "-c", config, "--fast")
    beside = pe_stream("detect", *every, "-c", config, "--fast", "--jobs", "2")
    assert plain.returncode == fast.returncode == beside.returncode == 69
    assert plain.stderr == fast.stderr == beside.stderr
    assert told(beside.stdout) == [
        json.loads(line) | {"id": "", "latency_ms": 0.0} for line in fast.stdout.splitlines()
    ]
    assert [e["source"] for e in map(json.loads, fast.stdout.splitlines())] == [
        *[str(files[0])] * 2, *[str(files[1])] * 2, str(files[2]),
    ]  # fmt: skip


def test_resume_goes_on_and_keeps_fast_and_plain_results_apart(
    config: Path, files: list[Path], tmp_path: Path
) -> None:
    how = ("-c", config, "--fast", "--resume", tmp_path / "journal")
    assert pe_stream("detect", files[0], *how).returncode == 0
    again = pe_stream("detect", files[0], files[2], *how)
    assert [json.loads(line)["source"] for line in again.stdout.splitlines()] == [str(files[2])]
    plain = pe_stream("detect", files[0], "-c", config, "--resume", tmp_path / "journal")
    assert plain.returncode == 2


def test_a_second_opinion_refuses_a_pipe_before_it_is_read(
    config: Path, files: list[Path], pe_av: Path
) -> None:
    how = ("-c", config, "--fast", "--second-opinion", pe_av)
    done = pe_stream("detect", files[0], *how)
    assert done.returncode == 0, done.stderr
    events = [json.loads(line) for line in done.stdout.splitlines()]
    assert [event["second_opinion"]["picture"] for event in events] == [None, None]
    refused = pe_stream("detect", "/dev/zero", *how)
    assert refused.returncode == 69
    assert "reads a recording twice: give a file, no pipe" in refused.stderr
