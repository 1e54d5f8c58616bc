"""`pe-stream calibrate` as a user runs it: stored scores, recordings, live; shown and written."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from processes import Done, level_config, pe_stream
from score_history import HOUR, background, keep
from sounds import noise, write_float_wav
from stand_ins import event
from timing import within

from pe_stream.config.edit import ConfigFile
from pe_stream.config.file import load
from pe_stream.core.types import Phase, ScoreRun
from pe_stream.core.utc import utc_text
from pe_stream.storage.database import reading
from pe_stream.storage.events import EventStore
from pe_stream.storage.scores import read_runs
from pe_stream.workbench.calibration import listening, propose
from pe_stream.workbench.calibration.gather import SILENT, Material

pytestmark = pytest.mark.heavy

END = datetime(2026, 11, 21, 12, 0, tzinfo=UTC)
END_NS = round(END.timestamp() * 1e9)
SPAN = ("--since", "2026-11-20T12:00Z", "--until", "2026-11-21T12:00Z")

CONFIG = """\
# our house
sources:
  kitchen: {{microphone: default}}
history: {{path: {folder}/scores.db}}
store: {{path: {folder}/events.db}}
labels:
  dog:  # next door's
    threshold: 0.3      # a guess
    off_threshold: 0.15
  cat: {{}}
