"""Which audio a clip is made of, whatever the sizes in which it comes."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pe_stream.core.clipper import ClipOutcome, Clipper, ClipRule, Piece
from pe_stream.core.ring import Ring

RULE = ClipRule(before=20, after=10, never_when=frozenset({"speech"}))


def ring_at(begin: int, capacity: int = 200) -> Ring:
    ring = Ring(capacity)
    ring.restart(begin)
    return ring


def append(ring: Ring, count: int) -> None:
    """Every sample is its own index."""
    ring.append(np.arange(ring.end, ring.end + count, dtype=np.float32))


def joined(pieces: list[Piece]) -> list[int]:
    for before, after in pairwise(pieces):
        assert after.start == before.start + len(before.samples)
    return [int(sample) for piece in pieces for sample in piece.samples]


@given(sizes=st.lists(st.integers(1, 40), min_size=12, max_size=20), onset=st.integers(1000, 1080))
def test_it_reaches_from_before_to_after(sizes: list[int], onset: int) -> None:
    clipper, ring = Clipper(RULE), ring_at(1000)
    append(ring, 100)
    clipper.opened("a", "dog", onset, ring)
    pieces: list[Piece] = []
    closed = False
    for size in sizes:
        append(ring, size)
        if not closed and ring.end > 1150:
            clipper.closed("a", ring.end)
            offset, closed = ring.end, True
        pieces += clipper.take(ring, ring.end)
    if not closed:
        clipper.closed("a", ring.end)
        offset = ring.end
    pieces += clipper.finish(ring)
    begin, end = max(1000, onset - 20), min(offset + 10, ring.end)
    assert joined(pieces) == list(range(begin, end))
    assert [piece.fate for piece in pieces][-1] is ClipOutcome.KEPT
    assert all(piece.fate is ClipOutcome.OPEN for piece in pieces[:-1])


def test_it_waits_for_what_may_still_withhold_it() -> None:
    clipper, ring = Clipper(RULE), ring_at(0)
    append(ring, 100)
    clipper.opened("a", "dog", 40, ring)
    clipper.closed("a", 60)
    assert [piece.fate for piece in clipper.take(ring, 69)] == [ClipOutcome.OPEN]
    (last,) = clipper.take(ring, 70)
    assert last.fate is ClipOutcome.KEPT
    assert clipper.take(ring, 100) == []


@pytest.mark.parametrize(
    ("speech", "fate"),
    [
        ((10, 21), ClipOutcome.WITHHELD),  # within what comes before
        ((10, 20), ClipOutcome.KEPT),
        ((69, 80), ClipOutcome.WITHHELD),  # within what comes after
        ((70, 80), ClipOutcome.KEPT),
        ((45, 50), ClipOutcome.WITHHELD),
        ((10, None), ClipOutcome.WITHHELD),
    ],
)
def test_what_is_never_to_be_heard_withholds_it(
    speech: tuple[int, int | None], fate: ClipOutcome
) -> None:
    clipper, ring = Clipper(RULE), ring_at(0)
    append(ring, 100)
    clipper.opened("a", "dog", 40, ring)
    clipper.opened("s", "speech", speech[0], ring)
    if speech[1] is not None:
        clipper.closed("s", speech[1])
    clipper.closed("a", 60)
    fates = {piece.id: piece.fate for piece in clipper.take(ring, 90)}
    assert fates["a"] is fate


def test_which_labels_get_one() -> None:
    rule = ClipRule(20, 10, labels=frozenset({"dog", "speech"}), never_when=frozenset({"speech"}))
    assert [rule.wants(label) for label in ("dog", "speech", "cat")] == [True, False, False]
    clipper, ring = Clipper(rule), ring_at(0)
    append(ring, 100)
    for label in ("dog", "speech", "cat"):
        clipper.opened(label, label, 40, ring)
        clipper.closed(label, 60)
    assert {piece.id: piece.fate for piece in clipper.finish(ring)} == {"dog": ClipOutcome.WITHHELD}


def test_what_the_ring_has_no_longer_is_left_out() -> None:
    clipper, ring = Clipper(RULE), ring_at(0, capacity=50)
    append(ring, 100)
    clipper.opened("a", "dog", 40, ring)
    clipper.closed("a", 80)
    assert joined(clipper.finish(ring)) == list(range(50, 90))
