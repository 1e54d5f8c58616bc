"""The running daemon has the threads of the architecture page, and no other."""

from __future__ import annotations

import json
import re
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from importlib.resources import files
from pathlib import Path

import httpx
import pytest
from house import House
from mosquitto import wait_until
from ports import HOST, free_port
from processes import Daemon, level_config
from sounds import noise, write_float_wav
from stand_ins import eventually
from timing import within

TOLD = "threads.json"

ALWAYS = {"MainThread": "MainThread", "source NAME": "source kitchen", "scoring": "scoring"}
ALWAYS["mqtt"] = "mqtt"

WITH_ALL = ALWAYS | {
    "mqtt-broker": "mqtt-broker",
    "events": "events",
    "scores": "scores",
    "embeddings": "embeddings",
    "clips": "clips",
    "sending NAME": "sending hook",
    "web": "web",
    "AnyIO worker thread": "AnyIO worker thread",
    "asyncio_N": "asyncio_0",
    "metrics": "metrics",
    "opinions": "opinions",
}
"""Names on the architecture page, and in a daemon for which everything is turned on."""

PASSING = {"calibration", "reload", "probe"}
"""Threads that are there only while something is done."""

SABOTAGE = f"""
import json, pathlib, signal, threading
def tell(*_):
    names = sorted(thread.name for thread in threading.enumerate())
    part = pathlib.Path(__file__).with_name("{TOLD}.part")
    part.write_text(json.dumps(names))
    part.replace(part.with_name("{TOLD}"))
signal.signal(signal.SIGUSR1, tell)
"""


@contextmanager
def daemon(folder: Path, config: str) -> Iterator[Daemon]:
    """A daemon that tells its threads on SIGUSR1."""
    (folder / "sitecustomize.py").write_text(SABOTAGE, "utf-8")
    with Daemon(folder, config, {"PYTHONPATH": f"{folder}:{Path.cwd()}"}) as made:
        yield made
        made.send(signal.SIGTERM)
        assert made.exit_code() == 143


def threads(folder: Path, made: Daemon) -> list[str]:
    """Names of its threads at present, sorted."""
    told = folder / TOLD
    told.unlink(missing_ok=True)
    made.send(signal.SIGUSR1)
    wait_until(told.exists, "the threads are told")
    names: list[str] = json.loads(told.read_text("utf-8"))
    return names


def become(expected: list[str], folder: Path, made: Daemon) -> None:
    """Wait until its threads are these; fail with those there are."""
    found: list[str] = []

    def are() -> bool:
        found[:] = threads(folder, made)
        return found == expected

    eventually(are)
    assert found == expected


class Files(SimpleHTTPRequestHandler):
    """Serves files, silently."""

    def log_message(self, *_: object) -> None:
        pass


class FileServer(ThreadingHTTPServer):
    """Its clients leave in the middle."""

    def handle_error(self, *_: object) -> None:
        pass


@contextmanager
def file_server(folder: Path) -> Iterator[str]:
    """Serves the files of a folder; yields its address."""
    with FileServer((HOST, 0), partial(Files, directory=str(folder))) as server:
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        yield f"http://{HOST}:{server.server_address[1]}"
        server.shutdown()
        thread.join(10)


def test_the_page_lists_these_threads_and_no_other() -> None:
    text = (files("pe_stream") / "docs" / "architecture.md").read_text("utf-8")
    section = text.split("\n## Threads\n")[1].split("\n## ")[0]
    listed = re.findall(r"^\| `([^`]+)` \|", section, re.MULTILINE)
    others = ["receive ADDRESS", "picture", "picture NAME", "lane N"]
    assert sorted(listed) == sorted([*WITH_ALL, *others, *PASSING])


@pytest.mark.realtime
def test_a_daemon_with_everything_has_these_threads(
    tmp_path: Path, level: Path, pe_av: Path
) -> None:
    sound = write_float_wav(tmp_path / "sound.wav", noise((1, 0.001), (1, 0.2), (118, 0.001)))
    page, figures = free_port(), free_port()
    with House() as house, file_server(tmp_path) as address:
        url = f"{address}/{sound.name}"
        config = level_config(
            level,
            free_port(),
            sound,
            f"""
clips: {{enabled: true}}
second_opinion: {{checkpoint: {pe_av}}}
search: {{enabled: true}}
web: {{enabled: true, port: {page}}}
metrics: {{enabled: true, port: {figures}}}
notifications: {{hook: {{webhook: '{house.url()}'}}}}
""",
        )
        config = config.replace("mqtt: {host: 127.0.0.1, ", "mqtt: {embedded: true, ")
        config = config.replace("sources:\n", f"sources:\n  porch: {{url: '{url}'}}\n")
        with daemon(tmp_path, config) as made:
            for source in ("kitchen", "porch"):
                made.wait_for_log(f"{source}: receiving audio from")
                made.wait_for_log(f"{source}: loud end")
            httpx.get(f"http://{HOST}:{figures}/metrics").raise_for_status()
            with (
                httpx.Client(
                    base_url=f"http://{HOST}:{page}/api/v1/", timeout=within(20)
                ) as client,
                client.stream("GET", "live?source=kitchen") as live,
            ):
                next(line for line in live.iter_lines() if line == "event: past")
                client.get("labels").raise_for_status()
                expected = sorted([*WITH_ALL.values(), "source porch", f"receive {url}"])
                become(expected, tmp_path, made)  # requests end soon


@pytest.mark.realtime
def test_a_daemon_with_nothing_has_these_threads(tmp_path: Path, level: Path) -> None:
    sound = write_float_wav(tmp_path / "sound.wav", noise((60, 0.001)))
    config = level_config(
        level,
        free_port(),
        sound,
        """
store: {enabled: false}
history: {enabled: false}
""",
    )
    with daemon(tmp_path, config) as made:
        made.wait_for_log("kitchen: receiving audio from")
        become(sorted(ALWAYS.values()), tmp_path, made)  # scoring begins after its sources