"""

LINE = re.compile(
    r"(\w+) +([\d.]+) -> ([\d.]+): ([\d.]+) a day \(([\d.]+) to ([\d.]+)\)  from ([\d.]+) h; "
    r"now ([\d.]+); scores: half below ([\d.]+), 99 % below ([\d.]+), highest ([\d.]+)"
)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    found = tmp_path / "config.yaml"
    found.write_text(CONFIG.format(folder=tmp_path), "utf-8")
    return found


@pytest.fixture
def day(path: Path) -> Path:
    """A day of a kitchen: 400 peaks of `dog`, of which exp(-2 - logit) reach a threshold."""
    keep(path, {("kitchen", "dog"): background(24, 400)}, end_ns=END_NS)
    return path


def numbers(line: str) -> tuple[str, list[float]]:
    found = LINE.match(line)
    assert found is not None, line
    return found[1], [float(each) for each in found.groups()[1:]]


def dog(config: Path, *arguments: str | Path) -> Done:
    return pe_stream("calibrate", "-c", config, "--label", "dog", *arguments)


def test_a_line_says_what_is_proposed_and_how_sure_it_is(day: Path) -> None:
    done = dog(day, *SPAN)
    assert done.returncode == 0, done.stderr
    name, (was, proposed, rate, low, high, hours, now, half, most, highest) = numbers(
        done.stdout.splitlines()[0]
    )
    assert (name, was, hours) == ("dog", 0.3, 24.0)
    assert rate == pytest.approx(1.0, abs=0.1)
    assert low < 400 * np.exp(-2) * (1 - proposed) / proposed < high
    assert now == pytest.approx(400 * np.exp(-2) * 0.7 / 0.3, rel=0.2)
    assert half < most < 0.04 < proposed
    assert highest > 0.9
    assert "every event in this sound counts as a false alarm" in done.stderr
    assert "in brackets: how sure the rate is" in done.stderr


def test_the_same_figures_as_json(day: Path) -> None:
    line = numbers(dog(day, *SPAN).stdout.splitlines()[0])[1]
    before = day.read_bytes()
    done = dog(day, *SPAN, "--json")
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert (found["since"], found["until"]) == (
        "2026-11-20T12:00:00.000Z",
        "2026-11-21T12:00:00.000Z",
    )
    assert (found["false_alarms"], found["version"]) == (1.0, ConfigFile(day).version)
    (label,) = found["labels"]
    was, proposed, rate, low, high, hours, now = line[:7]
    assert (label["label"], label["threshold_now"], label["lack"]) == ("dog", was, None)
    assert (label["threshold"], label["hours"]) == (proposed, hours)
    assert label["off_threshold"] == pytest.approx(proposed / 2, abs=0.001)  # it has one
    for key, value in {"rate": rate, "low": low, "high": high, "now": now}.items():
        assert label[key] == pytest.approx(value, rel=0.1), key
    assert found["notes"] == [
        each.removeprefix("pe-stream: ") for each in done.stderr.splitlines() if each
    ]
    assert day.read_bytes() == before


def test_why_there_is_no_figure_as_json(day: Path) -> None:
    done = pe_stream("calibrate", "-c", day, *SPAN, "--json", "--label", "cat")
    assert done.returncode == 69
    (label,) = json.loads(done.stdout)["labels"]
    assert (label["label"], label["threshold"], label["spread"]) == ("cat", None, None)
    assert label["lack"] == "no scores of that time are stored"
    assert "no label could be calibrated" in done.stderr


def test_json_and_written(day: Path) -> None:
    done = dog(day, *SPAN, "--json", "--write")
    (label,) = json.loads(done.stdout)["labels"]
    assert load(day).labels["dog"].threshold == label["threshold"]
    assert load(day).labels["dog"].off_threshold == label["off_threshold"]


def test_a_recording_given_twice_is_no_more_sound(day: Path) -> None:
    wav = write_float_wav(day.parent / "a.wav", np.zeros(96_000, np.float32))
    again = day.parent / ".." / day.parent.name / "a.wav"
    done = dog(day, "--recordings", wav, again)
    assert (done.returncode, done.stdout) == (2, "")
    assert "given more than once" in done.stderr


def test_silence_as_a_model_scores_it_is_silence() -> None:
    hop = np.linspace(0.1, 0.2, 12)  # by where in its window a frame is
    edges = np.random.default_rng(0).uniform(0.1, 0.2, (2, 200))
    material = Material(12)
    scores = np.concatenate([edges[0], np.tile(hop, 200), edges[1]]).astype(np.float32)
    material.add("kitchen", [ScoreRun(0, scores)])
    assert material.lacks == {"kitchen": SILENT}
    assert material.streams == []
    material.add(
        "porch", [ScoreRun(0, edges.reshape(-1).astype(np.float32))]
    )  # short, and nothing left out
    assert len(material.streams) == 1


def test_a_diff_is_printed_and_nothing_written(day: Path) -> None:
    before = day.read_bytes()
    out = dog(day, *SPAN, "--false-alarms", "24").stdout.splitlines()
    proposed = numbers(out[0])[1][1]
    assert out[2:4] == ["--- config.yaml", "+++ config.yaml (calibrated)"]
    assert "-    threshold: 0.3      # a guess" in out
    assert f"+    threshold: {proposed}      # a guess" in out
    assert any(re.fullmatch(r"\+    off_threshold: 0\.\d+", line) for line in out)
    assert day.read_bytes() == before
    assert sorted(each.name for each in day.parent.iterdir() if each.suffix == ".bak") == []


def test_written_it_keeps_comments_ratio_and_what_was(day: Path) -> None:
    before = day.read_text("utf-8")
    done = dog(day, *SPAN, "--write")
    assert done.returncode == 0, done.stderr
    proposed = numbers(done.stdout.splitlines()[0])[1][1]
    assert len(done.stdout.splitlines()) == 1
    label = load(day).labels["dog"]
    assert label.threshold == proposed
    assert label.off_threshold == pytest.approx(proposed / 2, abs=0.001)
    text = day.read_text("utf-8")
    assert "dog:  # next door's" in text
    assert f"threshold: {proposed}      # a guess" in text
    (backup,) = day.parent.glob("config.yaml.*.bak")
    assert backup.read_text("utf-8") == before
    again = dog(day, *SPAN, "--write")
    assert len(list(day.parent.glob("config.yaml.*.bak"))) == 1
    assert numbers(again.stdout.splitlines()[0])[1][:2] == [proposed, proposed]


def test_more_false_alarms_are_a_lower_threshold(day: Path) -> None:
    few, many = (
        numbers(dog(day, *SPAN, "--false-alarms", n).stdout.splitlines()[0])[1] for n in ("1", "60")
    )
    assert many[1] < few[1]
    assert many[2] <= 60
    assert many[3] < 60 < many[4]


def marked(path: Path, spans: list[tuple[datetime, float]]) -> None:
    """Events of `dog` in the kitchen that somebody said were right."""
    store = EventStore(path.parent / "events.db", keep_days=3650, limit=5, clock=END.timestamp)
    for number, (at, duration_s) in enumerate(spans):
        onset = utc_text(at)
        told = event(number, Phase.END, duration_s, source="kitchen", label="dog", onset=onset)
        store.record(told, [])
        store.judge(told.id, "right")
    store.close()


def test_events_marked_right_are_no_false_alarms_and_are_examples(path: Path) -> None:
    scores = background(24, 40)
    loud = [END - timedelta(hours=1 + n) for n in range(20)]
    for at in loud:
        first = 24 * HOUR - round((END - at).total_seconds() * 25)
        scores[first : first + 25] = 0.97
    keep(path, {("kitchen", "dog"): scores}, end_ns=END_NS)
    without = numbers(dog(path, *SPAN).stdout.splitlines()[0])[1]
    marked(path, [(at, 1.0) for at in loud])
    done = dog(path, *SPAN)
    line = done.stdout.splitlines()[0]
    found = numbers(line)[1]
    assert found[1] < 0.97 < without[1]
    assert found[6] < without[6] - 15  # those of now, too
    assert line.endswith("finds 20 of 20 examples (as now)")
    assert "20 marked right were left out" in done.stderr


def test_too_little_sound_is_said_and_nothing_written(path: Path) -> None:
    keep(path, {("kitchen", "dog"): background(0.5, 4000)}, end_ns=END_NS)
    before = path.read_bytes()
    done = dog(path, *SPAN, "--write")
    assert (done.returncode, done.stdout) == (69, "")
    assert "dog: 30 min of sound say too little about 1 false alarms a day: at least 2.4 h" in (
        done.stderr
    )
    assert "no label could be calibrated; nothing was changed" in done.stderr
    assert path.read_bytes() == before


def test_seconds_of_sound_are_too_little_for_any_rate(path: Path) -> None:
    keep(path, {("kitchen", "dog"): background(0.0015, 5000)}, end_ns=END_NS)
    before = path.read_bytes()
    done = dog(path, *SPAN, "--false-alarms", "5000", "--write")
    assert (done.returncode, done.stdout) == (69, "")
    assert "dog: 5.4 s of sound say too little about 5000 false alarms a day" in done.stderr
    assert "at least 5 min are needed" in done.stderr
    assert path.read_bytes() == before


def test_only_silence_is_said(path: Path) -> None:
    keep(path, {("kitchen", "dog"): np.full(24 * HOUR, 0.031, np.float32)}, end_ns=END_NS)
    done = dog(path, *SPAN, "--write")
    assert (done.returncode, done.stdout) == (69, "")
    assert "dog: only silence was heard" in done.stderr


def test_a_label_without_scores_stays_as_it_is_and_the_others_go_on(day: Path) -> None:
    done = pe_stream("calibrate", "-c", day, *SPAN, "--write")
    assert done.returncode == 69
    assert "pe-stream: cat: no scores of that time are stored" in done.stderr
    assert done.stdout.splitlines()[0].startswith("dog")
    labels = load(day).labels
    assert labels["cat"].threshold is None
    assert labels["dog"].threshold != 0.3


def test_scores_of_other_prompts_do_not_count(day: Path) -> None:
    text = day.read_text("utf-8").replace(
        "threshold: 0.3 ", "prompts: [a wolf]\n    threshold: 0.3 "
    )
    day.write_text(text, "utf-8")
    done = dog(day, *SPAN)
    assert done.returncode == 69
    assert (
        "dog: the stored scores were made with other prompts or another checkpoint" in done.stderr
    )


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (["--label", "cow"], 2, "there is no label 'cow' in the configuration; labels: dog, cat"),
        (["--examples", "cow=a.wav"], 2, "there is no label 'cow'"),
        (["--source", "attic"], 2, "there is no source 'attic'"),
        (["--recordings", "a.wav", "--listen", "1h"], 2, "give one of the two"),
        (["--recordings", "a.wav", "--since", "1h"], 2, "--since and --until are about stored"),
        (["--recordings", "a.wav", "--source", "kitchen"], 2, "--source is about"),
        (["--since", "yore"], 2, "--since 'yore'"),
        (["--false-alarms", "0"], 2, "not a number above 0"),
        (["--listen", "soon"], 2, "not a time like 90m"),
        (["--examples", "dog"], 2, "not LABEL=FILE"),
        (["-c", "/no/such.yaml"], 78, "/no/such.yaml"),
        ([], 69, "no scores are stored there; `pe-stream run` stores them"),
    ],
)
def test_what_cannot_be_is_said(path: Path, arguments: list[str], code: int, message: str) -> None:
    before = path.read_bytes()
    done = pe_stream("calibrate", "-c", path, *arguments, "--write")
    assert (done.returncode, done.stdout) == (code, "")
    assert message in done.stderr
    assert path.read_bytes() == before


def test_a_file_that_changed_meanwhile_is_not_overwritten(
    day: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from pe_stream.workbench.calibration import command

    def change(*arguments: object, **keys: object) -> object:
        day.write_text(day.read_text("utf-8") + "# mine\n", "utf-8")
        return real(*arguments, **keys)

    real: Any = vars(command)["stored"]
    monkeypatch.setattr(command, "stored", change)
    done = dog(day, *SPAN, "--write")
    assert done.returncode == 69
    assert "was changed meanwhile: nothing was written" in done.stderr
    assert day.read_text("utf-8").endswith("# mine\n")
    assert "threshold: 0.3 " in day.read_text("utf-8")


def test_a_file_that_cannot_be_written_is_said_before_anything_is_heard(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("os.access", lambda *_: False)  # root may write everything
    done = pe_stream("calibrate", "-c", path, "--listen", "24h", "--write")
    assert (done.returncode, done.stdout) == (69, "")
    assert "may not be written by this service" in done.stderr


def test_a_picture_of_each_label(day: Path, tmp_path: Path) -> None:
    assert dog(day, *SPAN, "--plot", tmp_path / "plots").returncode == 0
    assert (tmp_path / "plots" / "dog.png").stat().st_size > 10_000
    done = dog(day, *SPAN, "--plot", day / "below", "--write")
    assert done.returncode == 69
    assert "cannot be written" in done.stderr
    assert "threshold: 0.3 " in day.read_text("utf-8")


def test_a_model_is_not_loaded_for_stored_scores(day: Path) -> None:
    code = (
        "import sys; from pe_stream.cli.main import main; "
        f"main(['calibrate', '-c', {str(day)!r}, *{SPAN!r}, '--label', 'dog']); "
        "sys.exit('torch' in sys.modules or 'transformers' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], check=False, timeout=within(100))
    assert done.returncode == 0


@pytest.fixture
def heard(tmp_path: Path, level: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A configuration of the level checkpoint, with a kitchen that plays 20 s of bursts."""
    monkeypatch.setattr(propose, "LEAST_S", 1.0)
    parts = [(0.8, 0.01), (0.2, 0.03), (0.9, 0.012), (0.1, 0.025)] * 10
    wav = write_float_wav(tmp_path / "kitchen.wav", noise(*parts))
    path = tmp_path / "config.yaml"
    more = f"history: {{path: {tmp_path / 'scores.db'}}}"
    path.write_text(level_config(level, 1883, wav, more), "utf-8")
    return path


