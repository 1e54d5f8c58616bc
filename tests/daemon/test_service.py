"""The daemon as a process: a real (virtual) microphone, a real broker, a real subscriber."""

from __future__ import annotations

import json
import re
import signal
import socket
import sqlite3
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace
from datetime import datetime
from pathlib import Path

import httpx
import numpy as np
import psutil
import pytest
import virtual_microphone
from house import House
from mosquitto import Mosquitto, password_lines, wait_until
from ports import HOST, free_port
from processes import Daemon, MosquittoSub
from sounds import noise, write_float_wav
from stand_ins import event
from timing import within
from virtual_microphone import VirtualMicrophone

from pe_stream.core.messages import Topics, event_message
from pe_stream.storage.event_queries import EventFilter, EventQueries
from pe_stream.storage.events import EventStore

pytestmark = pytest.mark.realtime

LISTENER = """
import sys, time, sounddevice, numpy
def callback(data, frames, when, status):
    first = time.time() - (when.currentTime - when.inputBufferAdcTime)
    loud = numpy.flatnonzero(numpy.abs(data[:, 0]) > 0.05)
    if len(loud):
        print(first + loud[0] / 48000, first + loud[-1] / 48000, flush=True)
with sounddevice.InputStream(samplerate=48000, channels=1, dtype="float32", callback=callback):
    print("ready", flush=True)
    sys.stdin.read()
"""
"""An independent witness: prints from when to when each block was loud (UTC, s)."""


@pytest.fixture
def microphone() -> Iterator[VirtualMicrophone]:
    problem = virtual_microphone.missing()
    if problem:
        pytest.skip(problem)
    with virtual_microphone.virtual_microphone() as plugged_in:
        yield plugged_in


def config(level: Path, port: int, source: str, labels: str = "  loud: {min_on_s: 0.12}") -> str:
    return f"""
node: Test Node
model: {{checkpoint: {level}, window_s: 1.0, hop_s: 0.2, lookahead_s: 0.2, threads: 1}}
sources:
  kitchen: {source}
labels:
{labels}
mqtt: {{host: 127.0.0.1, port: {port}}}
"""


def topic(*parts: str) -> str:
    return "/".join(["pe_stream/test_node", *parts])


def utc_s(text: str) -> float:
    return datetime.fromisoformat(text).timestamp()


def test_a_sound_at_the_microphone_becomes_an_event_with_the_right_times(
    tmp_path: Path, level: Path, broker: Mosquitto, microphone: VirtualMicrophone
) -> None:
    wav = write_float_wav(tmp_path / "sound.wav", noise((0.5, 0), (2.5, 0.06), (0.5, 0)))
    text = config(level, broker.port, "{microphone: default}")
    with (
        MosquittoSub(broker.port) as house,
        Daemon(tmp_path, text, microphone.environment) as daemon,
        subprocess.Popen(
            [sys.executable, "-c", LISTENER],
            env=daemon._environment,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        ) as witness,
    ):
        assert witness.stdin is not None
        assert witness.stdout is not None
        house.wait_for(topic("status"), "online")
        house.wait_for(topic("kitchen", "health"), '"flat"')  # a null sink gives exact zeros
        assert witness.stdout.readline() == "ready\n"
        assert microphone.play(wav).wait(within(20)) == 0
        house.wait_for(topic("kitchen", "loud", "state"), "ON")
        house.wait_for(topic("kitchen", "events"), '"end"')
        house.wait_for(topic("kitchen", "health"), '"hearing"')
        daemon.send(signal.SIGTERM)
        begun_s = time.monotonic()
        assert daemon.exit_code() == 143
        assert time.monotonic() - begun_s < within(5)
        house.wait_for(topic("status"), "offline")
        witness.stdin.close()
        heard = [line.split() for line in witness.stdout]
    start, *updates, end = house.events(topic("kitchen", "events"))
    onset_s, offset_s = float(heard[0][0]), float(heard[-1][1])
    assert [start["phase"], end["phase"]] == ["start", "end"]
    assert {event["phase"] for event in updates} == {"update"}
    assert len({event["id"] for event in (start, *updates, end)}) == 1
    assert utc_s(start["onset"]) == pytest.approx(onset_s, abs=0.08)
    assert utc_s(end["offset"]) == pytest.approx(offset_s, abs=0.08)
    assert end["duration_s"] == pytest.approx(2.5, abs=0.1)  # both ends lie on frames
    assert 0 < start["latency_ms"] < within(3000)
    for label in ("loud", "any"):
        assert house.payloads(topic("kitchen", label, "state")) == ["OFF", "ON", "OFF"]
    assert (start["node"], start["checkpoint"]) == ("Test Node", str(level))
    assert "listening to microphone" in daemon.log
    assert daemon.out == ""


