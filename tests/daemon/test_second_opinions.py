"""Second opinions of the real daemon: where they go, and what goes on where there are none."""

from __future__ import annotations

import json
import os
import re
import signal
import sqlite3
from pathlib import Path
from typing import Any

import httpx
import pytest
from audio.camera_films import CameraFilm
from audio.stream_servers import http_file
from house import House
from mosquitto import Mosquitto, wait_until
from ports import HOST, free_port
from processes import Daemon, MosquittoSub, level_config, pe_stream
from sounds import noise, write_float_wav
from stand_ins import eventually
from timing import within

pytestmark = [pytest.mark.realtime, pytest.mark.timeout(240)]

LOADED_S = 120.0
"""The process has what nobody else wants, and torch and transformers to import."""

BARK = noise((3, 0.001), (0.6, 0.2), (300, 0.001))
"""One bark, and quiet for as long as the test takes."""

TOLD = "modules.json"
SABOTAGE = f"""
import json, pathlib, signal, sys
def tell(*_):
    part = pathlib.Path(__file__).with_name("{TOLD}.part")
    part.write_text(json.dumps(sorted(sys.modules)))
    part.replace(part.with_name("{TOLD}"))
signal.signal(signal.SIGUSR1, tell)
"""


def topic(*parts: str) -> str:
    return "/".join(["pe_stream", "test_node", *parts])


def children(pid: int) -> list[int]:
    """The processes that a process has started."""
    listed = Path(f"/proc/{pid}/task/{pid}/children")
    found = [*listed.parent.parent.glob("*/children")]
    return [int(each) for path in found for each in path.read_text("utf-8").split()]


def same(event: dict[str, Any]) -> dict[str, Any]:
    """What two daemons that heard the same tell alike."""
    own = ("id", "node", "onset", "offset", "latency_ms", "second_opinion")
    return {key: value for key, value in event.items() if key not in own}


def found_by_words(api: str, found: list[dict[str, Any]]) -> bool:
    """Search events; False where the process has not read the text in time."""
    asked = {"text": "a bang", "since": "7d"}
    answer = httpx.get(f"{api}/search/events", params=asked, timeout=within(60))
    assert answer.status_code in (200, 503), answer.text
    found += [answer.json()] * answer.is_success
    return answer.is_success


def is_found(search: dict[str, Any], config: Path, judged: dict[str, Any]) -> None:
    """By its vectors, which are kept: by the daemon as by the command."""
    assert (search["searched"], search["left_out"]) == (1, [])
    (match,) = search["events"]
    assert (match["event"]["id"], match["picture"]) == (judged["id"], None)
    asked = ("search", "--events", "a bang", "--format", "jsonl", "--since", "7d")
    done = pe_stream(*asked, "-c", config)
    (line,) = [json.loads(each) for each in done.stdout.splitlines()]
    assert line["event"] == judged["id"]
    assert match["score"] == match["sound"] == pytest.approx(line["sound"], abs=2e-3)