def kept(state: Path) -> list[ScoreRun]:
    """What is kept of the one recording in there."""
    with reading(state, "scores") as database:
        ((source,),) = database.execute("SELECT DISTINCT source FROM tracks")
    return read_runs(state, source, "loud", 0, 2**62)


RATE = ("--false-alarms", "80000")


def test_recordings_are_heard_once_and_gone_on_with(
    heard: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    wav, state = tmp_path / "kitchen.wav", tmp_path / "calibrate.db"
    arguments = ("calibrate", "-c", heard, "--recordings", wav, "--resume", state, *RATE)
    whole = pe_stream(*arguments)
    assert whole.returncode == 0, whole.stderr
    assert "from 0.0056 h" in whole.stdout
    times: list[int] = []
    real: Any = vars(listening)["detect"]

    def counted(*given: object, **keys: object) -> Iterator[object]:
        times.append(1)
        yield from real(*given, **keys)

    monkeypatch.setattr(listening, "detect", counted)
    assert pe_stream(*arguments).stdout == whole.stdout
    assert times == []
    assert pe_stream(*arguments, "--afresh").stdout == whole.stdout
    assert times == [1]


def test_a_recording_that_was_broken_off_goes_on_where_it_was(
    heard: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    wav, state = tmp_path / "kitchen.wav", tmp_path / "calibrate.db"
    arguments = ("calibrate", "-c", heard, "--recordings", wav, *RATE, "--resume")
    assert pe_stream(*arguments, tmp_path / "whole.db").returncode == 0
    real: Any = vars(listening)["detect"]
    fed: list[int] = []

    def broken(*given: object, on_scores: object, **keys: object) -> Iterator[object]:
        def keep(scores: np.ndarray) -> None:
            fed.append(len(scores))
            if sum(fed) > 250 and len(fed) < 10_000:
                raise KeyboardInterrupt
            on_scores(scores)  # type: ignore[operator]

        yield from real(*given, on_scores=keep, **keys)

    monkeypatch.setattr(listening, "detect", broken)
    assert pe_stream(*arguments, state).returncode == 130
    (first,) = kept(state)
    assert 200 < len(first.scores) < 260
    again: list[int] = []

    def whole_again(*given: object, on_scores: Any, **keys: object) -> Iterator[object]:
        def keep(scores: np.ndarray) -> None:
            again.append(len(scores))
            on_scores(scores)

        yield from real(*given, on_scores=keep, **keys)

    monkeypatch.setattr(listening, "detect", whole_again)
    assert pe_stream(*arguments, state).returncode == 0
    assert sum(again) == 500 - len(first.scores) + 25  # a window of what was before
    (rest,), (whole,) = kept(state), kept(tmp_path / "whole.db")
    assert len(rest.scores) == len(whole.scores) == 500
    assert np.abs(rest.scores - whole.scores).max() < 0.02
    assert rest.start_ns == 0


def test_listening_goes_on_where_it_was_broken_off(heard: Path, tmp_path: Path) -> None:
    state = tmp_path / "calibrate.db"
    arguments = ("calibrate", "-c", heard, "--resume", state, *RATE)
    done = pe_stream(*arguments, "--listen", "4s")
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("loud")
    again = pe_stream(*arguments, "--listen", "2s")
    assert again.returncode == 0
    assert "h were listened to already" in again.stderr


def test_another_label_makes_the_recording_heard_again(heard: Path, tmp_path: Path) -> None:
    wav, state = tmp_path / "kitchen.wav", tmp_path / "calibrate.db"
    arguments = ("calibrate", "-c", heard, "--recordings", wav, "--resume", state, *RATE)
    once = pe_stream(*arguments).stdout.splitlines()[0]
    heard.write_text(
        heard.read_text("utf-8").replace("labels: {", "labels: {soft: {min_on_s: 0.12}, "), "utf-8"
    )
    both = pe_stream(*arguments)
    assert both.returncode == 0, both.stderr
    assert both.stdout.splitlines()[1] == once
    assert numbers(both.stdout.splitlines()[0])[1] == numbers(once)[1]


def test_listening_for_nothing_is_said(heard: Path) -> None:
    text = heard.read_text("utf-8").replace("sources:", "sources:\n  attic: {microphone: 7}")
    heard.write_text(text.replace("{min_on_s: 0.12}", "{sources: [kitchen]}"), "utf-8")
    done = pe_stream("calibrate", "-c", heard, "--listen", "1s", "--source", "attic")
    assert (done.returncode, done.stdout) == (2, "")
    assert "none of these sources listens for any of these labels" in done.stderr


def test_examples_are_heard_and_counted(heard: Path, tmp_path: Path) -> None:
    wav = tmp_path / "kitchen.wav"
    there = write_float_wav(tmp_path / "loud.wav", noise((1.0, 0.01), (0.6, 0.3), (1.0, 0.01)))
    absent = write_float_wav(tmp_path / "quiet.wav", noise((2.0, 0.002)))
    arguments: tuple[str | Path, ...] = (
        "calibrate",
        "-c",
        heard,
        "--recordings",
        wav,
        "--resume",
        tmp_path / "c.db",
        *RATE,
    )
    done = pe_stream(*arguments, "--examples", f"loud={there}", "--examples", f"loud={absent}")
    assert done.returncode == 0, done.stderr
    assert "finds 1 of 2 examples (as now)" in done.stdout
    none = pe_stream(*arguments, "--examples", f"loud={absent}")
    assert "finds 0 of 1 examples" in none.stdout
    assert "loud: none of its examples would be found: is the sound in them?" in none.stderr
    silent = write_float_wav(tmp_path / "silent.wav", np.zeros(96_000, np.float32))
    dead = pe_stream(*arguments, "--examples", f"loud={silent}", "--write")
    assert (dead.returncode, dead.stdout) == (69, "")
    assert "silent" in dead.stderr


@pytest.mark.parametrize(
    ("samples", "message"),
    [(np.zeros(480_000, np.float32), "silent"), (None, "no such file")],
)
def test_a_recording_that_cannot_be_used_is_said(
    heard: Path, tmp_path: Path, samples: np.ndarray | None, message: str
) -> None:
    before = heard.read_bytes()
    wav = tmp_path / "other.wav"
    if samples is not None:
        write_float_wav(wav, samples)
    state = tmp_path / "c.db"
    done = pe_stream("calibrate", "-c", heard, "--recordings", wav, "--write", "--resume", state)
    assert (done.returncode, done.stdout) == (69, "")
    assert message in done.stderr.lower()
    assert heard.read_bytes() == before
