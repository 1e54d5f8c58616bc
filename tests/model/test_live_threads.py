"""The threads of live sources: what the kernel says of our cores, and what torch does then."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from mosquitto import wait_until

from pe_stream.core.thread_count import LEAST_S, UP_S, CoreUsage
from pe_stream.core.types import FRAME, Window
from pe_stream.model import live_threads
from pe_stream.model.checkpoint import Checkpoint
from pe_stream.model.engine import Engine
from pe_stream.model.live_engine import Asked, LocalEngine
from pe_stream.model.live_threads import CoreMeter, LiveThreads
from pe_stream.model.no_model import no_words

STAT = """cpu  1000 0 0 0 0 0 0 0 0 0
cpu0 100 200 300 4000 500 1 2 3 90 9
cpu1 10 20 30 400 50 0 0 7 0 0
cpu11 9999 0 0 0 0 0 0 0 0 0
intr 5 5
"""


@pytest.fixture
def _four_cores(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(live_threads, "available", lambda: 4.0)
    monkeypatch.setattr(live_threads, "default_threads", lambda: 2)


@pytest.fixture(autouse=True)
def _threads_as_before() -> Iterator[None]:
    before = torch.get_num_threads()
    yield
    torch.set_num_threads(before)


def usage_of(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, cores: set[int], text: str
) -> CoreUsage | None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: cores, raising=False)
    (tmp_path / "stat").write_text(text)
    return CoreMeter(tmp_path / "stat").read()


def test_only_cores_we_may_use_are_counted(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    tick_s = 1 / os.sysconf("SC_CLK_TCK")
    found = usage_of(monkeypatch, tmp_path, {0, 1}, STAT)
    assert found is not None
    assert found.cores == 2
    assert found.busy_s == pytest.approx((606 + 67) * tick_s)  # guests are among the users
    assert found.idle_s == pytest.approx((4500 + 450) * tick_s)
    one = usage_of(monkeypatch, tmp_path, {1}, STAT)
    assert one is not None
    assert one.cores == 1
    assert one.busy_s == pytest.approx(67 * tick_s)


def test_a_container_may_number_its_cores_anew(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    found = usage_of(monkeypatch, tmp_path, {3, 7, 40}, STAT)
    assert found is not None
    assert found.cores == 3
    assert usage_of(monkeypatch, tmp_path, {3, 7}, STAT) is None


def test_what_our_other_threads_do_is_not_what_scores() -> None:
    """Neither while they run nor once they have ended."""
    meter = CoreMeter()
    over = threading.Event()

    def spins() -> None:
        while not over.is_set():
            sum(range(1000))

    before = meter.read()
    began_s = time.thread_time(), time.process_time()
    spinning = threading.Thread(target=spins)
    spinning.start()
    wait_until(lambda: time.process_time() - began_s[1] > 0.5, "half a second of work", 60)
    between = meter.read()
    over.set()
    spinning.join()
    after = meter.read()
    own_s = time.thread_time() - began_s[0]
    spent_s = time.process_time() - began_s[1]
    assert before is not None
    assert between is not None
    assert after is not None
    # What a thread does from the last reading to its end is missed.
    assert own_s <= after.own_s - before.own_s < own_s + (spent_s - own_s) / 2
    assert between.own_s <= after.own_s


@pytest.mark.parametrize(
    "text",
    ["", "cpu0 1 2 3 4 5\n", "cpu0 1 2 3 4 5\ncpu1 1 2\n", "cpu0 a b c d e\ncpu1 1 2 3 4 5\n"],
)
def test_where_the_kernel_does_not_say_nothing_is_known(
    text: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    assert usage_of(monkeypatch, tmp_path, {0, 1}, text) is None


def test_without_such_a_file_nothing_is_known(tmp_path: Path) -> None:
    assert CoreMeter(tmp_path / "stat").read() is None


def test_this_machine_says_it() -> None:
    meter = CoreMeter()
    first, second = meter.read(), meter.read()
    assert first is not None
    assert second is not None
    assert 0 < first.busy_s <= second.busy_s
    assert 0 <= first.own_s <= second.own_s


@pytest.mark.usefixtures("_four_cores")
def test_only_the_thread_that_scores_has_another_number() -> None:
    """And it follows what others take: none, all, none again."""
    now_s = 0.0
    busy_s = 0.0

    def passes(seconds: float, others: int) -> None:
        nonlocal now_s, busy_s
        now_s, busy_s = now_s + seconds, busy_s + others * seconds

    def usage() -> CoreUsage:
        return CoreUsage(now_s, 4, busy_s, 4 * now_s - busy_s, 0)

    seen = []

    def score() -> None:
        threads = LiveThreads(usage, clock=lambda: now_s)
        for seconds, others in ((0, 0), (LEAST_S / 2, 4), (UP_S, 4), (UP_S, 0), (LEAST_S, 2)):
            passes(seconds, others)
            threads.adjust()
            assert threads.threads == torch.get_num_threads()
            seen.append(threads.threads)

    torch.set_num_threads(3)
    scoring = threading.Thread(target=score)
    scoring.start()
    scoring.join()
    assert seen == [2, 2, 1, 4, 2]
    assert torch.get_num_threads() == 3


@pytest.mark.usefixtures("_four_cores")
def test_the_engine_of_live_sources_scores_with_them(small: Checkpoint) -> None:
    """From the second scoring on: what was, is told by two readings."""
    readings = iter([CoreUsage(0, 4, 0, 0, 0), CoreUsage(1, 4, 4, 0, 0)])
    threads = LiveThreads(
        lambda: next(readings), clock=lambda: 0.0 if threads._set is None else 1.0
    )
    engine = LocalEngine(Engine(small, no_words(small)), threads)
    window = Window(0, np.zeros(2 * FRAME, np.float32))
    for expected in (2, 1):
        engine.ask([Asked("kitchen", engine.stream("kitchen"), window)], embed=False)
        assert torch.get_num_threads() == expected
        assert len(engine.answers()) == 1


@pytest.mark.usefixtures("_four_cores")
def test_where_nothing_is_known_it_stays_half() -> None:
    threads = LiveThreads(lambda: None)
    for _ in range(3):
        threads.adjust()
    assert torch.get_num_threads() == threads.threads == 2