def test_term_closes_what_is_open(tmp_path: Path, level: Path, broker: Mosquitto) -> None:
    wav = write_float_wav(tmp_path / "sound.wav", noise((0.5, 0), (60, 0.2)))
    with (
        MosquittoSub(broker.port) as house,
        Daemon(tmp_path, config(level, broker.port, f"{{url: {wav}}}")) as daemon,
    ):
        house.wait_for(topic("kitchen", "events"), '"start"')
        begun_s = time.monotonic()
        daemon.send(signal.SIGTERM)
        assert daemon.exit_code() == 143
        assert time.monotonic() - begun_s < within(5)
        house.wait_for(topic("status"), "offline")
    end = house.events(topic("kitchen", "events"))[-1]
    assert (end["phase"], end["reason"]) == ("end", "stopped")
    assert house.payloads(topic("kitchen", "loud", "state"))[-1] == "OFF"
    said = [name for name, _ in house.received]
    assert said.index(topic("kitchen", "events")) < len(said) - 1
    assert house.received[-1] == (topic("status"), "offline")


def test_the_end_of_every_source_is_a_clean_end(
    tmp_path: Path, level: Path, broker: Mosquitto
) -> None:
    wav = write_float_wav(tmp_path / "sound.wav", noise((1.0, 0.001), (1.03, 0.2)))
    with (
        MosquittoSub(broker.port) as house,
        Daemon(tmp_path, config(level, broker.port, f"{{url: {wav}}}")) as daemon,
    ):
        assert daemon.exit_code() == 0
        house.wait_for(topic("status"), "offline")
    end = house.events(topic("kitchen", "events"))[-1]
    assert (end["phase"], end["reason"], end["offset_s"]) == ("end", None, 2.03)
    assert end["onset_s"] == pytest.approx(1.0, abs=0.08)


