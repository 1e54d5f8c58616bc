"""The other commands as a user runs them, and the Python API."""

from __future__ import annotations

import json
import logging
import os
import re
import socket
import sys
import textwrap
import threading
from datetime import UTC, datetime
from pathlib import Path

import jsonschema
import numpy as np
import pytest
import virtual_microphone
import yaml
from mosquitto import Mosquitto
from ports import HOST, free_port
from processes import Daemon, level_config, pe_stream
from sounds import noise, write_float_wav
from timing import within

import pe_stream as api
from pe_stream.cli.commands import check
from pe_stream.cli.main import main, program
from pe_stream.config import LabelSettings, ModelSettings
from pe_stream.errors import ConfigError, UnavailableError


@pytest.fixture
def wav(tmp_path: Path) -> Path:
    return write_float_wav(tmp_path / "sound.wav", noise((1.0, 0.001), (0.6, 0.2), (0.4, 0.001)))


def write_config(folder: Path, level: Path, source: str, mqtt: str) -> Path:
    path = folder / "config.yaml"
    path.write_text(
        f"model: {{checkpoint: {level}, window_s: 1.0, hop_s: 0.2, lookahead_s: 0.2, threads: 1}}\n"
        f"sources: {{kitchen: {source}}}\nlabels: {{loud: }}\nmqtt: {mqtt}\n",
        "utf-8",
    )
    return path


@pytest.fixture(autouse=True)
def state_of_our_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))


def test_the_example_of_the_python_api_is_python() -> None:
    (example,) = re.findall(r"^    .*\Z", api.__doc__ or "", re.MULTILINE | re.DOTALL)
    compile(textwrap.dedent(example), "pe_stream", "exec")


def test_check_says_a_line_each(tmp_path: Path, level: Path, wav: Path) -> None:
    with Mosquitto(tmp_path) as broker:
        config = write_config(
            tmp_path, level, f"{{url: {wav}}}", f"{{host: {HOST}, port: {broker.port}}}"
        )
        done = pe_stream("check", "-c", config)
    assert done.returncode == 0, done.stdout
    lines = done.stdout.splitlines()
    assert [line.split(":")[0].split(maxsplit=1) for line in lines] == [
        ["ok", "config"],
        ["ok", "model"],
        ["ok", "labels"],
        ["ok", "source kitchen"],
        ["ok", "broker"],
        ["ok", "store"],
        ["ok", "history"],
    ]
    assert "dBFS" in lines[3]


def test_check_goes_on_after_what_fails(tmp_path: Path, level: Path) -> None:
    silent = write_float_wav(tmp_path / "silent.wav", np.zeros(96_000, np.float32))
    closed = free_port()
    config = write_config(
        tmp_path, level, f"{{url: {tmp_path}/none.wav}}", f"{{host: {HOST}, port: {closed}}}"
    )
    with socket.create_server((HOST, 0)) as taken:
        port = taken.getsockname()[1]
        with config.open("a", encoding="utf-8") as file:
            file.write(f"\nstore: {{path: {silent}/events.db}}\n")
            file.write(f"history: {{path: {silent}/scores.db}}\n")
            file.write(f"clips: {{enabled: true, folder: {tmp_path}/clips}}\n")
            file.write("notifications:\n  phone: {apprise: 'no://hunter2'}\n")
            file.write(f"  hook: {{webhook: 'http://{HOST}:{closed}/hunter2'}}\n")
            file.write(f"metrics: {{enabled: true, port: {port}}}\n")
        done = pe_stream("check", "-c", config)
    assert done.returncode == 78
    *_, store, history, clips, phone, hook, metrics = lines = done.stdout.splitlines()
    verdicts = [line.split()[0] for line in lines]
    assert verdicts == ["ok", "ok", "ok", *["FAILED"] * 4, "ok", "FAILED", "ok", "FAILED"]
    assert f"{HOST}:{closed}" in done.stdout
    assert "cannot be written: " in store
    assert "cannot be written: " in history
    assert f"{tmp_path}/clips can be written" in clips
    assert "notification phone: notifications.phone.apprise: Apprise cannot use" in phone
    assert hook.endswith(f"hook: webhook http://{HOST}:{closed}/********, for every label")
    assert "hunter2" not in done.stdout
    assert f"cannot listen on {HOST}:{port}: Address already in use" in metrics


