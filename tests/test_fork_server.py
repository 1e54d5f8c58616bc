"""A forked `pe_stream` behaves as a real one."""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path

import fork_server
import psutil
import pytest
from mosquitto import Mosquitto
from processes import Daemon, Process, level_config
from sounds import noise, write_float_wav
from timing import within

pytestmark = pytest.mark.realtime

COMMANDS = {
    "works": (["schema", "event"], 0),
    "wrong usage": (["schema", "nothing"], 2),
    "no such command": (["nothing"], 2),
    "no configuration": (["config"], 78),
}


@pytest.mark.parametrize(("arguments", "code"), COMMANDS.values(), ids=COMMANDS.keys())
def test_output_and_exit_code_are_the_same(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, arguments: list[str], code: int
) -> None:
    monkeypatch.chdir(tmp_path)
    environment = {**os.environ, "HOME": str(tmp_path), "XDG_CONFIG_HOME": str(tmp_path)}
    seen = []
    for real in (False, True):
        with Process(arguments, environment, real=real) as process:
            seen.append((process.exit_code(), process.out, process.log))
    assert seen[0] == seen[1]
    assert seen[0][0] == code
    assert seen[0][1] or seen[0][2]


@pytest.mark.parametrize(
    ("number", "code", "real"),
    [
        (signal.SIGTERM, 143, True),
        (signal.SIGTERM, 143, False),
        (signal.SIGINT, 130, False),
        (signal.SIGKILL, -9, False),
    ],
)
def test_a_daemon_takes_signals(
    tmp_path: Path, level: Path, broker: Mosquitto, number: signal.Signals, code: int, *, real: bool
) -> None:
    wav = write_float_wav(tmp_path / "sound.wav", noise((60, 0.2)))
    text = level_config(level, broker.port, wav)
    with Daemon(tmp_path, text, {"TZ": "Asia/Tokyo"}, real=real) as daemon:
        daemon.wait_for_log("kitchen: receiving audio from")
        assert (tmp_path / "state").is_dir()
        daemon.send(number)
        assert daemon.exit_code() == code
        daemon.send(number)  # to nobody


def test_nothing_of_the_server_is_left_in_a_child(
    tmp_path: Path, level: Path, broker: Mosquitto
) -> None:
    """It has as many open files and threads as a real one."""
    wav = write_float_wav(tmp_path / "sound.wav", noise((60, 0.2)))
    text = level_config(level, broker.port, wav)
    environment = {"OPENBLAS_NUM_THREADS": "1"}
    other = tmp_path / "real"
    other.mkdir()
    with (
        Daemon(tmp_path, text) as forked,
        Daemon(other, text.replace("Test Node", "Real Node"), environment, real=True) as real,
    ):
        processes = []
        for daemon in (forked, real):
            daemon.wait_for_log("connected to")
            daemon.wait_for_log("loud start")
            processes.append(psutil.Process(daemon.process.pid))
            assert processes[-1].cwd() == str(Path.cwd())
        # For a second on end: what begins a little later may be there in one only.
        seen: list[list[tuple[int, int]]] = [[], []]
        until_s = time.monotonic() + within(20)
        while seen[0][-20:] != seen[1][-20:] or len(seen[0]) < 20:
            for counts, process in zip(seen, processes, strict=True):
                counts.append((process.num_fds(), process.num_threads()))
            if time.monotonic() > until_s:
                break
            time.sleep(0.05)
    assert seen[0][-20:] == seen[1][-20:]


def test_an_environment_that_is_read_at_the_start_is_left_to_a_real_one() -> None:
    assert fork_server.fits({**os.environ, "HOME": "/nowhere"})
    assert not fork_server.fits({**os.environ, "PYTHONPATH": "/nowhere"})
    assert not fork_server.fits({**os.environ, "OMP_NUM_THREADS": "7"})