def test_set_and_reload_change_what_fires_without_losing_a_sample(
    tmp_path: Path, level: Path, broker: Mosquitto
) -> None:
    wav = write_float_wav(tmp_path / "sound.wav", noise(*[(0.6, 0.2), (0.9, 0.001)] * 40))
    text = config(level, broker.port, f"{{url: {wav}, loop: true}}")
    with (
        MosquittoSub(broker.port) as house,
        Daemon(tmp_path, text) as daemon,
    ):
        events = topic("kitchen", "events")
        house.wait_for(events, '"end"')

        def send(payload: str) -> None:
            subprocess.run(
                [
                    *("mosquitto_pub", "-h", HOST, "-p", str(broker.port), "-q", "1"),
                    *("-t", topic("kitchen", "loud", "set"), "-m", payload),
                ],
                check=True,
                timeout=within(10),
            )

        send("not json")
        daemon.wait_for_log("not JSON")
        send('{"threshold": 0.999999}')
        daemon.wait_for_log("set: kitchen loud: threshold 0.999999")
        settled = len(house.events(events))
        house.wait_for(events, '"end"')
        send('{"threshold": 0.3}')

        def thresholds() -> list[float]:
            return [event["threshold"] for event in house.events(events)]

        wait_until(lambda: 0.3 in thresholds(), "threshold 0.3")
        assert thresholds().index(0.3) < settled + 4

        broken = text.replace("loud:", "laud: {treshold: 0.3}\n  loud:")
        daemon.config.write_text(broken, "utf-8")
        daemon.send(signal.SIGHUP)
        daemon.wait_for_log("not reloaded")
        assert "did you mean 'threshold'" in daemon.log
        daemon.config.write_text(text.replace("loud:", "noisy:"), "utf-8")
        daemon.send(signal.SIGHUP)
        daemon.wait_for_log("reloaded: 1 labels")
        wait_until(lambda: any(e["label"] == "noisy" for e in house.events(events)), "noisy")
        house.wait_for(topic("kitchen", "noisy", "state"), "ON")
        wait_until(
            lambda: house.payloads(topic("kitchen", "loud", "state"))[-1] == "",
            "the old state removed",
        )
        house.wait_for(topic("kitchen", "health"), '"lost_s": 0.0')

        def onsets(*labels: str) -> list[float]:
            told = house.events(events)
            return [e["onset_s"] for e in told if e["phase"] == "start" and e["label"] in labels]

        wait_until(lambda: len(onsets("noisy")) >= 2, "another")
        daemon.send(signal.SIGINT)
        assert daemon.exit_code() == 130
    # every burst is there: onsets are 1.5 s apart through the reload
    assert max(np.diff(onsets("loud", "noisy")[-3:])) < 1.6


def test_what_is_acknowledged_during_a_long_scoring_is_in_force_after_it(
    tmp_path: Path, level: Path, broker: Mosquitto
) -> None:
    """However many `set` messages come; an edit that has to wait for it is not written."""
    wav = write_float_wav(tmp_path / "sound.wav", noise((1, 0.001), (1, 0.2)))
    held, port = tmp_path / "held", free_port()
    sabotage = tmp_path / "sitecustomize.py"
    sabotage.write_text(
        "import pathlib, time\n"
        "import pe_stream.daemon.active_labels as active_labels\n"
        "import pe_stream.model.engine as engine\n"
        "usual_s = active_labels.ADOPT_S\n"
        f"held, holds = pathlib.Path({str(held)!r}), pathlib.Path({str(held)!r} + '-now')\n"
        "hear = engine.Engine.hear_and_embed\n"
        "def slow(self, *given, **how):\n"
        "    while held.exists():\n"
        "        active_labels.ADOPT_S = 1.0\n"
        "        holds.touch()\n"
        "        time.sleep(0.01)\n"
        "    active_labels.ADOPT_S = usual_s\n"
        "    return hear(self, *given, **how)\n"
        "engine.Engine.hear_and_embed = slow\n",
        "utf-8",
    )
    page = f"web: {{enabled: true, port: {port}}}"
    text = config(level, broker.port, f"{{url: {wav}, loop: true}}", "  loud:\n  other:") + page
    api = f"http://127.0.0.1:{port}/api/v1"
    with Daemon(tmp_path, text, {"PYTHONPATH": f"{tmp_path}:{Path.cwd()}"}) as daemon:
        daemon.wait_for_log("kitchen: receiving audio from")

        def thresholds() -> list[float]:
            labels = httpx.get(f"{api}/labels", timeout=within(20)).json()["labels"]
            return [label["now"]["kitchen"]["threshold"] for label in labels]

        def edit() -> httpx.Response:
            version = httpx.get(f"{api}/labels", timeout=within(20)).json()["version"]
            headers = {"if-match": f'"{version}"'}
            wanted = {"min_on_s": 0.3}
            return httpx.patch(
                f"{api}/labels/loud", json=wanted, headers=headers, timeout=within(60)
            )

        held.touch()
        wait_until(Path(f"{held}-now").exists, "a long scoring")
        for label in ("loud", "other"):
            messages = "".join(f'{{"threshold": {n / 1000}}}\n' for n in range(301, 401))
            subprocess.run(
                [
                    *("mosquitto_pub", "-h", HOST, "-p", str(broker.port), "-q", "1", "-l"),
                    *("-t", topic("kitchen", label, "set")),
                ],
                input=messages,
                text=True,
                check=True,
                timeout=within(30),
            )
        wait_until(lambda: daemon.log.count("set: kitchen") == 200, "all are taken")
        refused = edit()
        assert (refused.status_code, daemon.config.read_text("utf-8")) == (503, text)
        held.unlink()
        wait_until(lambda: thresholds() == [0.4, 0.4], "what was set last")
        assert edit().status_code == 200
        assert "min_on_s: 0.3" in daemon.config.read_text("utf-8")
        daemon.send(signal.SIGTERM)
        assert daemon.exit_code() == 143
    assert "not made" not in daemon.log


