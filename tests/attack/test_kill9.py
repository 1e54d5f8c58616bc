"""kill -9 at random moments, also during the start: what was told is what is stored."""

from __future__ import annotations

import json
import random
import signal
import sqlite3
import time
from collections import Counter
from contextlib import closing
from pathlib import Path

import pytest
from mosquitto import Mosquitto, wait_until
from processes import Daemon, MosquittoSub, level_config
from sounds import noise, write_float_wav

KILLS = 30


@pytest.mark.attack
@pytest.mark.realtime
@pytest.mark.timeout(600)
def test_thirty_kills_lose_nothing_and_tell_nothing_that_is_not_there(
    tmp_path: Path, level: Path, broker: Mosquitto
) -> None:
    sound = write_float_wav(tmp_path / "sound.wav", noise((0.9, 0.001), (0.6, 0.2), (0.4, 0.001)))
    two = f"{{url: {sound}, loop: true}}\n  hall: {{url: {sound}, loop: true}}"
    more = (
        f"clips: {{enabled: true, folder: {tmp_path}/clips, after_s: 1}}\nsearch: {{enabled: true}}"
    )
    text = level_config(level, broker.port, two, more)
    moments = random.Random(5)
    with MosquittoSub(broker.port) as house:
        for _ in range(KILLS):
            with Daemon(tmp_path, text) as daemon:
                time.sleep(moments.choice([moments.uniform(0.2, 3), moments.uniform(3, 9)]))
                daemon.send(signal.SIGKILL)
                daemon.exit_code()
            assert "Traceback" not in daemon.log
            assert "damaged" not in daemon.log
        with Daemon(tmp_path, text) as daemon:
            daemon.wait_for_log("loud end")
            daemon.send(signal.SIGTERM)
            assert daemon.exit_code() == 143
        sources = [f"pe_stream/test_node/{source}" for source in ("kitchen", "hall")]
        wait_until(lambda: ("pe_stream/test_node/status", "offline") in house.received, "end", 10)
        told = [event for source in sources for event in house.events(f"{source}/events")]
        states = {topic: payload for topic, payload in house.received if topic.endswith("/state")}
    with closing(sqlite3.connect(tmp_path / "state" / "pe-stream" / "events.db")) as database:
        rows = [json.loads(text) for (text,) in database.execute("SELECT event FROM events")]
        assert database.execute("SELECT count(*) FROM outbox").fetchone() == (0,)
        assert database.execute("PRAGMA integrity_check").fetchone() == ("ok",)
    stored = {event["id"]: event for event in rows}
    print(f"{len(stored)} events, {Counter(event['reason'] for event in rows)}")
    assert len(stored) > KILLS
    assert {event["phase"] for event in rows} == {"end"}
    assert {event["id"] for event in told} == set(stored)
    for event_id, event in stored.items():
        phases = [each for each in told if each["id"] == event_id]
        assert phases[0]["phase"] == "start"
        last = phases[-1]
        ours = {name: value for name, value in event.items() if name not in {"late", "clip"}}
        assert ours == {name: last[name] for name in ours}
    # What was acknowledged as the daemon died may come twice, never anything else.
    twice = Counter((e["id"], e["phase"], e["duration_s"], e["reason"]) for e in told)
    assert max(twice.values()) <= 2
    assert set(states.values()) == {"OFF"}
    assert [e["clip"] for e in rows if e["clip"] and not Path(e["clip"]).is_file()] == []
    assert list((tmp_path / "clips").rglob("*.part")) == []
