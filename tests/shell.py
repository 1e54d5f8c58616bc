"""A shell whose `pe-stream` is the package under test."""

from __future__ import annotations

import io
import json
import os
import socket
import subprocess
import sys
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from processes import pe_stream

SHIM = """#!{python} -IS
import json, os, socket, sys
told = sys.stdin.read()
with socket.create_connection(("127.0.0.1", {port})) as there:
    there.sendall(json.dumps([sys.argv[1:], os.getcwd(), told]).encode())
    there.shutdown(socket.SHUT_WR)
    code, out, err = json.loads(b"".join(iter(lambda: there.recv(65536), b"")))
sys.stdout.write(out)
sys.stderr.write(err)
sys.exit(code)
"""
"""`pe-stream` in the blocks: the test runs the command itself, as importing torch takes seconds."""

OF_ITS_OWN = {"run", "demo"}
"""Commands with threads and signals, which get a process."""


class Shell:
    """Runs shell blocks in a folder; its `pe-stream` is the package under test."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._listening = socket.create_server(("127.0.0.1", 0))
        self._listening.settimeout(0.05)
        shim = folder / ".venv" / "bin" / "pe-stream"
        shim.parent.mkdir(parents=True)
        port = self._listening.getsockname()[1]
        shim.write_text(SHIM.format(python=sys.executable, port=port), "utf-8")
        shim.chmod(0o755)
        self._path = f"{shim.parent}:{os.environ['PATH']}"

    def run(self, code: str) -> int:
        with subprocess.Popen(
            ["bash", "-euo", "pipefail", "-c", code],
            cwd=self._folder,
            env={**os.environ, "PATH": self._path},
            stdin=subprocess.DEVNULL,
        ) as shell:
            while shell.poll() is None:
                with suppress(TimeoutError):
                    self._serve(self._listening.accept()[0])
        return shell.returncode

    def close(self) -> None:
        self._listening.close()

    def _serve(self, there: socket.socket) -> None:
        with there:
            there.settimeout(None)
            asked = b"".join(iter(lambda: there.recv(65536), b""))
            there.sendall(json.dumps(_obeyed(*json.loads(asked))).encode())


def _obeyed(arguments: list[str], cwd: str, told: str) -> tuple[int, str, str]:
    done: Any
    if arguments[0] in OF_ITS_OWN:
        done = subprocess.run(
            [sys.executable, "-m", "pe_stream", *arguments],
            cwd=cwd,
            capture_output=True,
            text=True,
            check=False,
        )
    else:
        with pytest.MonkeyPatch.context() as patched:
            patched.setattr("sys.stdin", io.StringIO(told))
            done = pe_stream(*arguments, cwd=Path(cwd))
    print("$ pe-stream", *arguments)
    print(done.stdout, done.stderr)
    return done.returncode, done.stdout, done.stderr