def test_a_store_that_is_locked_from_the_start_on_loses_nothing(
    tmp_path: Path, level: Path, broker: Mosquitto
) -> None:
    """Neither what the last run left, nor what this one hears meanwhile."""
    path = tmp_path / "state" / "pe-stream" / "events.db"
    before = EventStore(path, keep_days=10_000, limit=100)
    left = replace(event(1), node="Test Node", source="kitchen", label="loud")
    before.record(left, [event_message(Topics("pe_stream", "Test Node"), left)])
    before.close()
    wav = write_float_wav(tmp_path / "sound.wav", noise(*[(0.5, 0.001), (0.5, 0.2)] * 90))
    with (
        MosquittoSub(broker.port) as house,
        closing(sqlite3.connect(path, isolation_level=None)) as other,
    ):
        other.execute("BEGIN IMMEDIATE")
        with Daemon(tmp_path, config(level, broker.port, f"{{url: {wav}}}")) as daemon:
            house.wait_for(topic("kitchen", "events"), '"end"')
            house.wait_for(topic("kitchen", "health"), "locked")
            assert "from the last run" not in daemon.log
            other.rollback()
            daemon.wait_for_log("from the last run: 1 messages to deliver, 1 open events closed")
            house.wait_for(topic("kitchen", "health"), '"store": "ok"')
            daemon.send(signal.SIGTERM)
            assert daemon.exit_code() == 143
            house.wait_for(topic("status"), "offline")
    told = house.events(topic("kitchen", "events"))
    old = [each for each in told if each["id"] == left.id]
    assert [(each["phase"], each["late"], each["reason"]) for each in old] == [
        ("start", True, None),
        ("end", True, "restart"),
    ]
    stored = [entry.event for entry in EventQueries(path).events(EventFilter())]
    assert {each["id"] for each in stored} == {each["id"] for each in told}
    assert all(each["phase"] == "end" for each in stored)
    after = EventStore(path, keep_days=10_000, limit=100)
    assert after.waiting() == []
    after.close()


def test_a_thread_that_dies_ends_the_process(
    tmp_path: Path, level: Path, broker: Mosquitto
) -> None:
    wav = write_float_wav(tmp_path / "sound.wav", noise((60, 0.2)))
    text = config(level, broker.port, f"{{url: {wav}}}")
    sabotage = tmp_path / "sitecustomize.py"
    sabotage.write_text(
        "import pe_stream.model.engine as engine\n"
        "calls = []\n"
        "hear = engine.Engine.hear_and_embed\n"
        "def broken(self, *given, **how):\n"
        "    calls.append(1)\n"
        "    if len(calls) > 3: raise RuntimeError('device lost')\n"
        "    return hear(self, *given, **how)\n"
        "engine.Engine.hear_and_embed = broken\n",
        "utf-8",
    )
    environment = {"PYTHONPATH": f"{tmp_path}:{Path.cwd()}"}
    with (
        MosquittoSub(broker.port) as house,
        Daemon(tmp_path, text, environment) as daemon,
    ):
        assert daemon.exit_code() == 1
        house.wait_for(topic("status"), "offline")
    assert "the thread scoring has died" in daemon.log
    assert "device lost" in daemon.log
    assert house.events(topic("kitchen", "events"))[-1]["phase"] == "end"


