"""The real daemon as a process, and mosquitto_sub as its subscriber."""

from __future__ import annotations

import contextlib
import io
import json
import os
import shutil
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, Self

import fork_server
import pytest
from mosquitto import wait_until
from ports import HOST
from timing import within

from pe_stream.cli.main import main


class _Reading:
    """Reads a stream's lines on a thread of its own, so that no pipe ever fills."""

    def __init__(self, stream: IO[str]) -> None:
        self.lines: list[str] = []
        self._thread = threading.Thread(target=self._read, args=(stream,), daemon=True)
        self._thread.start()

    def _read(self, stream: IO[str]) -> None:
        with stream:
            for line in stream:
                self.lines.append(line.rstrip("\n"))

    def join(self) -> None:
        self._thread.join(within(10))


class Process:
    """`python -m pe_stream ARGUMENTS…`, which runs inside the context; its output can be read.

    real: started as a user would, not by the fork server, whose docstring says what differs.
    """

    process: subprocess.Popen[str] | fork_server.Forked

    def __init__(
        self, arguments: Sequence[str], environment: Mapping[str, str], *, real: bool = False
    ) -> None:
        self._arguments = arguments
        self._environment = environment
        self._real = real or not fork_server.fits(environment)

    def __enter__(self) -> Self:
        if self._real:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "pe_stream", *self._arguments],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                text=True,
                env=self._environment,
            )
        else:
            self.process = fork_server.start(self._arguments, self._environment)
        assert self.process.stdout is not None
        assert self.process.stderr is not None
        self._out, self._err = _Reading(self.process.stdout), _Reading(self.process.stderr)
        return self

    def __exit__(self, *_: object) -> None:
        if self.process.poll() is None:
            self.process.kill()
        self.exit_code(10)

    @property
    def log(self) -> str:
        return "\n".join(self._err.lines)

    @property
    def out(self) -> str:
        return "\n".join(self._out.lines)

    def send(self, number: signal.Signals) -> None:
        self.process.send_signal(number)

    def wait_for_log(self, text: str, timeout_s: float = 60.0) -> None:
        try:
            wait_until(lambda: text in self.log or self.process.poll() is not None, text, timeout_s)
            if self.process.poll() is not None:
                self._err.join()  # what it said last may not be read yet
        finally:
            if text not in self.log:
                print(self.log)
        assert text in self.log

    def exit_code(self, timeout_s: float = 60.0) -> int:
        """Wait for the end."""
        code = self.process.wait(within(timeout_s))
        self._out.join()
        self._err.join()
        return code


class Daemon(Process):
    """`pe-stream run` on a configuration text."""

    def __init__(
        self,
        folder: Path,
        config: str,
        environment: Mapping[str, str] | None = None,
        *,
        real: bool = False,
    ) -> None:
        self.config = folder / "config.yaml"
        self.config.write_text(config, "utf-8")
        state = {"XDG_STATE_HOME": str(folder / "state")}
        everything = {**os.environ, **state, **(environment or {})}
        super().__init__(["run", "-c", str(self.config)], everything, real=real)


def level_config(level: Path, port: int, source: str | Path, more: str = "") -> str:
    """One source, heard by the level checkpoint for what is loud; a path is played."""
    spec = f"{{url: {source}}}" if isinstance(source, Path) else source
    labels = "" if "labels:" in more else "labels: {loud: {min_on_s: 0.12}}"
    return f"""
node: Test Node
model: {{checkpoint: {level}, window_s: 1.0, hop_s: 0.2, lookahead_s: 0.2, threads: 1}}
sources:
  kitchen: {spec}
{labels}
mqtt: {{host: 127.0.0.1, port: {port}}}
{more}
"""


class MosquittoSub:
    """`mosquitto_sub` on every topic; keeps (UTC seconds of arrival, topic, payload).

    In the context it has subscribed: it hears whatever is published from then on.
    """

    def __init__(self, port: int, *arguments: str) -> None:
        program = shutil.which("mosquitto_sub")
        if program is None:
            pytest.skip("needs mosquitto_sub: apt-get install mosquitto-clients")
        # What -d tells comes at once, as messages do.
        self._command = [
            "stdbuf",
            "-oL",
            program,
            "-h",
            HOST,
            "-p",
            str(port),
            "-t",
            "#",
            "-q",
            "1",
        ]
        self._command += ["-d", "-F", "%U\t%r\t%t\t%p", *arguments]

    def __enter__(self) -> Self:
        self._process = subprocess.Popen(self._command, stdout=subprocess.PIPE, text=True)
        assert self._process.stdout is not None
        self._reading = _Reading(self._process.stdout)
        try:
            wait_until(lambda: any("received SUBACK" in line for line in self._lines), "subscribed")
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self._process.kill()
        self._process.wait(within(10))
        self._reading.join()

    @property
    def received(self) -> list[tuple[str, str]]:
        """(topic, payload) in the order of arrival."""
        return [(topic, payload) for _, topic, payload in self.timed]

    @property
    def timed(self) -> list[tuple[float, str, str]]:
        """(UTC seconds of arrival, topic, payload) in the order of arrival."""
        split = [line.split("\t", 3) for line in self._lines]  # what -d tells has no tabs
        return [(float(each[0]), each[2], each[3]) for each in split if len(each) > 1]

    @property
    def _lines(self) -> list[str]:
        return list(self._reading.lines)

    def payloads(self, topic: str) -> list[str]:
        return [payload for name, payload in self.received if name == topic]

    def events(self, topic: str) -> list[dict[str, Any]]:
        return [json.loads(payload) for payload in self.payloads(topic)]

    def wait_for(self, topic: str, payload: str, timeout_s: float = 60.0) -> None:
        """Wait until `payload` (or one that contains it) arrives on `topic`."""
        wait_until(
            lambda: any(payload in p for p in self.payloads(topic)),
            f"{payload} on {topic}",
            timeout_s,
        )


@dataclass(frozen=True)
class Done:
    """What a command left behind."""

    returncode: int
    stdout: str
    stderr: str


@contextlib.contextmanager
def standard_input(file: int) -> Iterator[None]:
    """What a command that runs in this process reads from file descriptor 0."""
    before = os.dup(0)
    os.dup2(file, 0)
    try:
        yield
    finally:
        os.dup2(before, 0)
        os.close(before)


def pe_stream(*arguments: str | Path, cwd: Path | None = None) -> Done:
    """Run a command to its end, in this process: importing torch again takes seconds."""
    out, err = io.StringIO(), io.StringIO()
    with (
        contextlib.chdir(cwd or Path.cwd()),
        contextlib.redirect_stdout(out),
        contextlib.redirect_stderr(err),
    ):
        try:
            code = main([*map(str, arguments)])
        except SystemExit as usage:  # argparse
            code = int(usage.code or 0)
    return Done(code, out.getvalue(), err.getvalue())
