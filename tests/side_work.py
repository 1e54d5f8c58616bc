"""What processes of `pe_stream.cli.workers` do in its tests: a module that they can import."""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path


def begin(folder: Path) -> Path:
    (folder / f"begun {os.getpid()}").touch()
    return folder


def work(folder: Path, item: str) -> tuple[str, int]:
    if item == "killed":
        os.kill(os.getpid(), signal.SIGKILL)
    if item == "ends":
        os._exit(3)
    if item == "waits":
        while not (folder / "done").exists():
            time.sleep(0.01)
    (folder / item).touch()
    return item, os.getpid()