def test_an_output_that_fails_ends_the_process_and_takes_no_other_along(
    tmp_path: Path, level: Path, broker: Mosquitto
) -> None:
    wav = write_float_wav(tmp_path / "sound.wav", noise((0.5, 0.001), (60, 0.2)))
    text = config(level, broker.port, f"{{url: {wav}}}")
    sabotage = tmp_path / "sitecustomize.py"
    sabotage.write_text(
        "import pe_stream.outputs.metrics as metrics\n"
        "def broken(self, event): raise RuntimeError('a fault of metrics')\n"
        "metrics.Metrics.event = broken\n",
        "utf-8",
    )
    environment = {"PYTHONPATH": f"{tmp_path}:{Path.cwd()}"}
    with (
        MosquittoSub(broker.port) as house,
        Daemon(tmp_path, text, environment) as daemon,
    ):
        assert daemon.exit_code() == 1
        house.wait_for(topic("status"), "offline")
    assert "a fault of metrics" in daemon.log
    assert daemon.log.count("gets no further events") == 1
    start, *_, end = house.events(topic("kitchen", "events"))
    assert (start["phase"], end["phase"], end["reason"]) == ("start", "end", "stopped")
    assert "kitchen: loud start" in daemon.log
    assert "kitchen: loud end" in daemon.log
    stored = EventQueries(tmp_path / "state" / "pe-stream" / "events.db").events(EventFilter())
    assert [entry.event["phase"] for entry in stored] == ["end"]


def test_faults_during_the_stop_are_logged_and_make_the_exit_code(
    tmp_path: Path, level: Path, broker: Mosquitto
) -> None:
    """All of them; also one of a kind that would have another code at the start."""
    wav = write_float_wav(tmp_path / "sound.wav", noise((0.5, 0.001), (60, 0.2)))
    sabotage = tmp_path / "sitecustomize.py"
    sabotage.write_text(
        "import pe_stream.daemon.listeners as listeners\n"
        "import pe_stream.outputs.metrics as metrics\n"
        "from pe_stream.errors import UnavailableError\n"
        "def broken(self, event):\n"
        "    if event.phase == 'end': raise UnavailableError('a fault of ' + type(self).__name__)\n"
        "metrics.Metrics.event = listeners.EventLog.event = broken\n",
        "utf-8",
    )
    environment = {"PYTHONPATH": f"{tmp_path}:{Path.cwd()}"}
    text = config(level, broker.port, f"{{url: {wav}}}")
    with (
        MosquittoSub(broker.port) as house,
        Daemon(tmp_path, text, environment) as daemon,
    ):
        house.wait_for(topic("kitchen", "events"), '"start"')
        daemon.send(signal.SIGTERM)
        assert daemon.exit_code() == 1
        house.wait_for(topic("status"), "offline")
    assert "Traceback" in daemon.log
    for name in ("Metrics", "EventLog"):
        assert f"UnavailableError: a fault of {name}" in daemon.log
    assert house.events(topic("kitchen", "events"))[-1]["phase"] == "end"


def test_what_the_last_run_left_open_is_told_to_all(
    tmp_path: Path, level: Path, broker: Mosquitto
) -> None:
    """To the broker, the log and notifications; its states are of this run."""
    before = EventStore(tmp_path / "state" / "pe-stream" / "events.db", keep_days=10_000, limit=100)
    left = replace(event(1), node="Test Node", source="kitchen", label="loud")
    before.record(left, [event_message(Topics("pe_stream", "Test Node"), left)])
    before.close()
    wav = write_float_wav(tmp_path / "sound.wav", noise((60, 0.001)))
    with House() as service, MosquittoSub(broker.port) as house:
        text = config(level, broker.port, f"{{url: {wav}}}")
        text += f"notifications: {{hook: {{webhook: '{service.url()}', phase: end}}}}"
        with Daemon(tmp_path, text) as daemon:
            house.wait_for(topic("kitchen", "events"), '"restart"')
            daemon.wait_for_log("kitchen: loud end")
            wait_until(lambda: bool(service.received), "a notification")
            daemon.send(signal.SIGTERM)
            assert daemon.exit_code() == 143
            house.wait_for(topic("status"), "offline")
    assert house.payloads(topic("kitchen", "loud", "state")) == ["OFF"]


