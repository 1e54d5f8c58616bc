"""`pe-stream replay` as a user runs it: what stored scores would have given."""

from __future__ import annotations

import csv
import io
import json
import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pytest
from processes import Done, pe_stream
from score_history import HOUR, keep
from timing import within

END = datetime(2026, 11, 21, 12, 0, tzinfo=UTC)
END_NS = round(END.timestamp() * 1e9)
SPAN = ("--since", "2026-11-21T10:00Z", "--until", "2026-11-21T12:00Z")


def config(folder: Path, labels: str, name: str = "config.yaml", more: str = "") -> Path:
    path = folder / name
    path.write_text(
        f"sources: {{kitchen: {{microphone: default}}, porch: {{microphone: 1}}}}\n"
        f"location: {{timezone: UTC}}\nhistory: {{path: {folder / 'scores.db'}}}\n"
        f"labels:\n{labels}\n{more}",
        "utf-8",
    )
    return path


def bursts(*peaks: tuple[int, float], frames: int = 2 * HOUR) -> np.ndarray:
    """Quiet but for a second at each minute given, at that score; 12:00 is where it ends."""
    scores = np.full(frames, 0.02, np.float32)
    for minute, score in peaks:
        scores[minute * 1500 : minute * 1500 + 25] = score
    return scores


DOG = "  dog: {threshold: 0.5}"


@pytest.fixture
def now(tmp_path: Path) -> Path:
    """Two hours of two sources: at minutes 5 and 100 in the kitchen, 30 on the porch."""
    path = config(tmp_path, DOG)
    tracks = {
        ("kitchen", "dog"): bursts((5, 0.6), (100, 0.9)),
        ("porch", "dog"): bursts((30, 0.4)),
    }
    keep(path, tracks, end_ns=END_NS)
    return path


def told(done: Done) -> list[tuple[str | None, str, str]]:
    assert done.returncode == 0, done.stderr
    events = [json.loads(line) for line in done.stdout.splitlines()]
    return [(each["in"], each["source"], each["onset"][11:19]) for each in events]


def test_events_are_those_of_the_rules(now: Path) -> None:
    done = pe_stream("replay", "-c", now, *SPAN, "--format", "jsonl")
    assert done.stderr == ""
    assert told(done) == [(None, "kitchen", "10:05:00"), (None, "kitchen", "11:40:00")]
    first = json.loads(done.stdout.splitlines()[0])
    assert first["duration_s"] == 1.0
    assert first["offset"] == "2026-11-21T10:05:01.000Z"
    assert first["peak"] == pytest.approx(0.6, abs=0.003)


def test_the_table_counts_and_lists(now: Path) -> None:
    lines = pe_stream("replay", "-c", now, *SPAN).stdout.splitlines()
    assert lines[0].split() == ["label", "hours", "events"]
    assert lines[1].split() == ["dog", "4.00", "2"]
    assert lines[-1] == "2026-11-21 11:40:00  kitchen  dog  1.00 s  peak 0.90"


def test_csv_has_the_same(now: Path) -> None:
    text = pe_stream("replay", "-c", now, *SPAN, "--format", "csv").stdout
    rows = list(csv.DictReader(io.StringIO(text)))
    assert [row["onset"][11:19] for row in rows] == ["10:05:00", "11:40:00"]


def test_a_source_and_a_time_are_chosen(now: Path) -> None:
    late = ("--since", "2026-11-21T11:00Z", "--until", "2026-11-21T12:00Z")
    done = pe_stream("replay", "-c", now, *late, "--format", "jsonl", "--label", "DOG")
    assert told(done) == [(None, "kitchen", "11:40:00")]
    assert (
        told(pe_stream("replay", "-c", now, *SPAN, "--format", "jsonl", "--source", "porch")) == []
    )


