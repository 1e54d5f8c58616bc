"""Embeddings pooled and coded: nothing lost, nothing across a break, scores nearly as they were."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from pe_stream.core.pooling import POOL, Pool, Probe, Rows, encode, row_type, sound
from pe_stream.core.types import FRAME_NS, FrameEmbeddings

NOON = 1_795_262_400 * 10**9


def frames(count: int, width: int = 8, seed: int = 0) -> FrameEmbeddings:
    made: FrameEmbeddings = np.random.default_rng(seed).normal(0, 3, (count, width)).astype("f2")
    return made


def pooled(pieces: list[tuple[int, FrameEmbeddings]]) -> Rows:
    pool = Pool()
    rows = [row for start_ns, piece in pieces for row in pool.add(start_ns, piece)]
    return np.concatenate([*rows, *pool.flush()])


def decoded(rows: Rows) -> NDArray[np.float32]:
    means: NDArray[np.float32] = rows["code"] * rows["scale"][:, None]
    return means


@given(st.integers(1, 97), st.lists(st.integers(1, 30), min_size=1, max_size=20))
def test_every_hop_gives_the_same_rows(count: int, hops: list[int]) -> None:
    whole = frames(count)
    pieces: list[tuple[int, FrameEmbeddings]] = []
    at = 0
    while at < count:
        hop = hops[len(pieces) % len(hops)]
        pieces.append((NOON + at * FRAME_NS, whole[at : at + hop]))
        at += hop
    rows = pooled(pieces)
    assert rows.tobytes() == pooled([(NOON, whole)]).tobytes()
    assert rows["frames"].tolist() == [POOL] * (count // POOL) + [count % POOL] * bool(count % POOL)
    assert rows["start_ns"].tolist() == [NOON + i * POOL * FRAME_NS for i in range(len(rows))]
    for i, mean in enumerate(decoded(rows)):
        exact = whole[i * POOL : (i + 1) * POOL].astype(np.float64).mean(axis=0)
        assert np.abs(mean - exact).max() <= np.abs(exact).max() / 127 / 2 * 1.001


def test_a_break_cuts_a_row_short() -> None:
    first, second = frames(13), frames(4, seed=1)
    later = NOON + 13 * FRAME_NS + 10**9
    rows = pooled([(NOON, first), (later, second)])
    assert rows["frames"].tolist() == [10, 3, 4]
    assert rows["start_ns"].tolist() == [NOON, NOON + 10 * FRAME_NS, later]


@pytest.mark.parametrize(("off_ns", "rows"), [(26_000_000, 1), (26_000_001, 2)])
def test_half_a_frame_and_a_twentieth_of_those_before_is_no_break(off_ns: int, rows: int) -> None:
    pieces = [(NOON, frames(3)), (NOON + 3 * FRAME_NS + off_ns, frames(3))]
    assert len(pooled(pieces)) == rows


def test_a_clock_that_is_slow_cuts_no_row_short_and_is_followed() -> None:
    """Three in a hundred, over a minute of hops."""
    pieces = [(NOON + round(12 * FRAME_NS * 1.03) * hop, frames(12)) for hop in range(125)]
    rows = pooled(pieces)
    assert rows["frames"].tolist() == [POOL] * 150
    true = NOON + np.arange(150) * POOL * FRAME_NS * 1.03
    assert np.abs(rows["start_ns"] - true).max() < FRAME_NS


def test_what_is_no_number_is_none_on_disk() -> None:
    wild = np.full((POOL, 4), np.nan, np.float16)
    wild[0, 0] = np.inf
    rows = pooled([(NOON, wild)])
    assert sound(rows).all()
    quiet = pooled([(NOON, np.zeros((POOL, 4), np.float16))])
    assert decoded(quiet).tolist() == [[0.0] * 4]


@pytest.mark.parametrize("width", [1, 3, 128, 1024])
def test_logits_are_those_of_the_means(width: int) -> None:
    rng = np.random.default_rng(1)
    means = rng.normal(0, 3, (1500, width)).astype(np.float32)
    starts_ns = list(range(1500))
    rows = encode(starts_ns, [POOL] * 1500, means)
    probe = Probe(rng.normal(0, 0.1, width).astype(np.float32), -4.5, "x")
    slow = [float(mean @ probe.row) - 4.5 for mean in decoded(rows)]
    assert probe.logits(rows) == pytest.approx(slow, abs=1e-3)
    assert probe.logits(rows[:0]).shape == (0,)


def test_the_mean_logit_is_the_logit_of_the_mean() -> None:
    whole = frames(POOL * 50, 128)
    row = np.random.default_rng(2).normal(0, 0.05, 128).astype(np.float32)
    logits = (whole.astype(np.float32) @ row).reshape(-1, POOL).mean(axis=1)
    found = Probe(row, 0.0, "x").logits(pooled([(NOON, whole)]))
    assert np.abs(found - logits).max() < 0.02


def test_rows_that_nobody_wrote_are_known() -> None:
    rows = np.zeros(5, row_type(2))  # as a disk may have them that lost power
    rows["frames"] = [10, 1, 0, 11, 10]
    rows["scale"] = [1, 0.5, 1, 1, np.nan]
    assert sound(rows).tolist() == [True, True, False, False, False]
    rows["scale"][0] = -1
    assert not sound(rows)[0]
