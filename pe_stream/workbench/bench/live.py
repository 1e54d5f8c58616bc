"""How many streams a machine carries live: guessed from the time of a hop, then tried."""

from __future__ import annotations

import heapq
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np

from pe_stream.core.types import FRAME_S
from pe_stream.core.windows import Framing
from pe_stream.workbench.bench.figures import summary
from pe_stream.workbench.bench.sources import Hears, SteppedSources

MOST = 4096
"""Streams beyond which nobody looks."""

_TRIES = 6
_PROBES = 3

_SPREAD = 0.6180339887
"""Phases of the sources, in hops, are multiples of this: the golden ratio spreads any number."""

_FALLING_BEHIND = 0.1
"""So many hops of delay more at the end of a run than at its beginning mean that it would end
badly: an overload of a few percent needs longer than a run to stretch a hop."""


class Clock(Protocol):
    """Source of time."""

    def now_s(self) -> float:
        """Monotonic time (s)."""

    def wait_until(self, when_s: float) -> None:
        """Return at `when_s` or later."""


class RealClock:
    """The machine's own."""

    def now_s(self) -> float:
        """Monotonic time (s)."""
        return time.monotonic()

    def wait_until(self, when_s: float) -> None:
        """Sleep."""
        time.sleep(max(0.0, when_s - time.monotonic()))


class FastClock:
    """Time that passes only by waiting: audio at full speed."""

    def __init__(self) -> None:
        self._now_s = 0.0

    def now_s(self) -> float:
        """Time simulated so far (s)."""
        return self._now_s

    def wait_until(self, when_s: float) -> None:
        """Jump there."""
        self._now_s = max(self._now_s, when_s)


@dataclass(frozen=True, slots=True)
class Lived:
    """A run of some streams.

    hops: windows scored; stretched: windows left out; lost: samples. scoring_s: of each round
    (what had arrived, through engine and detectors); delay_s: of each window, from the arrival of
    its audio to its events, in order.
    """

    streams: int
    seconds: float
    hops: int
    stretched: int
    lost: int
    scoring_s: list[float]
    delay_s: list[float]
    hop_s: float

    @property
    def drift_s(self) -> float:
        """How much longer the delay was in the last third of the run than in the first."""
        third = max(1, len(self.delay_s) // 3)
        return float(np.median(self.delay_s[-third:]) - np.median(self.delay_s[:third]))

    @property
    def sustained(self) -> bool:
        """Whether it could have gone on for ever: nothing stretched, lost, or piling up."""
        kept_up = self.drift_s <= _FALLING_BEHIND * self.hop_s
        return not self.stretched and not self.lost and kept_up

    def figures(self) -> dict[str, Any]:
        """For the report; times in ms."""
        return {
            "streams": self.streams,
            "seconds": self.seconds,
            "hops": self.hops,
            "stretched_hops": self.stretched,
            "lost_samples": self.lost,
            "sustained": self.sustained,
            "drift_ms": 1000 * self.drift_s,
            "scoring_ms": summary([1000 * s for s in self.scoring_s]),
            "delay_ms": summary([1000 * s for s in self.delay_s]),
        }


def run(
    sources: SteppedSources, count: int, framing: Framing, seconds: float, clock: Clock
) -> Lived:
    """Let `count` sources deliver in real time, at phases spread over the hop."""
    sources.prime(count)
    hop_s = framing.hop * FRAME_S
    hops = max(1, round(seconds / hop_s))
    stretched, lost = sources.stretched(count), sources.lost(count)
    scoring_s: list[float] = []
    delay_s: list[float] = []
    scored = 0
    began_s = clock.now_s()
    arrivals = [(began_s + hop_s * (1 + i * _SPREAD % 1), i, 1) for i in range(count)]
    heapq.heapify(arrivals)
    while arrivals:
        clock.wait_until(arrivals[0][0])
        begun_s = clock.now_s()
        came: dict[int, float] = {}
        while arrivals and arrivals[0][0] <= begun_s:
            due_s, i, number = heapq.heappop(arrivals)
            sources.feed(i, due_s)
            came.setdefault(i, due_s)
            if number < hops:
                heapq.heappush(arrivals, (due_s + hop_s, i, number + 1))
        scored += sources.score(list(came), clock.now_s)
        done_s = clock.now_s()
        scoring_s.append(done_s - begun_s)
        delay_s += [done_s - due_s for due_s in came.values()]
    return Lived(
        streams=count,
        seconds=clock.now_s() - began_s,
        hops=scored,
        stretched=sources.stretched(count) - stretched,
        lost=sources.lost(count) - lost,
        scoring_s=scoring_s,
        delay_s=delay_s,
        hop_s=hop_s,
    )


def most(
    engine: Hears,
    framing: Framing,
    names: Sequence[str],
    seconds: float,
    *,
    limit: int = MOST,
    clock: Clock | None = None,
) -> list[Lived]:
    """Look for the largest number of streams that is sustained, `limit` at most.

    Returns the runs in real time; the last is the one sustained, if any was.
    """
    clock = clock or RealClock()
    count = _guess(SteppedSources(engine, framing, names), framing, clock, limit)
    runs: list[Lived] = []
    step = 0.05
    for _ in range(_TRIES):
        if not count:
            break
        runs.append(run(SteppedSources(engine, framing, names), count, framing, seconds, clock))
        if runs[-1].sustained:
            break
        count = min(count - 1, int(count * (1 - step)))
        step = min(2 * step, 0.5)
    return runs


def _guess(pool: SteppedSources, framing: Framing, clock: Clock, limit: int) -> int:
    """How many streams have their next hop scored in the time of a hop."""
    return largest(lambda n: _hop_time(pool, n, clock) <= framing.hop * FRAME_S, limit)


def largest(fits: Callable[[int], bool], limit: int) -> int:
    """The largest number up to `limit` that fits, to 3 %; 1 where not even that does.

    By doubling, then bisection; `fits` is taken to change once only.
    """
    good, bad = 0, None
    while bad is None and good < limit:
        tried = min(limit, max(1, 2 * good))
        good, bad = (tried, None) if fits(tried) else (good, tried)
    while bad is not None and bad - good > max(1, 0.03 * good):
        tried = (good + bad) // 2
        good, bad = (tried, bad) if fits(tried) else (good, tried)
    return max(1, good)


def _hop_time(sources: SteppedSources, count: int, clock: Clock) -> float:
    """Time (s) in which the next hop of `count` sources is scored; the median of a few."""
    sources.prime(count)
    taken_s = []
    for _ in range(_PROBES):
        begun_s = clock.now_s()
        for i in range(count):
            sources.feed(i, begun_s)
        sources.score(range(count), clock.now_s)
        taken_s.append(clock.now_s() - begun_s)
    return float(np.median(taken_s))
