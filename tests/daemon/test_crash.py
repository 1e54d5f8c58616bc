"""kill -9 and outages: what was heard is told, once, in order, and nothing stays on."""

from __future__ import annotations

import csv
import io
import json
import signal
from pathlib import Path

import pytest
from mosquitto import Mosquitto, wait_until
from processes import Daemon, MosquittoSub, level_config, pe_stream
from sounds import noise, write_float_wav

EVENTS = "pe_stream/test_node/kitchen/events"
STATE = "pe_stream/test_node/kitchen/loud/state"


@pytest.mark.realtime
def test_a_crash_during_an_outage_loses_nothing(
    tmp_path: Path, level: Path, broker: Mosquitto, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    # The second comes well after the broker's end: what it had acknowledged and not passed on yet
    # would be lost with it.
    bursts = write_float_wav(
        tmp_path / "bursts.wav", noise((1, 0.001), (1, 0.2), (4, 0.001), (60, 0.2))
    )
    quiet = write_float_wav(tmp_path / "quiet.wav", noise((60, 0.001)))
    with (
        MosquittoSub(broker.port) as house,
        Daemon(tmp_path, level_config(level, broker.port, bursts)) as daemon,
    ):
        house.wait_for(EVENTS, '"end"')  # the first is delivered
        broker.kill()
        wait_until(lambda: daemon.log.count("loud start") == 2, "the second event", 60)
        daemon.send(signal.SIGKILL)
        assert daemon.exit_code() == -signal.SIGKILL
    first = house.events(EVENTS)
    broker.start()
    with (
        MosquittoSub(broker.port) as house,
        Daemon(tmp_path, level_config(level, broker.port, quiet)) as daemon,
    ):
        house.wait_for(EVENTS, '"restart"')
        house.wait_for(STATE, "OFF")
        then = house.events(EVENTS)
        listed = pe_stream("events", "-c", str(daemon.config))
        table = pe_stream("events", "-c", str(daemon.config), "--format", "csv")
        daemon.send(signal.SIGTERM)
        assert daemon.exit_code() == 143
    assert "from the last run" in daemon.log

    # Every phase came, in order; twice at most what was on its way when the broker died.
    told = [(e["id"], e["phase"]) for e in [*first, *then]]
    assert list(dict.fromkeys(told)) == sorted(set(told), key=told.index)
    one, two = dict.fromkeys(i for i, _ in told)
    assert [phase for i, phase in dict.fromkeys(told) if i == one] == ["start", "end"]
    phases = [phase for i, phase in dict.fromkeys(told) if i == two]
    assert (phases[0], phases[-1]) == ("start", "end")
    assert all(event["late"] for event in then)
    last = then[-1]
    assert last["reason"] == "restart"
    assert last["offset_s"] == pytest.approx(last["onset_s"] + last["duration_s"])
    assert last["onset"] == then[-2]["onset"]

    stored = [json.loads(line) for line in listed.stdout.splitlines()]
    assert [(e["id"], e["phase"]) for e in stored] == [(one, "end"), (two, "end")]
    rows = list(csv.DictReader(io.StringIO(table.stdout)))
    assert [row["id"] for row in rows] == [one, two]
    assert rows[1]["reason"] == "restart"


@pytest.mark.realtime
def test_a_store_that_cannot_be_written_is_told_and_stops_nothing(
    tmp_path: Path, level: Path, broker: Mosquitto
) -> None:
    (tmp_path / "blocked").write_text("a file where a folder should be")
    sound = write_float_wav(tmp_path / "sound.wav", noise((1, 0.001), (1, 0.2), (60, 0.001)))
    store = f"store: {{path: {tmp_path / 'blocked' / 'events.db'}}}"
    with (
        MosquittoSub(broker.port) as house,
        Daemon(tmp_path, level_config(level, broker.port, sound, store)) as daemon,
    ):
        house.wait_for(EVENTS, '"end"')
        house.wait_for("pe_stream/test_node/kitchen/health", "blocked")
        (tmp_path / "blocked").unlink()
        house.wait_for("pe_stream/test_node/kitchen/health", '"store": "ok"')
        daemon.send(signal.SIGTERM)
        assert daemon.exit_code() == 143
    assert "only in memory" in daemon.log
    assert not any(event["late"] for event in house.events(EVENTS))


def test_events_without_a_database_say_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    done = pe_stream("events")
    assert done.returncode == 69
    assert "no events are stored there" in done.stderr
    done = pe_stream("events", "--since", "yesterday")
    assert done.returncode == 2
    assert "--since 'yesterday'" in done.stderr
