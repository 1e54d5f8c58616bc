"""Out of file descriptors or threads: it is told, and nothing ends."""

from __future__ import annotations

import json
import resource
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest
from mosquitto import Mosquitto, wait_until
from ports import HOST, free_port
from processes import Daemon, MosquittoSub, level_config
from sounds import noise, write_float_wav
from timing import within

from pe_stream.daemon.resources import Resources, raise_descriptor_limit

HEALTH = "pe_stream/test_node/kitchen/health"
EVENTS = "pe_stream/test_node/kitchen/events"

NO_THREADS = "no-threads"

SABOTAGE = f"""
import os, pathlib, threading
start, none = threading.Thread.start, pathlib.Path(__file__).with_name("{NO_THREADS}")
def starting(self):
    if none.exists():
        raise RuntimeError("can't start new thread")
    start(self)
threading.Thread.start = starting
"""


def test_the_limit_of_descriptors_is_raised_as_far_as_may_be() -> None:
    program = (
        "import resource; from pe_stream.daemon.resources import raise_descriptor_limit\n"
        "resource.setrlimit(resource.RLIMIT_NOFILE, (200, 300)); raise_descriptor_limit()\n"
        "print(resource.getrlimit(resource.RLIMIT_NOFILE))"
    )
    done = subprocess.run([sys.executable, "-c", program], check=True, capture_output=True)
    assert done.stdout.strip() == b"(300, 300)"


def test_a_limit_that_the_system_keeps_is_no_error(monkeypatch: pytest.MonkeyPatch) -> None:
    def refused(*_: object) -> None:
        raise ValueError("current limit exceeds maximum limit")

    monkeypatch.setattr(resource, "getrlimit", lambda _: (256, resource.RLIM_INFINITY))
    monkeypatch.setattr(resource, "setrlimit", refused)
    raise_descriptor_limit()


def test_it_is_told_once_when_it_begins_and_ends(caplog: pytest.LogCaptureFixture) -> None:
    resources = Resources()
    resources.check()
    assert resources.shortage is None
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (3, hard))
    try:
        for _ in range(3):
            resources.check()
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    assert resources.shortage is not None
    assert resources.shortage.startswith("no file descriptors are left of 3")
    resources.check()
    assert resources.shortage is None
    assert len(caplog.messages) == 2


@pytest.fixture
def running(tmp_path: Path, level: Path, broker: Mosquitto) -> Iterator[Running]:
    """A daemon with everything that opens something now and then, and a subscriber."""
    (tmp_path / "sitecustomize.py").write_text(SABOTAGE, "utf-8")
    sound = write_float_wav(tmp_path / "sound.wav", noise(*[(1, 0.001), (1, 0.2)] * 60))
    page, figures = free_port(), free_port()
    config = level_config(
        level,
        broker.port,
        sound,
        f"""
clips: {{enabled: true, folder: {tmp_path}/clips, before_s: 0.5, after_s: 0.5}}
search: {{enabled: true}}
web: {{enabled: true, port: {page}}}
metrics: {{enabled: true, port: {figures}}}
""",
    )
    environment = {"PYTHONPATH": f"{tmp_path}:{Path.cwd()}"}
    with Daemon(tmp_path, config, environment) as daemon:
        daemon.wait_for_log("loud end")
        yield Running(daemon, broker, tmp_path, (page, figures))
        daemon.send(signal.SIGTERM)
        assert daemon.exit_code() == 143
        for trace in ("Traceback", "CRITICAL"):
            assert trace not in daemon.log


class Running:
    """What a test can do to it."""

    def __init__(
        self, daemon: Daemon, broker: Mosquitto, folder: Path, ports: tuple[int, int]
    ) -> None:
        self.daemon, self.broker, self.folder = daemon, broker, folder
        self._page, self._figures = ports

    @contextmanager
    def without_descriptors(self) -> Iterator[None]:
        pid = self.daemon.process.pid
        soft, hard = resource.prlimit(pid, resource.RLIMIT_NOFILE)
        assert soft == hard
        resource.prlimit(pid, resource.RLIMIT_NOFILE, (3, hard))
        yield
        resource.prlimit(pid, resource.RLIMIT_NOFILE, (soft, hard))

    @contextmanager
    def without_threads(self) -> Iterator[None]:
        none = self.folder / NO_THREADS
        none.touch()
        yield
        none.unlink()

    def asked(self) -> list[int | str]:
        """What the page and metrics answer; in words where there is no status."""
        return [_status(port, path) for port, path in self._routes()]

    def _routes(self) -> list[tuple[int, str]]:
        page = [(self._page, f"/{path}") for path in ("", "api/v1/info", "api/v1/events")]
        return [*page, (self._figures, "/metrics")]


def _status(port: int, path: str) -> int | str:
    try:
        return httpx.get(f"http://{HOST}:{port}{path}", timeout=2).status_code
    except httpx.HTTPError as error:
        return type(error).__name__


@pytest.mark.realtime
@pytest.mark.parametrize("what", ["descriptors", "threads"])
def test_where_they_have_run_out_the_daemon_lives_and_all_goes_on_after(
    running: Running, what: str
) -> None:
    daemon, broker = running.daemon, running.broker
    reloaded = daemon.log.count("reloaded:")
    with MosquittoSub(broker.port) as ear:
        ear.wait_for(HEALTH, '"resources": "ok"')
        with running.without_descriptors() if what == "descriptors" else running.without_threads():
            ear.wait_for(HEALTH, '"resources": "no ')
            daemon.send(signal.SIGHUP)
            told = running.asked()
            heard = len(ear.events(EVENTS))
            # What needs nothing new goes on: hearing, and the connection that there is.
            wait_until(lambda: len(ear.events(EVENTS)) > heard + 4, "events", 20)
            if what == "descriptors":
                broker.restart()
                time.sleep(3)  # some attempts to connect
        assert all(isinstance(each, str) or each in (200, 503) for each in told), told
    with MosquittoSub(broker.port) as ear:
        ear.wait_for(HEALTH, '"resources": "ok"')
        wait_until(lambda: len(ear.events(EVENTS)) > 2, "events", 20)
        wait_until(lambda: daemon.log.count("reloaded:") > reloaded, "it is reloaded", 20)
        wait_until(lambda: running.asked() == [200] * 4, "all is served", 20)
        events: list[dict[str, Any]] = ear.events(EVENTS)
    assert events
    states = [json.loads(payload)["state"] for payload in ear.payloads(HEALTH)]
    assert set(states) == {"hearing"}
    assert within(1) >= 1