@pytest.mark.heavy
def test_check_says_what_a_second_opinion_costs(
    tmp_path: Path, level: Path, wav: Path, pe_av: Path
) -> None:
    config = write_config(tmp_path, level, f"{{url: {wav}}}", "{embedded: true}")
    text = config.read_text("utf-8")
    config.write_text(f"{text}\nsecond_opinion: {{checkpoint: {pe_av}, wait_s: 3600}}\n", "utf-8")
    done = pe_stream("check", "-c", config)
    assert done.returncode == 0, done.stdout
    (line,) = [line for line in done.stdout.splitlines() if "second opinion" in line]
    assert re.fullmatch(
        rf"ok     second opinion: {pe_av}: 0\.0012 GB on disk, 0\.\d+ GB of memory; an opinion on "
        r"8 s of sound takes [\d.]+ s \(uncalibrated\)",
        line,
    ), line
    config.write_text(f"{text}\nsecond_opinion: {{checkpoint: {level}}}\n", "utf-8")
    done = pe_stream("check", "-c", config)
    assert done.returncode == 69
    assert f"FAILED second opinion: checkpoint '{level}'" in done.stdout
    assert "give a PE-AV checkpoint" in done.stdout


def test_check_says_who_may_have_the_embedded_brokers_port(
    tmp_path: Path, level: Path, wav: Path
) -> None:
    with socket.create_server((HOST, 0)) as taken:
        port = taken.getsockname()[1]
        config = write_config(
            tmp_path, level, f"{{url: {wav}}}", f"{{embedded: true, port: {port}}}"
        )
        done = pe_stream("check", "-c", config)
    assert done.returncode == 69
    assert "to a free port, unless a pe-stream that runs has it" in done.stdout


def test_a_file_may_begin_in_silence(tmp_path: Path, level: Path) -> None:
    sound = np.concatenate([np.zeros(96_000, np.float32), noise((1, 0.1))])
    wav = write_float_wav(tmp_path / "late.wav", sound)
    config = write_config(tmp_path, level, f"{{url: {wav}}}", "{embedded: true}")
    done = pe_stream("check", "-c", config)
    assert re.search(r"ok     source kitchen: .*late.wav.*: only silence in the first", done.stdout)


