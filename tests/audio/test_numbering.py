"""Indices and anchors over breaks."""

from __future__ import annotations

import numpy as np
import pytest

from pe_stream.audio.numbering import Numbering
from pe_stream.audio.pcm import Resampler
from pe_stream.core.stream_clock import Arrival
from pe_stream.core.types import AudioChunk, Samples

UTC_S = 1_795_221_349
TENTH = 4800


def arrival(end_s: float, duration_s: float = 0.1, *, broken: bool = False) -> Arrival:
    return Arrival(duration_s, end_s, round((UTC_S + end_s) * 1e9), broken=broken)


def tenths(numbering: Numbering, begin_s: float, count: int, first: int = 0) -> list[AudioChunk]:
    """Sound that comes as it is made; its samples say which ones they are."""
    chunks = []
    for number in range(count):
        begun = first + number * TENTH
        samples = np.arange(begun, begun + TENTH, dtype=np.float32)
        chunks += numbering.add(samples, arrival(begin_s + (number + 1) / 10))
    return chunks


def joined(chunks: list[AudioChunk]) -> Samples:
    return np.concatenate([chunk.samples for chunk in chunks])


def anchors(chunks: list[AudioChunk]) -> list[tuple[int, float]]:
    """Index and UTC (s, from UTC_S) of each segment's first sample."""
    return [
        (chunk.start, round(chunk.anchor_ns / 1e9 - UTC_S, 3))
        for chunk in chunks
        if chunk.anchor_ns is not None
    ]


def test_only_the_first_chunk_of_a_segment_carries_the_anchor() -> None:
    numbering = Numbering(100)
    chunks = tenths(numbering, 5.0, 30) + numbering.finish()
    assert anchors(chunks) == [(100, 5.0)]
    assert [c.start for c in chunks[1:]] == [c.end for c in chunks[:-1]]
    assert joined(chunks).tolist() == list(range(30 * TENTH))
    assert chunks[-1].captured_s == pytest.approx(8.0)


def test_the_clock_goes_through_the_end_of_every_chunk() -> None:
    chunks = tenths(Numbering(100), 5.0, 10)
    for number, chunk in enumerate(chunks):
        assert chunk.mark is not None
        assert chunk.mark[0] == chunk.end
        assert chunk.mark[1] / 1e9 - UTC_S == pytest.approx(5.1 + number / 10, abs=1e-3)


def test_after_a_loss_the_index_goes_on_where_the_clock_says() -> None:
    numbering = Numbering(0)
    chunks = tenths(numbering, 10.0, 10)
    chunks += numbering.add(np.zeros(TENTH, np.float32), arrival(13.6, broken=True))
    chunks += tenths(numbering, 13.6, 5) + numbering.finish()
    assert anchors(chunks) == [(0, 10.0), (round(3.5 * 48_000), 13.5)]


def test_what_passed_before_the_first_sound_is_lost() -> None:
    known = Numbering(1000, at_s=10.0)
    known.waits(12.0)  # known already
    assert anchors(tenths(known, 13.5, 5)) == [(1000 + round(3.5 * 48_000), 13.5)]
    waited = Numbering(1000)
    waited.waits(10.0)
    waited.waits(11.0)
    assert anchors(tenths(waited, 13.5, 5)) == [(1000 + round(3.5 * 48_000), 13.5)]


def test_what_was_heard_before_is_left_out_to_the_sample() -> None:
    numbering = Numbering(1000, at_s=18.25)
    chunks: list[AudioChunk] = []
    for number in range(40):  # from 16 s on, all at once
        begun = number * TENTH
        samples = np.arange(begun, begun + TENTH, dtype=np.float32)
        chunks += numbering.add(samples, arrival(20.0))
    chunks += numbering.finish()
    assert anchors(chunks) == [(1000, 18.25)]
    assert joined(chunks).tolist() == list(range(round(2.25 * 48_000), 40 * TENTH))
    assert chunks[-1].end == 1000 + round(1.75 * 48_000)
    assert chunks[-1].mark is not None
    assert chunks[-1].mark[0] == chunks[-1].end


def test_a_resampler_that_holds_samples_back_loses_none_and_moves_none() -> None:
    """At 8 kHz, over a stall that lost 3 s, and a change of rate."""
    numbering, resampler = Numbering(0), Resampler(8000)
    tone = np.sin(np.arange(8000 * 6) * 0.1).astype(np.float32)
    chunks: list[AudioChunk] = []
    for number in range(60):
        at_s = 10.1 + number / 10 + (3.0 if number >= 30 else 0.0)
        chunks += numbering.add(
            resampler.feed(tone[number * 800 : (number + 1) * 800]), arrival(at_s)
        )
    numbering.rest(resampler.flush())
    chunks += numbering.add(np.ones(TENTH, np.float32), arrival(19.1, broken=True))
    chunks += tenths(numbering, 19.1, 5) + numbering.finish()
    begun = anchors(chunks)
    assert [start for start, _ in begun] == [0, 6 * 48_000, 9 * 48_000]
    assert [utc_s for _, utc_s in begun] == pytest.approx([10.0, 16.0, 19.0], abs=0.002)
    last = Resampler(8000)
    whole = np.concatenate([last.feed(tone), last.flush()])
    np.testing.assert_allclose(joined(chunks)[: 6 * 48_000], whole, atol=1e-6)


def test_a_clock_that_is_set_while_a_resampler_holds_samples_back() -> None:
    numbering, resampler = Numbering(0), Resampler(8000)
    tone = np.sin(np.arange(8000 * 3) * 0.1).astype(np.float32)
    chunks: list[AudioChunk] = []
    for number in range(30):
        at_s = 10.1 + number / 10
        utc_s = UTC_S + at_s + (3600 if number >= 15 else 0)
        samples = resampler.feed(tone[number * 800 : (number + 1) * 800])
        chunks += numbering.add(samples, Arrival(0.1, at_s, round(utc_s * 1e9)))
    assert [c.start for c in chunks[1:]] == [c.end for c in chunks[:-1]]
    (_, first), (start, second) = anchors(chunks)
    assert start == pytest.approx(1.6 * 48_000, abs=0.1 * 48_000)  # the second of the odd ones
    assert second - first == pytest.approx(3600 + start / 48_000, abs=0.002)
    marks = [chunk.mark[0] for chunk in chunks if chunk.mark is not None]
    assert len(marks) >= len(chunks) - 1
    assert {sample % TENTH for sample in marks} == {0}  # of the ends of what arrived


def test_what_a_resampler_never_gave_moves_nothing_after_it() -> None:
    numbering, resampler = Numbering(0), Resampler(8000)
    for number in range(10):
        numbering.add(resampler.feed(np.ones(800, np.float32)), arrival(10.1 + number / 10))
    chunks = numbering.add(np.ones(TENTH, np.float32), arrival(13.6, broken=True))
    chunks += tenths(numbering, 13.6, 5)
    assert chunks[0].anchor_ns is not None
    assert anchors(chunks) == [(round(3.5 * 48_000), 13.5)]
