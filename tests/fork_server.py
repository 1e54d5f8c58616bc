"""Starts `python -m pe_stream …` without importing everything again: by a fork.

Importing what the daemon needs takes seconds of CPU, and some forty tests start one. A server, one
for each pytest process, imports it once and forks a child for each request. The child gets its own
arguments, environment, working directory and standard streams, has no other open file, and runs
`pe_stream.__main__` at top level, so that its signals, its end and its exit code are those of a
process of its own. The server never has a second thread: no thread pool is inherited half.

What differs from the real `python -m pe_stream`:

- The parent is the server, not the test; `ps` shows the server's command line, and
  /proc/PID/environ the server's environment.
- Modules are imported before the arguments are read, so what happens while importing (times,
  errors, `sitecustomize`, a missing library) is not seen.
- The variables that the interpreter and libraries read when they start (see FIXED) are the
  server's, and so are the hash seed and the number of threads of numpy's BLAS, which is one.
- Standard streams are buffered as for files and pipes, also on a terminal.

A test of one of these starts a real process: `Daemon(..., real=True)`.
"""

from __future__ import annotations

import gc
import importlib
import json
import os
import runpy
import selectors
import signal
import socket
import struct
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import IO

IMPORTED = (
    "pe_stream.cli.commands.demo",
    "pe_stream.cli.main",
    "pe_stream.daemon.service",
    "pe_stream.model.compiled",
    "pe_stream.outputs.metrics",
    "pe_stream.outputs.mqtt.embedded_broker",
    "pe_stream.outputs.notifications.services",
    "pe_stream.web.server",
    "transformers.models.dac.modeling_dac",
    "transformers.models.modernbert.modeling_modernbert",
    "transformers.models.pe_audio.feature_extraction_pe_audio",
    "transformers.models.pe_audio.modeling_pe_audio",
)
"""What `run` and `demo` import, at once or when it is first needed."""

FIXED = (
    *("PYTHON", "LD_", "GLIBC_", "MALLOC_"),
    *("OMP_", "KMP_", "MKL_", "OPENBLAS_", "TORCH", "HF_", "TRANSFORMERS_"),
)
"""Beginnings of variables that the interpreter and libraries read once, when they start."""

_MAX_REQUEST = 1 << 17


class Forked:
    """A started child; the part of `subprocess.Popen` (text streams) that tests use."""

    def __init__(self, pid: int, status: socket.socket, out: IO[str], err: IO[str]) -> None:
        self.pid = pid
        self.returncode: int | None = None
        self.stdout, self.stderr = out, err
        self._pidfd = os.pidfd_open(pid)
        self._status = status

    def poll(self) -> int | None:
        try:
            return self.wait(0)
        except subprocess.TimeoutExpired:
            return None

    def wait(self, timeout_s: float | None = None) -> int:
        """Return the exit code, or minus the signal that ended it."""
        if self.returncode is None:
            self._status.settimeout(timeout_s)
            try:
                told = self._status.recv(4)
            except (BlockingIOError, TimeoutError):
                raise subprocess.TimeoutExpired("pe_stream", timeout_s or 0.0) from None
            assert told, "the fork server has ended"
            (self.returncode,) = struct.unpack("i", told)
            self._status.close()
            os.close(self._pidfd)
        return self.returncode

    def send_signal(self, number: int) -> None:
        """Send it, unless the child has ended."""
        if self.poll() is None:
            with suppress(ProcessLookupError):
                signal.pidfd_send_signal(self._pidfd, number)

    def kill(self) -> None:
        self.send_signal(signal.SIGKILL)


def start(arguments: Sequence[str], environment: Mapping[str, str]) -> Forked:
    """Start `python -m pe_stream ARGUMENTS…` here, without input; its output can be read."""
    return _server().start(arguments, environment)


def stop() -> None:
    """End the server, if there is one; without, it ends with this process."""
    if _server.cache_info().currsize:
        _server().stop()
        _server.cache_clear()


