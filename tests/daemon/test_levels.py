"""Level sensors, labels of what is loud, and least levels, through the daemon."""

from __future__ import annotations

import json
import signal
from pathlib import Path
from typing import Any

import pytest
from mosquitto import Mosquitto, wait_until
from processes import Daemon, MosquittoSub, level_config, pe_stream
from sounds import noise, write_float_wav

from pe_stream.config.file import load
from pe_stream.core.replay import replay
from pe_stream.storage.scores import read_runs

pytestmark = pytest.mark.realtime

EVER = (0, 1 << 62)


def timed(events: list[dict[str, Any]]) -> dict[str, list[tuple[float, float]]]:
    """Onsets and offsets (s), by label."""
    found: dict[str, list[tuple[float, float]]] = {}
    for event in sorted(events, key=lambda each: float(each["onset_s"])):
        if event["phase"] == "end":
            found.setdefault(event["label"], []).append((event["onset_s"], event["offset_s"]))
    return found


def test_a_daemon_of_loud_labels_needs_no_model(tmp_path: Path, broker: Mosquitto) -> None:
    """Nor has one; `detect` and stored scores say the same."""
    wav = write_float_wav(tmp_path / "sound.wav", noise((11, 0.001), (0.4, 0.1), (1.6, 0.001)))
    more = """
labels:
  bang: {loud: true, min_on_s: 0.12}
  never: {loud: {above_db: -6, of: full_scale}}
levels: {every_s: 2}
home_assistant: {enabled: true}
"""
    text = level_config(Path("/no/checkpoint"), broker.port, wav, more)
    with MosquittoSub(broker.port) as house, Daemon(tmp_path, text) as daemon:
        assert daemon.exit_code() == 0
        assert "checkpoint: none is loaded: every label is loud" in daemon.log
        wait_until(lambda: "offline" in str(house.received), "all of it")
    base = "pe_stream/test_node/kitchen"
    events = house.events(f"{base}/events")
    assert {event["checkpoint"] for event in events} == {"none"}
    [(onset, offset)] = timed(events)["bang"]
    assert (onset, offset) == (11.0, 11.4)
    assert timed(events).keys() == {"bang"}
    done = pe_stream("detect", "-c", daemon.config, wav)
    assert timed([json.loads(line) for line in done.stdout.splitlines()]) == timed(events)

    runs = read_runs(tmp_path / "state" / "pe-stream" / "scores.db", "kitchen", "bang", *EVER)
    [replayed] = replay(runs, load(daemon.config).labels["bang"].rule("bang"))
    assert (replayed.onset_ns - runs[0].start_ns) / 1e9 == pytest.approx(11.0)

    levels = [json.loads(payload) for payload in house.payloads(f"{base}/level")]
    assert [level["seconds"] for level in levels] == [2.0] * 6 + [1.0]
    assert [level["mean_dbfs"] for level in levels[:5]] == [pytest.approx(-60, abs=0.2)] * 5
    assert levels[5]["mean_dbfs"] == pytest.approx(-27, abs=0.2)  # 0.4 s of -20 in 2 s
    [told, *_] = house.payloads("homeassistant/device/pe_stream_test_node_kitchen/config")
    sensor = json.loads(told)["components"]["sound_mean"]
    assert sensor["state_topic"] == f"{base}/level"


def test_a_label_with_words_is_only_taken_with_the_next_start(
    tmp_path: Path, broker: Mosquitto
) -> None:
    wav = write_float_wav(tmp_path / "sound.wav", noise((60, 0.001)))
    text = level_config(Path("/no/checkpoint"), broker.port, wav, "labels: {bang: {loud: true}}\n")
    with Daemon(tmp_path, text) as daemon:
        daemon.wait_for_log("kitchen: receiving audio from")
        daemon.config.write_text(text.replace("{loud: true}", "{loud: true}, dog: "), "utf-8")
        daemon.send(signal.SIGHUP)
        daemon.wait_for_log("not reloaded, the labels stay as they were: labels.dog: it needs the")
        daemon.config.write_text(text.replace("{loud: true}", "{loud: {above_db: 30}}"), "utf-8")
        daemon.send(signal.SIGHUP)
        daemon.wait_for_log("reloaded: 1 labels")


def test_quiet_sounds_of_a_label_are_no_event(tmp_path: Path, level: Path) -> None:
    """Beside one that takes them, and one that asks no model."""
    quiet, loud = (1.0, 0.06), (1.0, 0.3)  # -24 and -10 dBFS
    sound = noise((2, 0.001), quiet, (1, 0.001), loud, (2, 0.001), quiet, (2, 0.001))
    wav = write_float_wav(tmp_path / "sound.wav", sound)
    labels = """
labels:
  all: {least_db: -90}
  some: {least_db: -16}
  loud: {loud: {above_db: -16, of: full_scale}}
"""
    config = tmp_path / "config.yaml"
    config.write_text(level_config(level, 1883, wav, labels), "utf-8")
    done = pe_stream("detect", "-c", config, wav)
    found = timed([json.loads(line) for line in done.stdout.splitlines()])
    assert len(found["all"]) == 3
    assert found["loud"] == [(4.0, 5.0)]
    [(onset, offset)] = found["some"]
    assert onset == pytest.approx(4.0, abs=0.2)
    assert offset == pytest.approx(5.0, abs=0.25)