def test_an_opinion_goes_wherever_the_event_went(
    tmp_path: Path,
    level: Path,
    pe_av: Path,
    broker: Mosquitto,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    sound = write_float_wav(tmp_path / "sound.wav", BARK)
    page = free_port()
    with House() as house, MosquittoSub(broker.port) as subscriber:
        text = level_config(
            level,
            broker.port,
            sound,
            f"""
second_opinion: {{checkpoint: {pe_av}, wait_s: 3600, device: cpu, dtype: float32}}
web: {{enabled: true, port: {page}}}
home_assistant: {{enabled: true}}
notifications:
  phone: {{webhook: '{house.url()}', min_opinion: 0.0, opinion_wait_s: 3600}}
  never: {{webhook: '{house.url("/never")}', min_opinion: 1.0, opinion_wait_s: 3600}}
""",
        )
        plain = tmp_path / "plain"
        plain.mkdir()
        other = level_config(level, broker.port, sound).replace("Test Node", "Plain Node")
        with Daemon(tmp_path, text) as daemon, Daemon(plain, other) as without:
            subscriber.wait_for(topic("kitchen", "second_opinion"), '"id"', LOADED_S)
            subscriber.wait_for(topic("kitchen", "loud", "second_opinion"), "second_opinion_on")
            wait_until(lambda: len(house.received) > 0, "the message")
            subscriber.wait_for(topic("kitchen", "health"), '"second_opinion": "ok"')
            for node in ("test_node", "plain_node"):
                subscriber.wait_for(f"pe_stream/{node}/kitchen/events", '"end"')
            told = subscriber.events(topic("kitchen", "events"))
            api = f"http://{HOST}:{page}/api/v1"
            shown = httpx.get(f"{api}/events/{told[0]['id']}", timeout=within(20)).json()
            found: list[dict[str, Any]] = []
            wait_until(lambda: found_by_words(api, found), "events are searched", LOADED_S)
            for each in (daemon, without):
                each.send(signal.SIGTERM)
            assert (daemon.exit_code(), without.exit_code()) == (143, 143)
        (judged,) = subscriber.events(topic("kitchen", "second_opinion"))
        assert [each["phase"] for each in told] == ["start", "end"]
        opinion = judged["second_opinion"]
        assert judged | {"second_opinion": None} == told[-1]
        # The events, and nothing more on their topic, as of a daemon that asks nobody.
        usual = subscriber.events("pe_stream/plain_node/kitchen/events")
        assert [same(each) for each in told] == [same(each) for each in usual]
        assert subscriber.payloads(topic("kitchen", "loud", "state"))[-3:] == ["OFF", "ON", "OFF"]
        assert all(each["second_opinion"] is None for each in usual)
        health = subscriber.events("pe_stream/plain_node/kitchen/health")
        assert {each["second_opinion"] for each in health} == {None}

        # The same as of the file, read at leisure.
        done = pe_stream("detect", sound, "-c", plain / "config.yaml", "--second-opinion", pe_av)
        (offline,) = [json.loads(line) for line in done.stdout.splitlines()]
        assert opinion["span_s"] == offline["second_opinion"]["span_s"]
        assert opinion["checkpoint"] == str(pe_av)
        assert opinion["sound"] == pytest.approx(offline["second_opinion"]["sound"], abs=1e-3)
        for key in ("picture", "both", "together", "pictures"):
            assert opinion[key] == offline["second_opinion"][key]

        assert shown["second_opinion"] == opinion
        state = tmp_path / "state" / "pe-stream" / "events.db"
        ((stored,),) = sqlite3.connect(state).execute("SELECT event FROM events").fetchall()
        assert json.loads(stored) == judged
        ((waiting,),) = sqlite3.connect(state).execute("SELECT count(*) FROM outbox").fetchall()
        assert waiting == 0
        monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
        is_found(found[0], tmp_path / "config.yaml", judged)
        # One whose opinion is good enough for it.
        assert [(each.path, each.json) for each in house.received] == [("/hook", judged)]


def pictures_kept(port: int) -> float:
    """Of the kitchen, as metrics tell it."""
    figures = httpx.get(f"http://{HOST}:{port}/metrics", timeout=within(20)).text
    (kept,) = re.findall(r'pictures_total\{fate="kept",source="kitchen"\} (\S+)', figures)
    return float(kept)


def test_a_camera_is_looked_at(tmp_path: Path, level: Path, pe_av: Path, broker: Mosquitto) -> None:
    data = CameraFilm(seconds=8.0, loud=3.0).save(tmp_path / "film.ts")
    with http_file(data, live=True) as url, MosquittoSub(broker.port) as subscriber:
        text = level_config(
            level,
            broker.port,
            f"{{url: '{url}', picture: {{fps: 5}}}}",
            f"""
second_opinion:
  {{checkpoint: {pe_av}, wait_s: 3600, before_s: 1, after_s: 2, pictures: 4, device: cpu}}
metrics: {{enabled: true, port: {(port := free_port())}}}
""",
        )
        with Daemon(tmp_path, text) as daemon:
            subscriber.wait_for(topic("kitchen", "second_opinion"), '"id"', LOADED_S)
            wait_until(lambda: pictures_kept(port) >= 40, "all pictures", 60)
            daemon.send(signal.SIGTERM)
            assert daemon.exit_code() == 143
    opinion = subscriber.events(topic("kitchen", "second_opinion"))[0]["second_opinion"]
    assert opinion["pictures"] == 4
    for key in ("sound", "picture", "both", "together"):
        assert 0 < opinion[key] < 1, key
    health = {each["picture"] for each in subscriber.events(topic("kitchen", "health"))}
    assert health & {"ok", "there is no connection", "there is no connection yet"} == health


def test_killed_again_and_again_it_costs_opinions_alone(
    tmp_path: Path, level: Path, pe_av: Path, broker: Mosquitto
) -> None:
    sound = write_float_wav(tmp_path / "sound.wav", BARK)
    with House() as house, MosquittoSub(broker.port) as subscriber:
        text = level_config(
            level,
            broker.port,
            sound,
            f"""
second_opinion: {{checkpoint: {pe_av}, device: cpu}}
notifications:
  phone: {{webhook: '{house.url()}', min_opinion: 0.0, opinion_wait_s: 2}}
""",
        )
        with Daemon(tmp_path, text) as daemon:
            said = "no second opinions at present: its process has died (-9)"
            for count in (1, 2):
                eventually(lambda: children(daemon.process.pid))
                for each in children(daemon.process.pid):
                    os.kill(each, signal.SIGKILL)
                wait_until(lambda: daemon.log.count(said) == count, said)  # noqa: B023 - at once
            subscriber.wait_for(topic("kitchen", "events"), '"end"')
            wait_until(lambda: len(house.received) > 0, "the message", 20)
            subscriber.wait_for(topic("kitchen", "health"), "its process has died (-9)")
            daemon.send(signal.SIGTERM)
            assert daemon.exit_code() == 143
    (sent,) = house.received
    assert sent.json["second_opinion"] is None
    assert subscriber.payloads(topic("kitchen", "second_opinion")) == []


def test_a_bad_checkpoint_is_said_and_events_go_on(
    tmp_path: Path, level: Path, broker: Mosquitto
) -> None:
    sound = write_float_wav(tmp_path / "sound.wav", BARK)
    with MosquittoSub(broker.port) as subscriber:
        more = f"second_opinion: {{checkpoint: {tmp_path / 'none'}}}"
        with Daemon(tmp_path, level_config(level, broker.port, sound, more)) as daemon:
            subscriber.wait_for(topic("kitchen", "events"), '"end"')
            daemon.wait_for_log("there is no such folder, and it is no hub id", LOADED_S)
            subscriber.wait_for(topic("kitchen", "health"), "there is no such folder")
            daemon.send(signal.SIGTERM)
            assert daemon.exit_code() == 143
    assert "Traceback" not in daemon.log


def test_without_it_there_is_no_import_and_no_process(
    tmp_path: Path, level: Path, broker: Mosquitto
) -> None:
    sound = write_float_wav(tmp_path / "sound.wav", BARK)
    (tmp_path / "sitecustomize.py").write_text(SABOTAGE, "utf-8")
    environment = {"PYTHONPATH": f"{tmp_path}:{Path.cwd()}"}
    with Daemon(tmp_path, level_config(level, broker.port, sound), environment) as daemon:
        daemon.wait_for_log("kitchen: loud end")
        assert children(daemon.process.pid) == []
        daemon.send(signal.SIGUSR1)
        wait_until((tmp_path / TOLD).exists, "the modules are told")
    modules = set(json.loads((tmp_path / TOLD).read_text("utf-8")))
    assert "pe_stream.pipeline.live" in modules
    ours = {name for name in modules if name.startswith("pe_stream.") and "opinion" in name}
    assert ours == {
        "pe_stream.config.second_opinion",  # settings alone
        "pe_stream.core.opinion",
        "pe_stream.core.opinion_vectors",  # what the store keeps
        "pe_stream.daemon.second_opinions",
    }
    seeing = {name for name in modules if name.startswith("pe_stream.") and "picture" in name}
    assert seeing == {
        "pe_stream.config.pictures",  # settings, and how pictures do
        "pe_stream.core.picture_ring",
        "pe_stream.pipeline.live_pictures",
    }