def test_two_configurations_are_compared(now: Path, tmp_path: Path) -> None:
    other = config(tmp_path, "  dog: {threshold: 0.35, sources: [porch]}\n  cat: {}", "new.yaml")
    done = pe_stream("replay", "-c", now, "--against", other, *SPAN, "--format", "jsonl")
    assert told(done) == [
        ("now", "kitchen", "10:05:00"),
        ("other", "porch", "10:30:00"),
        ("now", "kitchen", "11:40:00"),
    ]
    assert "cat at kitchen (configuration: other): no scores of that time are stored" in done.stderr
    other = config(tmp_path, "  dog: {threshold: 0.8}", "new.yaml")
    table = pe_stream("replay", "-c", now, "--against", other, *SPAN).stdout.splitlines()
    assert table[1].split() == ["dog", "4.00", "2", "1", "1", "0"]
    assert table[-1].startswith("- 2026-11-21 10:05:00  kitchen")
    assert sum(line.startswith(("-", "+")) for line in table) == 1


def test_the_short_and_the_long_form_of_an_option_are_one(now: Path) -> None:
    short, long = (
        pe_stream("replay", form, now, *SPAN, "--format", "jsonl") for form in ("-c", "--config")
    )
    assert told(short) == told(long) != []
    for forms in (("-c", "--config"), ("--config", "-c"), ("-c", "-c")):
        done = pe_stream("replay", forms[0], now, forms[1], now, *SPAN)
        assert (done.returncode, done.stdout) == (2, "")
        assert "-c/--config: given twice; a second one is --against" in done.stderr


def test_schedules_are_by_the_clock_of_then(now: Path, tmp_path: Path) -> None:
    lower = '{threshold: 0.7, schedule: [{from: "10:00", to: "11:00", threshold: 0.5}]}'
    path = config(tmp_path, f"  dog: {lower}", "new.yaml")
    assert [
        at for _, _, at in told(pe_stream("replay", "-c", path, *SPAN, "--format", "jsonl"))
    ] == [
        "10:05:00",
        "11:40:00",
    ]
    off = '{threshold: 0.5, schedule: [{from: "10:04", to: "10:06", enabled: false}]}'
    path = config(tmp_path, f"  dog: {off}", "new.yaml")
    done = pe_stream("replay", "-c", path, *SPAN, "--format", "jsonl")
    assert told(done) == [(None, "kitchen", "11:40:00")]


def test_scores_of_other_prompts_are_not_used(now: Path, tmp_path: Path) -> None:
    other = config(tmp_path, "  dog: {prompts: [a wolf], threshold: 0.3}", "new.yaml")
    done = pe_stream("replay", "-c", now, "--against", other, *SPAN)
    assert done.returncode == 0
    assert "dog at kitchen (configuration: other): the stored scores were made with" in done.stderr
    assert done.stdout.splitlines()[1].split() == ["dog", "4.00", "2", "-", "0", "0"]
    alone = pe_stream("replay", "-c", other, *SPAN)
    assert (alone.returncode, alone.stdout) == (69, "")
    assert "nothing to replay: dog at kitchen: the stored scores were made" in alone.stderr


def test_a_model_is_not_loaded(now: Path) -> None:
    code = (
        "import sys; from pe_stream.cli.main import main; "
        f"main(['replay', '-c', {str(now)!r}, *{SPAN!r}]); "
        "sys.exit('torch' in sys.modules or 'transformers' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], check=False, timeout=within(60))
    assert done.returncode == 0


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (["--label", "cat"], 2, "there is no label 'cat' in the configuration; labels: dog"),
        (["--source", "attic"], 2, "there is no source 'attic'"),
        (["--since", "yore"], 2, "--since 'yore': not a time"),
        (["--until", "yore"], 2, "--until 'yore': not a time"),
        (["--since", "1h", "--until", "2h"], 2, "not before the end"),
        (["--against", "/no/such.yaml"], 78, "/no/such.yaml"),
        (["--since", "2026-11-19", "--until", "2026-11-20"], 69, "no scores of that time"),
    ],
)
def test_what_cannot_be_is_said(now: Path, arguments: list[str], code: int, message: str) -> None:
    done = pe_stream("replay", "-c", now, *arguments)
    assert (done.returncode, done.stdout) == (code, "")
    assert message in done.stderr


def test_without_stored_scores_there_is_nothing(tmp_path: Path) -> None:
    path = config(tmp_path, DOG)
    done = pe_stream("replay", "-c", path)
    assert done.returncode == 69
    assert "no scores are stored there; `pe-stream run` stores them" in done.stderr
    path.write_text(path.read_text("utf-8").replace("history: {", "history: {enabled: false, "))
    assert "history.enabled is false" in pe_stream("replay", "-c", path).stderr