@pytest.mark.realtime
def test_check_beside_the_daemon_that_runs(
    tmp_path: Path, level: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(check, "ANSWER_S", within(10))
    sound = write_float_wav(tmp_path / "sound.wav", noise((10, 0.001)))
    page, port = free_port(), free_port()
    more = (
        f"web: {{enabled: true, port: {page}}}\nmetrics: {{enabled: true, port: {port}}}\n"
        "clips: {enabled: true}\nsearch: {enabled: true}\n"
    )
    with Mosquitto(tmp_path) as broker:
        source = f"{{url: {sound}, loop: true}}"  # it runs on, however long the check takes
        text = level_config(level, broker.port, source, more)
        with Daemon(tmp_path, text) as daemon:
            daemon.wait_for_log("kitchen: receiving audio from")
            done = pe_stream("check", "-c", tmp_path / "config.yaml")
    assert done.returncode == 0, done.stdout
    assert f"ok     page: a pe-stream that runs is at {HOST}:{page}; labels" in done.stdout
    assert f"ok     metrics: a pe-stream that runs is at {HOST}:{port}\n" in done.stdout


@pytest.mark.parametrize(
    ("outcome", "code"),
    [
        (143, 143),
        (UnavailableError("every source has failed"), 69),
        (ConfigError("mqtt.password_file is gone"), 78),
        (ZeroDivisionError("a fault of ours"), 1),
        (KeyboardInterrupt(), 130),
    ],
)
def test_a_thread_left_inside_torch_spoils_no_exit(
    outcome: int | BaseException,
    code: int,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    config = write_config(tmp_path, tmp_path, "{microphone: default}", "{embedded: true}")
    go_on, codes = threading.Event(), list[int]()
    left = threading.Thread(target=go_on.wait, daemon=True)

    def run(_: Daemon) -> int:
        left.start()
        if isinstance(outcome, BaseException):
            raise outcome
        return outcome

    monkeypatch.setattr("pe_stream.daemon.service.Daemon.run", run)
    monkeypatch.setattr(os, "_exit", codes.append)
    monkeypatch.setattr(logging, "shutdown", lambda: None)
    monkeypatch.setattr(sys, "argv", ["pe-stream", "run", "-c", str(config)])
    try:
        assert program() == code
    finally:
        go_on.set()
    assert codes == [code]


@pytest.mark.parametrize(
    ("command", "where"),
    [
        (["demo"], "pe_stream.cli.commands.demo.run"),
        (["calibrate", "--listen", "1h"], "pe_stream.workbench.calibration.command.run"),
    ],
)
def test_what_listens_ends_past_threads_that_are_left_and_keeps_its_output(
    command: list[str],
    where: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    go_on, told = threading.Event(), list[str]()
    left = threading.Thread(target=go_on.wait, daemon=True)

    def run(*_: object, **__: object) -> int:
        left.start()
        sys.stdout.write("the last line")
        raise UnavailableError("a source has failed")

    def end(code: int) -> None:
        told.append(f"{code} {capsys.readouterr().out}")

    monkeypatch.setattr(where, run)
    monkeypatch.setattr(os, "_exit", end)
    monkeypatch.setattr(logging, "shutdown", lambda: None)
    monkeypatch.setattr(sys, "argv", ["pe-stream", *command])
    flushed: list[bool] = []
    monkeypatch.setattr(sys.stdout, "flush", lambda: flushed.append(True))
    try:
        assert program() == UnavailableError.exit_code
    finally:
        go_on.set()
    assert told == ["69 the last line"]
    assert flushed


def test_check_of_a_wrong_config_is_78(tmp_path: Path) -> None:
    path = tmp_path / "config.yaml"
    path.write_text("labels: {dog: {treshold: 0.5}}", "utf-8")
    done = pe_stream("check", "-c", path)
    assert done.returncode == 78
    assert "config.yaml:1: labels.dog.treshold: unknown key (did you mean 'threshold'?)" in (
        done.stdout
    )


def test_config_is_found_where_one_stands_and_shown_without_secrets(
    tmp_path: Path, level: Path
) -> None:
    write_config(tmp_path, level, "{microphone: default}", "{username: me, password: hush}")
    done = pe_stream("config", cwd=tmp_path)
    assert done.returncode == 0
    assert "hush" not in done.stdout
    shown = yaml.safe_load(done.stdout)
    assert shown["mqtt"]["password"] == "********"
    assert shown["labels"]["loud"]["prompts"] == ["loud"]


def test_no_config_anywhere_names_the_places(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    done = pe_stream("run", cwd=tmp_path)
    assert done.returncode == 78
    assert "/etc/pe-stream/config.yaml" in done.stderr


def test_run_needs_a_source(tmp_path: Path) -> None:
    path = tmp_path / "config.yaml"
    path.write_text("labels: {dog: }", "utf-8")
    done = pe_stream("run", "-c", path)
    assert done.returncode == 78
    assert "microphone: default" in done.stderr


@pytest.mark.parametrize("of", ["config", "event"])
def test_schemas_are_json_schema(of: str) -> None:
    schema = json.loads(pe_stream("schema", of).stdout)
    jsonschema.Draft202012Validator.check_schema(schema)


@pytest.mark.realtime
def test_devices_are_listed_with_their_ids() -> None:
    problem = virtual_microphone.missing()
    if problem:
        pytest.skip(problem)
    done = pe_stream("devices", "--json")
    assert done.returncode == 0
    for device in json.loads(done.stdout):
        assert {"index", "id", "name", "channels", "rate", "default"} <= set(device)
    assert len(pe_stream("devices").stdout.splitlines()) == len(json.loads(done.stdout))


def test_detect_from_python(level: Path, wav: Path) -> None:
    model = ModelSettings(
        checkpoint=str(level), window_s=1.0, hop_s=0.2, lookahead_s=0.2, threads=1
    )
    (of_file,) = api.detect(wav, "loud", model=model)
    samples = noise((1.0, 0.001), (0.6, 0.2), (0.4, 0.001))
    (of_array,) = api.detect(samples, {"a": LabelSettings()}, sampling_rate=48_000, model=model)
    assert isinstance(of_file, api.Event)
    assert (of_file.label, of_array.label) == ("loud", "a")
    assert (of_file.onset_s, of_file.offset_s) == (of_array.onset_s, of_array.offset_s)
    assert json.loads(of_file.to_json())["phase"] == "end"
    with pytest.raises(ValueError, match="sampling_rate"):
        api.detect(samples, ["loud"])


def test_listen_from_python(tmp_path: Path, level: Path, wav: Path) -> None:
    config = write_config(tmp_path, level, f"{{url: {wav}}}", "{}")
    phases = [(event.phase, event.label) for event in api.listen(config)]
    assert phases == [("start", "loud"), ("end", "loud")]
    with pytest.raises(api.ConfigError):
        api.listen(tmp_path / "none.yaml")


def test_listening_from_python_follows_the_schedules(
    tmp_path: Path, level: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """From the start on, and when the time comes."""
    bursts = noise(*[(0.5, 0.2), (0.5, 0.001)] * 30)
    source = f"{{url: {write_float_wav(tmp_path / 'bursts.wav', bursts)}}}"
    config = write_config(tmp_path, level, source, "{}")
    off = '{schedule: [{from: "12:00", to: "13:00", enabled: false}]}'
    config.write_text(
        config.read_text("utf-8").replace("loud: }", f"loud: {off}, other: }}")
        + "location: {timezone: UTC}\n",
        "utf-8",
    )
    now = [datetime(2026, 11, 21, 12, 30, tzinfo=UTC)]
    monkeypatch.setattr("pe_stream.config.local_time.now", lambda: now[0])
    events = api.listen(config)
    first = [next(events) for _ in range(3)]
    assert {event.label for event in first} == {"other"}
    now[0] = datetime(2026, 11, 21, 13, 30, tzinfo=UTC)
    assert next(event for event in events if event.label == "loud").phase == "start"
    now[0] = datetime(2026, 11, 21, 12, 45, tzinfo=UTC)
    assert next(event for event in events if event.label == "loud").phase == "end"
    events.close()  # type: ignore[attr-defined]


def test_the_demo_plays_to_a_subscriber() -> None:
    done = pe_stream("demo", "--seconds", f"{within(4)}")
    assert done.returncode == 0, done.stderr
    lines = done.stdout.splitlines()
    assert any(line.split() == ["pe_stream/demo/status", "online"] for line in lines)
    assert any("start  door_knock at 1." in line for line in lines), done.stdout
    assert "four knocks on a door" in done.stdout


def test_a_folder_that_is_gone_is_told_of(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Where there is no current folder, torch ends the process in the middle of its import."""
    (tmp_path / "gone").mkdir()
    monkeypatch.chdir(tmp_path / "gone")
    (tmp_path / "gone").rmdir()
    assert main(["schema", "event"]) == UnavailableError.exit_code
    output, told = capsys.readouterr()
    assert output == ""
    assert "No such file or directory: change to another one" in told
