"""A hop's time beside busy processes of equal priority: how it is on a machine that has more to do.

One hop is scored after the other, so that the scheduler gives this process no more than its share.
"""

from __future__ import annotations

import logging
import os
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from typing import Any

import torch

from pe_stream.core.thread_count import UP_S
from pe_stream.core.windows import Framing
from pe_stream.errors import UnavailableError
from pe_stream.model.cores import available
from pe_stream.model.engine import Engine
from pe_stream.model.live_threads import LiveThreads
from pe_stream.workbench.bench.figures import summary
from pe_stream.workbench.bench.hops import endless_s

log = logging.getLogger(__name__)

PER_CORE = (0, 1, 2, 4)

HOPS = 500
"""At most, for each number of rivals."""

LONGEST = 4
"""Times as long as a run in real time, each number of rivals takes at most."""

_PERIOD = 20
_PATIENCE_S = 30.0

_LOOP = """
import os, sys, time
parent, until = int(sys.argv[1]), time.monotonic() + float(sys.argv[2])
print(flush=True)
while os.getppid() == parent and time.monotonic() < until:
    for _ in range(300_000):
        pass
"""
"""Ends by itself where whoever began it is no more, whatever ended that."""


def measure(
    engine: Engine, framing: Framing, limit_s: float, *, follow: bool
) -> list[dict[str, Any]]:
    """Figures for each of PER_CORE, of HOPS hops, or as many as there are in `limit_s`.

    follow: whether the number of threads follows the load, as it does for live sources. Raises
    UnavailableError where no process can be begun.
    """
    threads = LiveThreads() if follow else None
    hops = endless_s(engine, framing, 1, _PERIOD, lambda: threads.adjust() if threads else None)
    if follow:  # as after a while on an idle machine
        _taken_ms(hops, UP_S + 1)
    else:
        next(hops)
    made: list[dict[str, Any]] = []
    for per_core in PER_CORE:
        count = per_core * max(1, int(available()))
        log.info("a hop beside %d rivals", count)
        with busy(count, limit_s + _PATIENCE_S):
            taken_ms = _taken_ms(hops, limit_s)
            used = threads.threads if threads else torch.get_num_threads()
        told = summary(taken_ms)
        idle_ms = made[0]["hop_ms"]["p50"] if made else told["p50"]
        made.append(
            {
                "rivals_per_core": per_core,
                "rivals": count,
                "threads": used,
                "hop_ms": told,
                "p99_to_idle_median": told["p99"] / idle_ms,
            }
        )
    return made


def as_table(made: Sequence[dict[str, Any]], name: str) -> str:
    """Markdown."""
    lines = [
        f"**{name}**: one hop after the other, beside busy processes of equal priority\n",
        "| rivals a core | hop, p50 / p99 | longest | p99 to the first median | hops | threads |",
        "| --- | --- | --- | --- | --- | --- |",
    ]
    for each in made:
        hop = each["hop_ms"]
        lines.append(
            f"| {each['rivals_per_core']} | {hop['p50']:.1f} / {hop['p99']:.1f} ms | "
            f"{hop['max']:.1f} ms | {each['p99_to_idle_median']:.1f} | {hop['n']} | "
            f"{each['threads']} |"
        )
    return "\n".join(lines)


@contextmanager
def busy(count: int, limit_s: float) -> Iterator[list[int]]:
    """So many processes that compute without a pause; yields their numbers.

    They are ended with the block, however it ends, and by themselves after `limit_s` or with this
    process.
    """
    command = [sys.executable, "-I", "-S", "-c", _LOOP, str(os.getpid()), f"{limit_s:f}"]
    with ExitStack() as stack:
        begun = []
        for _ in range(count):
            try:
                rival = subprocess.Popen(command, stdout=subprocess.PIPE)
            except OSError as error:
                raise UnavailableError(f"no rival can be begun: {error}") from error
            stack.callback(_end, rival)
            begun.append(rival)
        for rival in begun:
            assert rival.stdout is not None  # noqa: S101 - it is a pipe
            rival.stdout.readline()  # it runs
        yield [rival.pid for rival in begun]


def _end(rival: subprocess.Popen[bytes]) -> None:
    rival.kill()
    with rival:
        rival.wait()


def _taken_ms(hops: Iterator[float], limit_s: float) -> list[float]:
    until_s = time.monotonic() + limit_s
    taken_ms = [1000 * next(hops)]
    while len(taken_ms) < HOPS and time.monotonic() < until_s:
        taken_ms.append(1000 * next(hops))
    return taken_ms
