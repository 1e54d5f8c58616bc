"""Second opinions on stored events that were marked, as a user asks for them."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from processes import Done, pe_stream
from sounds import noise
from stand_ins import ONSET, event

from pe_stream.audio.encode import AudioWriter
from pe_stream.config import ClipSettings, ModelSettings
from pe_stream.core.opinion import OpinionTexts
from pe_stream.core.types import Event, Phase
from pe_stream.pipeline.second_opinion import LabelMoment, prepare_second_opinions
from pe_stream.storage.clips import Clips
from pe_stream.storage.events import EventStore

pytestmark = pytest.mark.heavy


def told(number: int, phase: Phase = Phase.START, label: str = "smoke_alarm") -> Event:
    """An event that peaks 60 ms after its onset."""
    return event(number, phase, label=label, peak=0.1 * number, peak_s=3.3 + number)


def keep(folder: Path, number: int, before_s: float, label: str = "smoke_alarm") -> Path:
    """The clip of an event, which begins so much before its onset."""
    clips = Clips(ClipSettings(enabled=True, folder=str(folder)))
    path = Path(str(clips.named(told(number, label=label)).clip))
    path.parent.mkdir(parents=True, exist_ok=True)
    with AudioWriter(path, "flac", {"PE_STREAM_BEFORE_S": str(before_s)}) as clip:
        clip.write(noise((before_s, 0.01), (0.2 + 0.1 * number, 0.2), (6.0, 0.01)))
    return path


@pytest.fixture
def config(tmp_path: Path) -> Path:
    path = tmp_path / "config.yaml"
    path.write_text(
        "node: node\n"
        "model: {device: cpu, dtype: float32, threads: 1}\n"
        "sources: {kitchen: {microphone: default}}\n"
        "labels: {smoke_alarm: {prompts: [a smoke alarm], not: [a kettle]}, bell: {}}\n"
        f"store: {{path: {tmp_path / 'events.db'}}}\n"
        f"clips: {{enabled: true, folder: {tmp_path / 'clips'}}}\n",
        "utf-8",
    )
    return path


@pytest.fixture
def marked(tmp_path: Path, config: Path) -> Path:
    """Two events right, two wrong with a clip; one without a clip, one of a label that is gone."""
    store = EventStore(tmp_path / "events.db", keep_days=30, limit=5, clock=ONSET.timestamp)
    for number, verdict, label in (
        (1, "right", "smoke_alarm"),
        (2, "right", "bell"),
        (3, "wrong", "smoke_alarm"),
        (4, "wrong", "smoke_alarm"),
        (5, "right", "smoke_alarm"),
        (6, "wrong", "gone"),
        (7, None, "smoke_alarm"),
    ):
        for phase in (Phase.START, Phase.END):
            store.record(told(number, phase, label), [])
        if verdict is not None:
            assert store.judge(told(number).id, verdict)
        if number != 5:
            keep(tmp_path / "clips", number, before_s=1.0 + number, label=label)
    store.close()
    return config


def evaluate(config: Path, pe_av: Path, *more: str | Path) -> Done:
    return pe_stream("eval", "--second-opinion", pe_av, "-c", config, *more)


def test_marks_are_the_truth(marked: Path, pe_av: Path, tmp_path: Path) -> None:
    done = evaluate(marked, pe_av, "--json", tmp_path / "out.json")
    assert (done.returncode, done.stderr) == (0, "")
    made = json.loads((tmp_path / "out.json").read_text("utf-8"))
    assert made["left_out"] == {"unknown_labels": 1, "without_clip": 1, "unreadable": []}
    found = made["second_opinion"]
    assert found["checkpoint"] == str(pe_av)
    counts = {name: (row["right"], row["false"]) for name, row in found["labels"].items()}
    assert counts == {"smoke_alarm": (1, 2), "bell": (1, 0)}
    assert found["all"]["peak"]["auroc"] == 0.0
    assert found["all"]["sound"]["auroc"] is not None
    assert found["all"]["picture"]["auroc"] is None
    said = done.stdout
    assert said.startswith(
        "Marked events left out: 1 of labels that are not configured; 1 without a clip."
    )
    assert "| smoke_alarm |     1 |     2 | 0.000 |" in said
    assert "that leaves 95% of the right events" in said


def test_the_sound_is_that_around_the_peak(marked: Path, pe_av: Path, tmp_path: Path) -> None:
    """`peak_s` counts from the onset, and that is where the clip says."""
    from pe_stream.config.file import load
    from pe_stream.workbench.evaluation import marks

    settings = load(marked)
    texts = {name: OpinionTexts((name,), (name,)) for name in settings.labels}
    opinions = prepare_second_opinions(str(pe_av), ModelSettings(device="cpu"), texts)
    found = marks.judged(settings, opinions)
    clip = keep(tmp_path / "clips", 3, before_s=4.0)
    (expected,) = opinions.of_moments(str(clip), [LabelMoment("smoke_alarm", 4.06)])
    (third,) = [each for each in found.events if each.peak == pytest.approx(0.3)]
    assert not third.right
    assert (third.opinion.sound, third.opinion.span_s) == (expected.sound, expected.span_s)


def test_a_clip_that_cannot_be_read_is_left_out(marked: Path, pe_av: Path, tmp_path: Path) -> None:
    (clip,) = (tmp_path / "clips").rglob("*-id-0001.flac")
    clip.write_bytes(b"no clip")
    done = evaluate(marked, pe_av, "--json", "-")
    assert done.returncode == 69
    (line,) = done.stderr.splitlines()
    assert line.startswith(f"pe-stream: left out: {clip}: ")
    made = json.loads(done.stdout)
    assert made["left_out"]["unreadable"] == [str(clip)]
    assert made["second_opinion"]["all"]["right"] == 1


def test_what_cannot_be_judged_is_said(config: Path, pe_av: Path, tmp_path: Path) -> None:
    done = evaluate(config, pe_av)
    assert (done.returncode, done.stdout) == (69, "")
    store = EventStore(tmp_path / "events.db", keep_days=30, limit=5, clock=ONSET.timestamp)
    store.close()
    done = evaluate(config, pe_av)
    assert (done.returncode, done.stdout) == (69, "")
    assert "there is no marked event of a configured label whose clip is kept" in done.stderr
    config.write_text(config.read_text("utf-8").replace("store: {", "store: {enabled: false, "))
    done = evaluate(config, pe_av)
    assert (done.returncode, done.stdout) == (69, "")
    assert "no events are stored: store.enabled is false" in done.stderr
    for arguments, said in (
        ((), "give a FOLDER, or --second-opinion"),
        (("--second-opinion", "x", "--fold", "1"), "--fold needs a FOLDER"),
        (("--second-opinion", "x", "--peer", "p"), "--peer needs a FOLDER"),
        ((tmp_path, "-c", config), "--config is about marked events: leave FOLDER out"),
        ((tmp_path, "--calibration", "2", "--second-opinion", "x"), "--second-opinion does not go"),
    ):
        done = pe_stream("eval", *arguments)
        assert (done.returncode, done.stdout) == (2, "")
        assert said in done.stderr
