"""A hop's time beside busy processes of equal priority: how it is on a machine that has more to do.

One hop is scored after the other, so that the scheduler gives this process no more than its share.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Iterator, Sequence
from typing import Any

import torch

from pe_stream.core.thread_count import UP_S
from pe_stream.core.windows import Framing
from pe_stream.model.cores import available
from pe_stream.model.engine import Engine
from pe_stream.model.live_threads import LiveThreads
from pe_stream.workbench.bench.busy import busy
from pe_stream.workbench.bench.figures import summary
from pe_stream.workbench.bench.hops import endless_s

log = logging.getLogger(__name__)

PER_CORE = (0, 1, 2, 4)

HOPS = 500
"""At most, for each number of rivals."""

LONGEST = 4
"""Times as long as a run in real time, each number of rivals takes at most."""

_PERIOD = 100
_PATIENCE_S = 30.0


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
        until_s = time.monotonic() + UP_S + 1
        while time.monotonic() < until_s:
            next(hops)
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


def _taken_ms(hops: Iterator[float], limit_s: float) -> list[float]:
    until_s = time.monotonic() + limit_s
    taken_ms = [1000 * next(hops)]
    while len(taken_ms) < HOPS and time.monotonic() < until_s:
        taken_ms.append(1000 * next(hops))
    return taken_ms
