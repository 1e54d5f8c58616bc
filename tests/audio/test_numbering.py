"""Indices and anchors over breaks."""

from __future__ import annotations

import numpy as np

from pe_stream.audio.numbering import Numbering

SECOND = np.zeros(48_000, np.float32)
NS = 1_000_000_000


def test_only_the_first_chunk_of_a_segment_carries_the_anchor() -> None:
    timeline = Numbering(100)
    assert not timeline.begun
    timeline.begin(5.0, 7 * NS, lost=False)
    first, second = timeline.chunk(SECOND, 6.0), timeline.chunk(SECOND, 7.0)
    assert (first.start, first.anchor_ns, first.captured_s) == (100, 7 * NS, 6.0)
    assert (second.start, second.anchor_ns) == (48_100, None)


def test_after_a_loss_the_index_goes_on_where_the_clock_says() -> None:
    timeline = Numbering(0)
    timeline.begin(10.0, 0, lost=True)
    timeline.chunk(SECOND, 11.0)
    timeline.begin(13.5, 4 * NS, lost=True)
    after = timeline.chunk(SECOND, 14.5)
    assert (after.start, after.anchor_ns) == (round(3.5 * 48_000), 4 * NS)


def test_what_passed_before_the_first_sound_is_lost() -> None:
    known = Numbering(1000, at_s=10.0)
    known.waits(12.0)  # known already
    known.begin(13.5, 0, lost=True)
    assert known.chunk(SECOND, 14.5).start == 1000 + round(3.5 * 48_000)
    waited = Numbering(1000)
    waited.waits(10.0)
    waited.waits(11.0)
    assert not waited.begun
    waited.begin(13.5, 0, lost=True)
    assert waited.chunk(SECOND, 14.5).start == 1000 + round(3.5 * 48_000)


def test_the_index_never_runs_backwards() -> None:
    timeline = Numbering(0)
    timeline.begin(10.0, 0, lost=True)
    timeline.chunk(SECOND, 11.0)
    timeline.begin(10.5, NS, lost=True)
    assert timeline.chunk(SECOND, 11.5).start == 48_000


def test_a_clock_that_was_set_is_noticed_and_costs_no_samples() -> None:
    timeline = Numbering(0)
    timeline.begin(10.0, 50 * NS, lost=False)
    timeline.chunk(SECOND, 11.0)
    assert not timeline.strayed(51 * NS + NS // 4)
    for _ in range(7):  # a block or two may only have been held up
        assert not timeline.strayed(52 * NS)
    assert not timeline.strayed(51 * NS)
    assert [timeline.strayed(52 * NS) for _ in range(8)] == [False] * 7 + [True]
    assert timeline.strayed(49 * NS)
    timeline.begin(20.0, 52 * NS, lost=False)
    after = timeline.chunk(SECOND, 21.0)
    assert (after.start, after.anchor_ns) == (48_000, 52 * NS)
