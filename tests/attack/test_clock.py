"""The wall clock jumps by hours, days and decades while the daemon runs."""

from __future__ import annotations

import json
import signal
import sqlite3
from contextlib import closing
from datetime import UTC, datetime
from functools import partial
from pathlib import Path

import pytest
from mosquitto import Mosquitto, wait_until
from processes import Daemon, level_config
from sounds import noise, write_float_wav

LIBRARY = "libfaketimeMT.so.1"

JUMPS = {
    "three hours ahead": "+10800",
    "back": "+0",
    "two days back": "-172800",
    "before summer time begins": "2026-03-29T00:59:54+00:00",
    "before it ends": "2026-10-25T00:59:54+00:00",
    "1970": "1970-01-01T01:00:00+00:00",
    "2099": "2099-01-01T01:00:00+00:00",
    "now": "+0",
}


@pytest.fixture
def library() -> str:
    found = sorted(Path("/usr/lib").glob(f"*/faketime/{LIBRARY}"))
    if not found:
        pytest.skip("needs libfaketime: apt-get install faketime")
    return str(found[0])


@pytest.mark.attack
@pytest.mark.realtime
@pytest.mark.timeout(300)
def test_a_clock_that_jumps_costs_nothing_but_the_order_of_events(
    tmp_path: Path, level: Path, broker: Mosquitto, library: str
) -> None:
    sound = write_float_wav(tmp_path / "sound.wav", noise((0.9, 0.001), (0.6, 0.2), (0.5, 0.001)))
    more = (
        "location: {timezone: Europe/Berlin, latitude: 52, longitude: 13}\n"
        f"clips: {{enabled: true, folder: {tmp_path}/clips}}\nsearch: {{enabled: true}}\n"
        "labels: {loud: {min_on_s: 0.12}, dusk: {prompts: [loud], min_on_s: 0.12, schedule: "
        "[{from: 02:30, to: 03:30, enabled: false}, {from: sunset, to: sunrise, threshold: 0.4}]}}"
    )
    clock = tmp_path / "clock"
    clock.write_text("+0", "utf-8")
    environment = {
        "LD_PRELOAD": library,
        "FAKETIME_TIMESTAMP_FILE": str(clock),
        "FAKETIME_NO_CACHE": "1",
        "DONT_FAKE_MONOTONIC": "1",
        "FAKETIME_DONT_FAKE_MONOTONIC": "1",
    }
    text = level_config(level, broker.port, f"{{url: {sound}, loop: true}}", more)
    with Daemon(tmp_path, text, environment, real=True) as daemon:
        daemon.wait_for_log("loud end")
        for name, to in JUMPS.items():
            enough = daemon.log.count("loud end") + 2
            clock.write_text(to if to[0] in "+-" else _from_now(to), "utf-8")
            wait_until(partial(_has, daemon, enough), name, 20)
        daemon.send(signal.SIGTERM)
        assert daemon.exit_code() == 143
    assert "Traceback" not in daemon.log
    with closing(sqlite3.connect(tmp_path / "state" / "pe-stream" / "events.db")) as database:
        rows = [json.loads(text) for (text,) in database.execute("SELECT event FROM events")]
    assert len(rows) > len(JUMPS)
    assert {event["phase"] for event in rows} == {"end"}
    for event in rows:
        assert event["duration_s"] > 0
        lasted = datetime.fromisoformat(event["offset"]) - datetime.fromisoformat(event["onset"])
        assert lasted.total_seconds() == pytest.approx(event["duration_s"], abs=0.002)
        assert 0 <= event["latency_ms"] < 60_000


def _has(daemon: Daemon, ends: int) -> bool:
    return daemon.log.count("loud end") >= ends


def _from_now(to: str) -> str:
    return f"{(datetime.fromisoformat(to) - datetime.now(UTC)).total_seconds():+.0f}"
