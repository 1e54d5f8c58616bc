"""Processes of our own that are forked from one that has imported torch, which takes seconds.

The standard library's fork server, one for each pytest process, forks them; it has no thread of its
own, so that nothing is inherited half. What differs from a process that imports it all itself: what
libraries read of the environment when they are imported is the server's, and what happens meanwhile
is not seen. Tests of these start real processes.
"""

from __future__ import annotations

import multiprocessing
import os
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from multiprocessing.connection import Connection
from multiprocessing.context import ForkServerContext
from typing import Any

IMPORTED = (
    "pytest",  # the main module, which each process of a pool imports
    "pe_stream.cli.commands.detect",
    "pe_stream.model.engine",
    "pe_stream.pipeline.opinion_child",
    "pe_stream.workbench.training.group",
    "transformers.models.dac.modeling_dac",
    "transformers.models.modernbert.modeling_modernbert",
    "transformers.models.pe_audio.modeling_pe_audio",
    "transformers.models.pe_audio_video.modeling_pe_audio_video",
)


def context() -> ForkServerContext:
    """Starts processes as multiprocessing's other contexts do."""
    made = multiprocessing.get_context("forkserver")
    made.set_forkserver_preload([*IMPORTED])
    return made


def spawn(work: Callable[..., None], arguments: tuple[Any, ...], nprocs: int, *, join: bool) -> Any:
    """Start what `torch.multiprocessing.spawn.spawn` would."""
    from torch.multiprocessing.spawn import start_processes

    method = context().get_start_method()
    return start_processes(work, arguments, nprocs, join, start_method=method)


class ForkedProgram:
    """The part of `subprocess.Popen` that is used of a `python -c PROGRAM …` with two pipes."""

    def __init__(self, command: Sequence[str], *, env: Mapping[str, str], **how: Any) -> None:
        assert how == {"stdin": -1, "stdout": -1, "bufsize": 0, "process_group": 0}
        _, program, *arguments = command[command.index("-c") :]
        their_in, ours_out = os.pipe()
        ours_in, their_out = os.pipe()
        self.stdin, self.stdout = os.fdopen(ours_out, "wb", 0), os.fdopen(ours_in, "rb", 0)
        with Connection(their_in, writable=False) as i, Connection(their_out, readable=False) as o:
            given = (program, arguments, dict(env), i, o)
            self._process = context().Process(target=_become, args=given, daemon=True)
            self._process.start()
        assert self._process.pid is not None
        self.pid = self._process.pid

    @property
    def returncode(self) -> int | None:
        return self._process.exitcode

    def poll(self) -> int | None:
        return self._process.exitcode

    def wait(self, timeout: float | None = None) -> int:
        self._process.join(timeout)
        if self._process.exitcode is None:
            raise subprocess.TimeoutExpired("python", timeout or 0.0)
        return self._process.exitcode

    def kill(self) -> None:
        self._process.kill()


def _become(
    program: str,
    arguments: Sequence[str],
    environment: Mapping[str, str],
    stdin: Connection,
    stdout: Connection,
) -> None:
    os.setpgid(0, 0)
    for number, pipe in enumerate((stdin, stdout)):
        with pipe:
            os.dup2(pipe.fileno(), number)
    os.environ.clear()
    os.environ.update(environment)
    sys.argv[1:] = arguments
    exec(program, {"__name__": "__main__"})