def test_a_scoring_that_takes_for_ever_does_not_hold_up_the_end(
    tmp_path: Path, level: Path, broker: Mosquitto
) -> None:
    wav = write_float_wav(tmp_path / "sound.wav", noise((60, 0.2)))
    sabotage = tmp_path / "sitecustomize.py"
    sabotage.write_text(
        "import torch\n"
        "import pe_stream.model.engine as engine\n"
        "calls = []\n"
        "hear = engine.Engine.hear_and_embed\n"
        "def slow(self, *given, **how):\n"
        "    calls.append(1)\n"
        "    if len(calls) > 5:\n"
        "        print('inside torch', flush=True)\n"
        "        big = torch.ones(8000, 8000, dtype=torch.float64)\n"
        "        for _ in range(9): big @ big\n"
        "    return hear(self, *given, **how)\n"
        "engine.Engine.hear_and_embed = slow\n",
        "utf-8",
    )
    text = config(level, broker.port, f"{{url: {wav}}}")
    with (
        MosquittoSub(broker.port) as house,
        Daemon(tmp_path, text, {"PYTHONPATH": f"{tmp_path}:{Path.cwd()}"}) as daemon,
    ):
        wait_until(lambda: "inside torch" in daemon.out, "a long scoring", 60)
        begun_s = time.monotonic()
        daemon.send(signal.SIGTERM)
        daemon.send(signal.SIGTERM)  # an impatient second one changes nothing
        assert daemon.exit_code() == 143
        assert time.monotonic() - begun_s < within(5)
        house.wait_for(topic("status"), "offline")
    assert house.events(topic("kitchen", "events"))[-1]["reason"] == "stopped"


def test_a_second_signal_leaves_notifications_their_time(
    tmp_path: Path, level: Path, broker: Mosquitto
) -> None:
    """They stop last, and have two seconds to be sent."""
    wav = write_float_wav(tmp_path / "sound.wav", noise((1, 0.001), (60, 0.2)))
    with House() as house, MosquittoSub(broker.port) as subscriber:
        house.hold.clear()  # it takes what it is told, and does not answer
        text = config(level, broker.port, f"{{url: {wav}}}")
        text += f"notifications: {{hook: {{webhook: '{house.url()}'}}}}"
        with Daemon(tmp_path, text) as daemon:
            wait_until(lambda: bool(house.received), "a notification", 60)
            daemon.send(signal.SIGTERM)
            subscriber.wait_for(topic("status"), "offline")
            time.sleep(0.5)  # all but them has stopped
            for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
                daemon.send(number)
            assert daemon.exit_code() == 143
    assert "not sent before the end" in daemon.log


def test_what_waits_for_the_broker_is_late(tmp_path: Path, level: Path, broker: Mosquitto) -> None:
    wav = write_float_wav(tmp_path / "sound.wav", noise((1, 0.001), (1, 0.2), (90, 0.001)))
    broker.kill()
    with Daemon(tmp_path, config(level, broker.port, f"{{url: {wav}}}")) as daemon:
        daemon.wait_for_log("loud end")
        daemon.send(signal.SIGSTOP)  # until somebody is there who hears all that it tells
        broker.start()
        with MosquittoSub(broker.port) as house:
            daemon.send(signal.SIGCONT)
            house.wait_for(topic("kitchen", "events"), '"end"')
        daemon.send(signal.SIGTERM)
        assert daemon.exit_code() == 143
    events = house.events(topic("kitchen", "events"))
    assert [e["phase"] for e in events] == ["start", "end"]
    assert all(e["late"] for e in events)
    assert "nothing listens" in daemon.log