def fits(environment: Mapping[str, str]) -> bool:
    """Whether a child can have this environment: what is read at the start is as here."""
    names = {name for name in {*environment, *os.environ} if name.startswith(FIXED)}
    return all(environment.get(name) == os.environ.get(name) for name in names)


class _Server:
    """The server's process, seen from pytest's."""

    def __init__(self) -> None:
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        with theirs:
            self._process = subprocess.Popen(
                [sys.executable, "-P", __file__, str(theirs.fileno())],
                pass_fds=[theirs.fileno()],
                stdin=subprocess.DEVNULL,
                env={**os.environ, "OPENBLAS_NUM_THREADS": "1"},
            )
        self._socket = ours

    def start(self, arguments: Sequence[str], environment: Mapping[str, str]) -> Forked:
        status, told = socket.socketpair()
        out, err = os.pipe(), os.pipe()
        with told, Path(os.devnull).open("rb") as nothing:
            asked = {"arguments": arguments, "environment": {**environment}, "cwd": str(Path.cwd())}
            fds = [nothing.fileno(), out[1], err[1], told.fileno()]
            socket.send_fds(self._socket, [json.dumps(asked).encode()], fds)
            os.close(out[1])
            os.close(err[1])
        told_pid = status.recv(4)
        assert told_pid, "the fork server has ended"
        (pid,) = struct.unpack("i", told_pid)
        return Forked(pid, status, os.fdopen(out[0]), os.fdopen(err[0]))

    def stop(self) -> None:
        self._socket.close()
        self._process.wait(60)


@cache
def _server() -> _Server:
    return _Server()


# The server's side


@dataclass(frozen=True)
class _Request:
    arguments: list[str]
    environment: dict[str, str]
    cwd: str


def _serve(asking: socket.socket) -> _Request:
    """Fork for every request: returns it in the child. Ends the server when nobody can ask."""
    selector = selectors.DefaultSelector()
    selector.register(asking, selectors.EVENT_READ)
    while True:
        for key, _ in selector.select():
            if key.fileobj is asking:
                told, fds, _, _ = socket.recv_fds(asking, _MAX_REQUEST, 4)
                if not told:
                    os._exit(0)
                child = _fork(fds)
                if child is None:
                    return _Request(**json.loads(told))
                for fd in fds[:3]:
                    os.close(fd)
                status = socket.socket(fileno=fds[3])
                selector.register(os.pidfd_open(child), selectors.EVENT_READ, (child, status))
                _tell(status, child)
            else:
                selector.unregister(key.fd)
                os.close(key.fd)
                child, status = key.data
                _, how = os.waitpid(child, 0)
                with status:
                    _tell(status, os.waitstatus_to_exitcode(how))


def _tell(status: socket.socket, number: int) -> None:
    with suppress(BrokenPipeError):  # the test has gone
        status.send(struct.pack("i", number))


def _fork(fds: Sequence[int]) -> int | None:
    """Return the child's number, and None in the child, which has the first three of `fds` only."""
    threads = len([*Path("/proc/self/task").iterdir()])
    if threads > 1:
        raise RuntimeError(f"{threads} threads in the fork server")
    child = os.fork()
    if child:
        return child
    for number, fd in enumerate(fds[:3]):
        os.dup2(fd, number)
    os.closerange(3, os.sysconf("SC_OPEN_MAX"))
    return None


def _become(request: _Request) -> None:
    """Run it as `python -m pe_stream` would."""
    os.environ.clear()
    os.environ.update(request.environment)
    time.tzset()
    os.chdir(request.cwd)
    sys.path[0] = request.cwd
    sys.argv[1:] = request.arguments
    runpy.run_module("pe_stream", run_name="__main__", alter_sys=True)


if __name__ == "__main__":
    sys.path.insert(0, str(Path.cwd()))  # as `python -m` does
    for module in IMPORTED:
        importlib.import_module(module)
    gc.collect()
    gc.freeze()  # a child's collector would copy every page it looks at
    _become(_serve(socket.socket(fileno=int(sys.argv[1]))))
