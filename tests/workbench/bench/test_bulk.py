"""`pe-stream bench --bulk`: its figures, and what it refuses."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from processes import pe_stream
from sounds import noise, write_float_wav

from pe_stream.workbench.bench.bulk import alike


def test_events_are_equal_within_two_frames() -> None:
    plain = [(0, "dog", 1.0, 2.0), (0, "dog", 5.0, 6.0), (1, "dog", 1.0, 2.0), (0, "cat", 1.0, 2.0)]
    fast = [(0, "dog", 1.08, 1.92), (0, "dog", 5.0, 6.12), (0, "cat", 1.12, 2.0)]
    told = alike(plain, fast)
    assert (told["events_plain"], told["events_fast"]) == (4, 3)
    assert told["equal"] == pytest.approx(2 / 7)
    assert told["equal_onset"] == pytest.approx(4 / 7)
    assert alike(plain, plain)["equal"] == 1.0
    assert alike(plain[:1], plain[:1] * 2)["equal"] == pytest.approx(2 / 3)
    assert alike([], [])["equal"] is None


@pytest.mark.heavy
def test_figures_of_recordings(level: Path, tmp_path: Path) -> None:
    wav = write_float_wav(tmp_path / "a.wav", noise((1.0, 0.001), (0.6, 0.2), (12.0, 0.001)))
    out = tmp_path / "bench.json"
    done = pe_stream(
        *("bench", "--bulk", wav, wav, "--checkpoint", level, "--threads", "1", "--runs", "1"),
        *("--json", out),
    )
    assert done.returncode == 0, done.stderr
    made = json.loads(out.read_text("utf-8"))["bulk"]
    assert (made["files"], made["audio_s"]) == (2, pytest.approx(27.2))
    assert made["alike"]["events_plain"] > 0
    assert made["alike"]["equal_onset"] is not None
    assert made["fast_to_plain_per_core"] > 0
    assert "audio per core, --fast to plain" in done.stdout


def test_what_bulk_refuses(tmp_path: Path, level: Path) -> None:
    for how in (("--size", "small"), ("--plot", tmp_path / "a.png")):
        done = pe_stream("bench", "--bulk", *how)
        assert done.returncode == 2
        assert "--bulk" in done.stderr
    done = pe_stream("bench", "--bulk", tmp_path / "none.wav", "--checkpoint", level)
    assert done.returncode == 69
    assert "none.wav: No such file or directory" in done.stderr