def test_systemd_is_told_on_a_real_socket(tmp_path: Path, level: Path, broker: Mosquitto) -> None:
    wav = write_float_wav(tmp_path / "sound.wav", noise((60, 0.2)))
    path = tmp_path / "notify"
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as systemd:
        systemd.bind(str(path))
        systemd.settimeout(within(60))
        text = config(level, broker.port, f"{{url: {wav}}}")
        with Daemon(tmp_path, text, {"NOTIFY_SOCKET": str(path)}) as daemon:
            said = [systemd.recv(100).decode()]
            while said.count("WATCHDOG=1") < 3:
                said.append(systemd.recv(100).decode())
            daemon.send(signal.SIGTERM)
            assert daemon.exit_code() == 143
            systemd.setblocking(False)
            while True:
                try:
                    said.append(systemd.recv(100).decode())
                except BlockingIOError:
                    break
    assert (said[0], said[-1]) == ("READY=1", "STOPPING=1")


def test_secrets_are_in_no_log_process_list_or_core_dump(
    tmp_path: Path, level: Path, microphone: VirtualMicrophone
) -> None:
    """Of the daemon and of the process that records for it."""
    broker = Mosquitto(tmp_path, password_lines(tmp_path, "house", "hush-hush"))
    url = "rtsp://me:topsecret@127.0.0.1:1/live"
    text = config(level, broker.port, f"{{microphone: default}}\n  porch: {{url: '{url}'}}")
    text = text.replace("mqtt: {", "mqtt: {username: house, password: hush-hush, ")
    with broker, Daemon(tmp_path, text, microphone.environment) as daemon:
        daemon.wait_for_log("porch: rtsp://********@127.0.0.1:1/live: Connection refused")
        daemon.wait_for_log("kitchen: receiving audio from")
        daemon.wait_for_log("connected to")
        ours = psutil.Process(daemon.process.pid)
        for process in (ours, *ours.children(recursive=True)):
            shown = " ".join([*process.cmdline(), *process.environ()])
            assert "hush-hush" not in shown
            assert "topsecret" not in shown
            limits = Path(f"/proc/{process.pid}/limits").read_text()
            assert re.search(r"^Max core file size +0 ", limits, re.MULTILINE)
        daemon.send(signal.SIGTERM)
        assert daemon.exit_code() == 143
    assert "hush-hush" not in daemon.log + broker.log
    assert "topsecret" not in daemon.log


def test_nonsense_is_accounted_for_and_makes_no_event(
    tmp_path: Path, level: Path, broker: Mosquitto
) -> None:
    """Zeros, a constant, what is no number: flat. A square wave at full scale: clipped."""
    quiet, second = noise((1.0, 0.001)), np.ones(48_000, np.float32)
    square = np.sign(np.sin(np.arange(48_000) * 0.05 + 0.01)).astype(np.float32)
    nan, infinite = second * np.nan, second * np.inf
    parts = [quiet, 0 * second, 0.01 * second, nan, infinite, -infinite, quiet, square, quiet]
    wav = write_float_wav(tmp_path / "nonsense.wav", np.concatenate(parts))
    with (
        MosquittoSub(broker.port) as house,
        Daemon(tmp_path, config(level, broker.port, f"{{url: {wav}}}")) as daemon,
    ):
        assert daemon.exit_code() == 0
        house.wait_for(topic("status"), "offline")
    health = json.loads(house.payloads(topic("kitchen", "health"))[-1])
    assert (health["heard_s"], health["lost_s"]) == (9, 0)
    assert health["flat_s"] == pytest.approx(5, abs=0.2)
    assert health["clipped_s"] == pytest.approx(1, abs=0.05)
    told = house.events(topic("kitchen", "events"))
    assert [event["phase"] for event in told if event["phase"] != "update"] == ["start", "end"]
    assert told[0]["onset_s"] == pytest.approx(7, abs=0.1)  # the square wave
    assert all(np.isfinite(event["peak"]) for event in told)


