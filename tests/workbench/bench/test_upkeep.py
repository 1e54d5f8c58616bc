"""Memory that grows is seen; what runs beside the model does what the daemon does."""

from __future__ import annotations

import mmap
from collections.abc import Sequence

import numpy as np
import pytest
import torch

from pe_stream.core.types import FrameScores, Window
from pe_stream.core.windows import Framing
from pe_stream.model.codec import Stream
from pe_stream.workbench.bench import upkeep
from pe_stream.workbench.bench.upkeep import KnownScores

FRAMING = Framing(window=50, hop=12, lookahead=12)
NAMES = [f"label_{i}" for i in range(20)]


def fresh(size: int) -> mmap.mmap:
    """Memory that was not this process's before, unlike what an array may be given again."""
    memory = mmap.mmap(-1, size)
    memory.write(b"\1" * size)
    return memory


class Leaky(KnownScores):
    """Keeps a little of every hop for ever."""

    def __init__(self, kept: int) -> None:
        super().__init__(len(NAMES))
        self._kept: list[object] = []
        self._size = kept

    def hear(self, streams: Sequence[Stream], windows: Sequence[Window]) -> list[FrameScores]:
        self._kept.append(fresh(self._size))
        return super().hear(streams, windows)


def test_memory_that_grows_is_seen() -> None:
    told = upkeep.memory_over_time(Leaky(2_000_000), FRAMING, NAMES, limit_s=0.01)
    assert told["growth_percent"] > 2  # 2 MB a hop, 75 hops or more; pytest itself may hold two GB


def test_memory_that_stays_is_not() -> None:
    told = upkeep.memory_over_time(KnownScores(len(NAMES)), FRAMING, NAMES, limit_s=0.01)
    assert abs(told["growth_percent"]) < 2
    assert len(told["levels_mb"]) == 10  # a slow machine does not go on for an hour
    assert told["simulated_s"] == pytest.approx(10 * 18, abs=10)
    assert told["events"] > 0


def test_the_hour_ends() -> None:
    told = upkeep.memory_over_time(KnownScores(1), Framing(250, 125, 0), ["one"], limit_s=600)
    assert told["simulated_s"] == pytest.approx(3600, rel=0.2)


def test_known_scores_are_on_for_a_second_in_thirty() -> None:
    scores = KnownScores(20)
    windows = [Window(1920 * start, np.zeros(1920 * 250, np.float32)) for start in (0, 700)]
    first, second = scores.hear([Stream(), Stream()], windows)
    assert first.shape == second.shape == (250, 20)
    on = first[:, 0] > 0.5
    assert on[:25].all()
    assert not on[25:].any()
    np.testing.assert_array_equal(second[50:], first[:200])  # 700 + 50 is where it begins again


def test_messages_are_made_of_every_event() -> None:
    told = upkeep.overhead(FRAMING, 20, 60.0)
    assert told["simulated_s"] == pytest.approx(60, abs=1)
    # Two seconds in thirty of each label: a start, an end, and updates; each with a message.
    assert told["events"] >= 2 * 20
    assert told["messages"] > told["events"]
    assert told["cpu_s"] > 0
    assert told["percent_of_a_core"] == pytest.approx(100 * told["cpu_s"] / told["simulated_s"])


def test_what_a_stream_keeps_is_counted_with_what_its_views_hold() -> None:
    whole = torch.zeros(100, 256)

    class Keeper(KnownScores):
        def hear(self, streams: Sequence[Stream], windows: Sequence[Window]) -> list[FrameScores]:
            for stream in streams:
                stream.features = whole[:10]
            return super().hear(streams, windows)

    told = upkeep.memory_per_stream(Keeper(20), FRAMING, NAMES)
    assert told["device_mb"] == pytest.approx(100 * 256 * 4 / 2**20)
    assert told["audio_mb"] == pytest.approx(50 * 1920 * 4 / 2**20)


def test_resident_memory_is_what_the_system_says() -> None:
    fill = bytes(50 * 2**20)
    before = upkeep.resident_mb()
    with mmap.mmap(-1, len(fill)) as memory:
        memory.write(fill)
        assert upkeep.resident_mb() - before == pytest.approx(50, abs=15)
