"""From the start of a daemon to READY, step by step: processor time, time, memory after each.

The steps are those of a process of its own, in the daemon's order; READY is a real daemon's, which
tells it as systemd is told. Each twice: with a cache that is empty, and with what the first left.
"""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from pe_stream.assets import DEMO_RECORDING, EVERYDAY
from pe_stream.errors import UnavailableError
from pe_stream.workbench.bench import start_steps

PROC = Path("/proc")

LONGEST_S = 300.0
"""A daemon that is not ready by then is given up."""


def measure(checkpoint: str, threads: int | None) -> dict[str, Any]:
    """Figures of a first start and of a later one. Raises UnavailableError where one fails.

    checkpoint, threads: as of a configuration.
    """
    if not PROC.exists():
        raise UnavailableError(f"--start reads {PROC}, which only Linux has")
    with TemporaryDirectory(prefix="pe-stream-bench-") as name:
        folder = Path(name)
        config = _write_config(folder, checkpoint, threads)
        told: dict[str, Any] = {}
        for when in ("first", "later"):
            steps = _run_steps(config, _environment(folder / "steps"))
            ready = _run_daemon(config, _environment(folder / "daemon"))
            told[when] = {"steps": steps, "ready": ready}
        return told


def as_table(told: Mapping[str, Any]) -> str:
    """Markdown."""
    lines = [
        "| step | first start: CPU s, s, MB | later: CPU s, s, MB |",
        "| --- | --- | --- |",
    ]
    first, later = told["first"], told["later"]
    pairs = [*zip(first["steps"], later["steps"], strict=True), (first["ready"], later["ready"])]
    lines += [f"| {one['step']} | {_cell(one)} | {_cell(other)} |" for one, other in pairs]
    return "\n".join(lines)


def _cell(step: Mapping[str, Any]) -> str:
    return f"{step['cpu_s']:.2f}, {step['wall_s']:.2f}, {step['resident_mb']:.0f}"


def _environment(folders: Path) -> dict[str, str]:
    """With folders of its own for state and caches."""
    kept = {k: v for k, v in os.environ.items() if k not in {"STATE_DIRECTORY", "CACHE_DIRECTORY"}}
    return kept | {f"XDG_{kind}_HOME": str(folders / kind) for kind in ("STATE", "CACHE")}


def _run_steps(config: Path, environment: Mapping[str, str]) -> list[dict[str, Any]]:
    done = subprocess.run(
        [sys.executable, "-m", start_steps.__name__, str(config), str(time.time())],
        capture_output=True,
        text=True,
        env=environment,
        check=False,
    )
    if done.returncode:
        raise UnavailableError(f"the steps could not be taken: {_last(done.stderr)}")
    steps: list[dict[str, Any]] = json.loads(done.stdout.splitlines()[-1])
    return steps


def _run_daemon(config: Path, environment: Mapping[str, str]) -> dict[str, Any]:
    """A daemon to READY, which is then ended."""
    notify, log = config.with_name("notify"), config.with_name("log")
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as heard, log.open("w+") as said:
        notify.unlink(missing_ok=True)
        heard.bind(str(notify))
        heard.settimeout(0.2)
        begun_s = time.monotonic()
        daemon = subprocess.Popen(
            [sys.executable, "-m", "pe_stream", "run", "-c", str(config)],
            env={**environment, "NOTIFY_SOCKET": str(notify)},
            stdout=said,
            stderr=said,
        )
        try:
            while not _told_ready(heard):
                if daemon.poll() is not None or time.monotonic() - begun_s > LONGEST_S:
                    said.seek(0)
                    raise UnavailableError(f"the daemon is not ready: {_last(said.read())}")
            wall_s = time.monotonic() - begun_s
            cpu_s, memory_mb = start_steps.used(PROC, daemon.pid)
        finally:
            daemon.terminate()
            daemon.wait()
    return {
        "step": "a real daemon, to READY",
        "cpu_s": cpu_s,
        "wall_s": wall_s,
        "resident_mb": memory_mb,
    }


def _told_ready(heard: socket.socket) -> bool:
    try:
        return b"READY=1" in heard.recv(4096)
    except TimeoutError:
        return False


def _last(text: str) -> str:
    return next(reversed(text.strip().splitlines()), "it said nothing")


def _write_config(folder: Path, checkpoint: str, threads: int | None) -> Path:
    """Everyday sounds, the demo recording, a broker of its own; neither page nor store."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    sections = {
        "node": "bench",
        "model": {"checkpoint": checkpoint} | ({} if threads is None else {"threads": threads}),
        "sources": {"demo": {"url": str(DEMO_RECORDING), "loop": True}},
        "mqtt": {"embedded": True, "port": port},
        "store": {"enabled": False},
    }
    path = folder / "config.yaml"
    said = "".join(f"{key}: {json.dumps(value)}\n" for key, value in sections.items())
    path.write_text(said + EVERYDAY.read_text("utf-8"), "utf-8")
    return path