def test_a_file_that_is_not_there_ends_the_start(tmp_path: Path, level: Path) -> None:
    with Daemon(tmp_path, config(level, free_port(), "{url: /no/such/file.wav}")) as daemon:
        assert daemon.exit_code() == 69
    line = daemon.log.splitlines()[-1]
    assert line.startswith("pe-stream: ")
    assert "/no/such/file.wav" in line


def test_a_file_that_fails_ends_alone(tmp_path: Path, level: Path, broker: Mosquitto) -> None:
    short = write_float_wav(tmp_path / "short.wav", noise((2.0, 0.001)))
    longer = write_float_wav(tmp_path / "longer.wav", noise((6.0, 0.001), (1.0, 0.2), (1.0, 0)))
    sources = f"{{url: {short}, loop: true}}\n  porch: {{url: {longer}}}"
    with (
        MosquittoSub(broker.port) as house,
        Daemon(tmp_path, config(level, broker.port, sources)) as daemon,
    ):
        daemon.wait_for_log("kitchen: receiving audio from")
        short.unlink()
        daemon.wait_for_log(f"ERROR kitchen: {short}: No such file or directory")
        assert daemon.exit_code() == 69
        house.wait_for(topic("status"), "offline")
    assert '"end"' in "".join(house.payloads(topic("porch", "events")))
    health = json.loads(house.payloads(topic("kitchen", "health"))[-1])
    assert health["state"] == "lost"


def test_a_microphone_that_is_not_there_at_the_start_is_waited_for(
    tmp_path: Path, level: Path, broker: Mosquitto, microphone: VirtualMicrophone
) -> None:
    """And nobody is disturbed: a file beside it is heard, and the daemon is ready."""
    microphone.unplug()
    wav = write_float_wav(tmp_path / "loud.wav", noise((1.0, 0.001), (1.0, 0.2), (60, 0.001)))
    sources = f"{{microphone: default}}\n  porch: {{url: {wav}}}"
    with (
        MosquittoSub(broker.port) as house,
        Daemon(tmp_path, config(level, broker.port, sources), microphone.environment) as daemon,
    ):
        house.wait_for(topic("porch", "events"), '"end"')
        house.wait_for(topic("kitchen", "health"), '"lost"')
        daemon.wait_for_log("kitchen: microphone 'default'")
        assert daemon.log.count("waiting for it") == 1
        microphone.plug_in()
        daemon.wait_for_log("kitchen: receiving audio from microphone 'default' (alsa:default)")
        house.wait_for(topic("kitchen", "health"), '"flat"')  # the zeros of an idle sound server
        health = json.loads(house.payloads(topic("kitchen", "health"))[-1])
        assert health["lost_s"] > 1
        daemon.send(signal.SIGTERM)
        assert daemon.exit_code() == 143


def test_health_counts_every_second(tmp_path: Path, level: Path, broker: Mosquitto) -> None:
    wav = write_float_wav(tmp_path / "sound.wav", noise((3.0, 0.2), (3.0, 0)))
    with (
        MosquittoSub(broker.port) as house,
        Daemon(tmp_path, config(level, broker.port, f"{{url: {wav}}}")) as daemon,
    ):
        house.wait_for(topic("kitchen", "health"), '"flat"')
        assert daemon.exit_code() == 0
        house.wait_for(topic("status"), "offline")
    health = [json.loads(p) for p in house.payloads(topic("kitchen", "health"))]
    assert list(health[0]) == [
        "state",
        "since",
        "heard_s",
        "lost_s",
        "flat_s",
        "clipped_s",
        "level_dbfs",
        "rtf",
        "store",
        "resources",
        "reason",
        "mqtt",
        "breaks_per_minute",
        "engine",
        "engine_away_s",
        "second_opinion",
        "picture",
    ]
    assert [h["state"] for h in health if h["state"] != "starting"][:2] == ["hearing", "flat"]
    flat = health[-1]
    assert flat["flat_s"] >= 2.0
    assert flat["lost_s"] == 0
    assert flat["level_dbfs"] is None
