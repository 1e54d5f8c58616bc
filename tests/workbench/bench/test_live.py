"""The search for the number of live streams, on a clock and an engine whose costs are known."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import pytest

from pe_stream.core.types import FrameScores, Window
from pe_stream.core.windows import Framing
from pe_stream.model.codec import Stream
from pe_stream.workbench.bench import live
from pe_stream.workbench.bench.sources import SteppedSources

FRAMING = Framing(window=50, hop=12, lookahead=12)
HOP_S = 0.48
NAMES = ["one", "two"]


class Machine:
    """A clock, and an engine that takes its time on it; nothing else takes any.

    cost: seconds for a call with so many windows.
    """

    def __init__(self, cost: Callable[[int], float]) -> None:
        self.calls: list[int] = []
        self.lengths: set[int] = set()
        self._cost = cost
        self._now_s = 100.0

    def now_s(self) -> float:
        return self._now_s

    def wait_until(self, when_s: float) -> None:
        self._now_s = max(self._now_s, when_s)

    def hear(self, streams: Sequence[Stream], windows: Sequence[Window]) -> list[FrameScores]:
        assert len({id(stream) for stream in streams}) == len(windows)
        self.calls.append(len(windows))
        self.lengths |= {window.frames for window in windows}
        self._now_s += self._cost(len(windows))
        return [np.zeros((window.frames, len(NAMES)), np.float32) for window in windows]

    def live(self, count: int, seconds: float) -> live.Lived:
        sources = SteppedSources(self, FRAMING, NAMES)
        sources.prime(count)
        self.calls.clear()
        self.lengths.clear()
        return live.run(sources, count, FRAMING, seconds, self)


@pytest.mark.parametrize(
    ("each_s", "call_s", "truly"), [(0.05, 0.0, 9), (0.02, 0.01, 23), (0.4, 0.0, 1)]
)
def test_the_largest_number_that_fits_is_found(each_s: float, call_s: float, truly: int) -> None:
    machine = Machine(lambda n: call_s + each_s * n)
    runs = live.most(machine, FRAMING, NAMES, 20.0, clock=machine)
    assert runs[-1].sustained
    assert 0.85 * truly <= runs[-1].streams <= truly


def test_no_more_is_tried_than_the_limit() -> None:
    machine = Machine(lambda n: 0.001 * n)
    runs = live.most(machine, FRAMING, NAMES, 5.0, limit=3, clock=machine)
    assert [run.streams for run in runs] == [3]
    assert max(machine.calls) <= 3


def test_a_machine_that_carries_none_says_so() -> None:
    machine = Machine(lambda n: 0.6 * n)
    runs = live.most(machine, FRAMING, NAMES, 10.0, clock=machine)
    assert [run.streams for run in runs] == [1]
    assert not runs[0].sustained
    assert runs[0].stretched > 0


def test_a_run_in_time_scores_every_hop_of_full_windows() -> None:
    machine = Machine(lambda n: 0.03 * n)
    lived = machine.live(4, 9.6)
    assert (lived.hops, lived.stretched, lived.lost) == (4 * 20, 0, 0)
    assert sum(machine.calls) == lived.hops
    assert machine.lengths == {FRAMING.window}
    assert lived.sustained
    assert lived.seconds == pytest.approx(9.6 + HOP_S, abs=HOP_S)
    assert min(lived.scoring_s) == pytest.approx(0.03)
    assert max(lived.delay_s) < HOP_S


def test_phases_are_spread() -> None:
    machine = Machine(lambda n: 0.001 * n)
    machine.live(5, 4.8)
    assert max(machine.calls) == 1  # nothing comes at the same moment


def test_twice_too_many_stretch_and_are_not_sustained() -> None:
    lived = Machine(lambda n: 0.1 * n).live(9, 10.0)
    assert lived.stretched > 0
    assert lived.lost == 0
    assert not lived.sustained


def test_far_too_many_lose_audio_which_is_counted() -> None:
    lived = Machine(lambda n: 0.5 * n).live(8, 30.0)
    assert lived.lost > 0
    assert not lived.sustained


def test_a_slight_overload_is_seen_before_it_stretches_a_hop() -> None:
    # 5 % too much: after 5 s the delay is a quarter of a second, and nothing is left out yet.
    lived = Machine(lambda n: 0.504 * n).live(1, 5.0)
    assert lived.stretched == 0
    assert lived.drift_s > 0.1 * HOP_S
    assert not lived.sustained
    assert Machine(lambda n: 0.47 * n).live(1, 5.0).sustained


def test_a_hop_left_out_is_enough_though_it_recovers() -> None:
    machine = Machine(lambda _: 1.0 if len(machine.calls) == 10 else 0.05)
    lived = machine.live(1, 10.0)
    assert lived.stretched == 1
    assert lived.drift_s == pytest.approx(0)
    assert not lived.sustained


def test_figures_are_of_the_run() -> None:
    told = Machine(lambda n: 0.03 * n).live(1, 4.8).figures()
    assert told["scoring_ms"]["p50"] == pytest.approx(30)
    assert told["delay_ms"]["p99"] == pytest.approx(30)
    assert (told["streams"], told["hops"], told["stretched_hops"]) == (1, 10, 0)


@pytest.mark.parametrize("truly", [0, 1, 2, 7, 31, 64, 500])
def test_bisection_comes_within_a_few_percent(truly: int) -> None:
    tried = []

    def fits(count: int) -> bool:
        tried.append(count)
        return count <= truly

    found = live.largest(fits, 400)
    assert max(1, min(truly, 400) * 0.95 - 1) <= found <= max(1, min(truly, 400))
    assert len(tried) < 20
    assert max(tried) <= 400


def test_the_fast_clock_does_not_sleep() -> None:
    clock = live.FastClock()
    clock.wait_until(3600.0)
    clock.wait_until(10.0)
    assert clock.now_s() == 3600.0


def test_the_real_clock_waits() -> None:
    clock = live.RealClock()
    until_s = clock.now_s() + 0.05
    clock.wait_until(until_s)
    assert clock.now_s() >= until_s
