"""Patterns and thresholds that follow, through the daemon, `detect` and the stored scores."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from mosquitto import Mosquitto, wait_until
from ports import HOST
from processes import Daemon, MosquittoSub, level_config, pe_stream
from sounds import noise, write_float_wav
from timing import within

from pe_stream.config import LabelSettings
from pe_stream.config.file import load
from pe_stream.core.replay import replay
from pe_stream.core.types import SAMPLE_RATE, Samples
from pe_stream.storage.scores import read_runs

pytestmark = pytest.mark.realtime

EVER = (0, 1 << 62)

LABELS = """
labels:
  knocks:
    min_on_s: 0.08
    pattern: {times: 3, within_s: 3, gap_s: [0.2, 1.0]}
  tone: {threshold: 0.0001, pattern: {rhythm: [0.2, 0.2, 0.2, 1.0]}}
  loud: {min_on_s: 0.12, min_off_s: 0.08}
  then: {min_on_s: 0.08, min_off_s: 0.08, max_s: 0.4, pattern: {then: tone, within_s: 3}}
"""


def sound() -> Samples:
    """Three knocks from 1.0 s on, and a soft tone in a rhythm from 4.2 s on; a little noise."""
    seconds = np.arange(round(0.2 * SAMPLE_RATE)) / SAMPLE_RATE
    beep, gap = 0.012 * np.sin(2 * np.pi * 2000 * seconds), np.zeros(len(seconds))
    cycle = np.concatenate([beep, gap, beep, np.tile(gap, 5)])
    tail = np.zeros(5 * SAMPLE_RATE)
    tones = np.concatenate([cycle, cycle, cycle, tail])
    knocks = noise((1.0, 0.0), *[(0.2, 0.3), (0.4, 0.0)] * 3, (1.4, 0.0))
    clean = np.concatenate([knocks, tones])
    return np.asarray(clean + noise((len(clean) / SAMPLE_RATE, 1e-4)), np.float32)


def timed(events: list[dict[str, Any]]) -> dict[str, list[tuple[float, float]]]:
    found: dict[str, list[tuple[float, float]]] = {}
    for event in sorted(events, key=lambda each: float(each["onset_s"])):
        if event["phase"] == "end":
            spans = found.setdefault(event["label"], [])
            spans.append((event["onset_s"], event["offset_s"]))
    return found


def test_the_daemon_detect_and_stored_scores_say_the_same(
    tmp_path: Path, level: Path, broker: Mosquitto
) -> None:
    wav = write_float_wav(tmp_path / "sound.wav", sound())
    text = level_config(level, broker.port, wav, LABELS)
    with MosquittoSub(broker.port) as house, Daemon(tmp_path, text) as daemon:
        assert daemon.exit_code() == 0
        wait_until(lambda: "offline" in str(house.received), "all of it")
        live = timed(house.events("pe_stream/test_node/kitchen/events"))
    done = pe_stream("detect", "-c", daemon.config, wav)
    found = timed([json.loads(line) for line in done.stdout.splitlines()])
    assert live == found

    (knocks,) = found["knocks"]
    assert knocks == pytest.approx((1.0, 2.4), abs=0.1)
    (tone,) = found["tone"]
    assert tone == pytest.approx((4.2, 8.0), abs=0.15)
    ((onset, offset),) = found["then"]
    assert onset == pytest.approx(2.2, abs=0.1)
    assert offset == tone[1]
    assert len(found["loud"]) == 3

    settings: dict[str, LabelSettings] = dict(load(daemon.config).labels)
    runs = read_runs(tmp_path / "state" / "pe-stream" / "scores.db", "kitchen", "knocks", *EVER)
    (replayed,) = replay(runs, settings["knocks"].rule("knocks"))
    assert (replayed.onset_ns - runs[0].start_ns) / 1e9 == pytest.approx(knocks[0])
    assert (replayed.offset_ns - runs[0].start_ns) / 1e9 == pytest.approx(knocks[1])


def test_home_assistant_is_told_of_a_threshold_that_follows(
    tmp_path: Path, level: Path, broker: Mosquitto
) -> None:
    """With minutes of a second. What MQTT sets is the least that it can be."""
    (tmp_path / "sitecustomize.py").write_text(
        "import pe_stream.core.adaptive_threshold as follow\nfollow.MINUTE = 25\n"
    )
    wav = write_float_wav(tmp_path / "sound.wav", noise((1.0, 0.001), (120.0, 0.024)))
    more = """
labels: {loud: {threshold: 0.5, follow: {window_s: 60, quantile: 0.9, margin: 4, highest: 0.9}}}
home_assistant: {enabled: true}
"""
    text = level_config(level, broker.port, wav, more)
    environment = {"PYTHONPATH": f"{tmp_path}:{Path.cwd()}"}
    topic = "pe_stream/test_node/kitchen/loud"

    def told() -> list[float]:
        return [float(payload) for payload in house.payloads(f"{topic}/threshold")]

    def send(threshold: float) -> None:
        command = ["mosquitto_pub", "-h", HOST, "-p", str(broker.port), "-q", "1"]
        command += ["-t", f"{topic}/set", "-m", json.dumps({"threshold": threshold})]
        subprocess.run(command, check=True, timeout=within(10))

    with MosquittoSub(broker.port) as house, Daemon(tmp_path, text, environment) as daemon:
        wait_until(lambda: any(each > 0.5 for each in told()), "a raised threshold", 60)
        assert told()[0] == 0.5
        assert max(told()) <= 0.9
        send(0.93)
        wait_until(lambda: told()[-1] == 0.93, "the threshold that was set")
        send(0.3)
        wait_until(lambda: 0.3 < told()[-1] <= 0.9, "the room's")
        assert daemon.process.poll() is None
