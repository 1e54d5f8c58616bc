from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from pe_stream.core.peak_picking import APART_NS, BRIDGED_NS, Moment, moments
from pe_stream.core.pooling import POOL
from pe_stream.core.types import FRAME_NS

ROW_NS = POOL * FRAME_NS
QUIET = -6.0


def found(
    logits: dict[int, float] | NDArray[np.float32],
    limit: int = 10,
    rows: int = 200,
    *,
    break_after: int | None = None,
) -> list[Moment]:
    """Of rows that follow each other, but for an hour after one."""
    values = np.full(rows, QUIET, np.float32)
    if isinstance(logits, dict):
        for at, value in logits.items():
            values[at] = value
    else:
        values = logits
    starts_ns = np.arange(len(values), dtype=np.int64) * ROW_NS
    if break_after is not None:
        starts_ns[break_after + 1 :] += 3600 * 10**9
    frames = np.full(len(values), POOL, np.uint32)
    return moments("kitchen", starts_ns, frames, values, limit)


def test_neighbours_are_one_moment_and_the_best_comes_first() -> None:
    first, second = found({50: 1.0, 51: 2.0, 52: 1.5, 120: 3.0}, limit=2)
    assert (first.start_ns, first.end_ns) == (120 * ROW_NS, 121 * ROW_NS)
    assert first.peak == pytest.approx(1 / (1 + np.exp(-3.0)))
    assert (second.start_ns, second.end_ns, second.peak_ns) == (
        50 * ROW_NS,
        53 * ROW_NS,
        51 * ROW_NS,
    )
    assert first.source == "kitchen"


def test_short_quiet_is_bridged_and_long_is_not() -> None:
    bridged = BRIDGED_NS // ROW_NS
    (one,) = found({50: 2.0, 51 + bridged: 1.9}, limit=1)
    assert one.end_ns == (52 + bridged) * ROW_NS
    (one,) = found({50: 2.0, 52 + bridged: 1.9}, limit=1)
    assert one.end_ns == 51 * ROW_NS


def test_moments_are_apart() -> None:
    apart = APART_NS // ROW_NS
    for near in (50 + apart, 50 - apart):
        assert found({50: 2.0, near: 1.0}, limit=2)[1].peak < 0.1  # it belongs to the first
    for far in (51 + apart, 49 - apart):
        second = found({50: 2.0, far: 1.0}, limit=2)[1]
        assert second.peak_ns // ROW_NS == far


def test_a_break_ends_a_moment() -> None:
    (one,) = found({50: 2.0, 51: 1.9, 52: 1.8}, limit=1, break_after=50)
    assert one.end_ns == 51 * ROW_NS


def test_what_hums_all_day_does_not_make_one_moment_of_a_day() -> None:
    rng = np.random.default_rng(0)
    hum = rng.normal(-5, 0.3, 5000).astype(np.float32)  # scores are alike, to within half
    assert all(moment.end_ns - moment.start_ns < 10 * 10**9 for moment in found(hum, limit=20))


def test_scores_next_to_1_keep_their_order() -> None:
    assert found({20: 60.0, 120: 70.0}, limit=1)[0].peak_ns == 120 * ROW_NS


def test_no_more_than_asked_for_or_than_there_are() -> None:
    assert len(found({50: 2.0}, limit=3)) == 3
    assert len(found({50: 2.0}, limit=100, rows=60)) < 10
    assert found({}, rows=0) == []
    assert len(found({0: 1.0}, rows=1)) == 1
