from __future__ import annotations

import itertools
from dataclasses import replace

import numpy as np
import pytest

from pe_stream.core.event_builder import EventBuilder, Origin
from pe_stream.core.intake import Intake
from pe_stream.core.timebase import Segment
from pe_stream.core.tracker import Detection
from pe_stream.core.types import FRAME, AudioChunk, Event, Phase, Reason

ANCHOR_NS = 1_700_000_000_000_000_000
SEGMENT = Segment(start=1000 * FRAME, anchor_ns=ANCHOR_NS, first_frame=500)
START = Detection(Phase.START, 510, 513, 0.91236, 511, 0.80004, 0.5, decided=513)


def intake(frames: float = 50) -> Intake:
    """Audio of the segment, each 10 frames captured 0.4 s after those before, from 100 s on."""
    made = Intake(SEGMENT.start, ANCHOR_NS, SEGMENT.start)
    left, at = round(frames * FRAME), SEGMENT.start
    while left > 0:
        samples = np.zeros(min(left, 10 * FRAME), np.float32)
        end = at + len(samples)
        made.add(AudioChunk(at, samples, None, 100 + (end - SEGMENT.start) / 48_000))
        left, at = left - len(samples), end
    return made


def builder() -> EventBuilder:
    numbers = itertools.count(1)
    return EventBuilder(Origin("pi", "kitchen", "base"), lambda: f"id-{next(numbers)}")


def build(
    made: EventBuilder, detection: Detection, label: str = "dog", frames: float = 50
) -> Event:
    return made.build(label, detection, SEGMENT, intake(frames), 102.5)


def test_a_start_has_the_contracts_fields() -> None:
    told = build(builder(), START)
    assert (told.id, told.phase) == ("id-1", Phase.START)
    assert (told.node, told.source, told.checkpoint) == ("pi", "kitchen", "base")
    assert (told.onset, told.onset_s) == ("2023-11-14T22:13:20.400Z", 0.4)
    assert (told.offset, told.offset_s, told.duration_s) == (None, None, 0.12)
    assert (told.peak, told.peak_s, told.mean, told.threshold) == (0.9124, 0.44, 0.8, 0.5)
    assert (told.late, told.reason, told.clip) == (False, None, None)


def test_all_phases_share_the_onset_whatever_the_clock_says_later() -> None:
    segment = Segment(SEGMENT.start, ANCHOR_NS, first_frame=500)
    made = builder()
    start = made.build("dog", START, segment, intake(), 102.5)
    segment.clock.pass_through(SEGMENT.start + 100 * FRAME, ANCHOR_NS + 5_000_000_000)
    later = made.build("dog", replace(START, phase=Phase.END), segment, intake(), 103.0)
    assert later.onset == start.onset
    assert later.offset == segment.utc(segment.sample(513))


def test_latency_counts_from_the_capture_of_what_decided_it() -> None:
    # Decided with the end of frame 512, which is in the second chunk: captured at 100.8 s.
    assert build(builder(), START).latency_ms == pytest.approx(1700)


def test_all_phases_share_the_id_and_the_latency_of_the_start() -> None:
    made = builder()
    start = build(made, START)
    update = build(made, replace(START, phase=Phase.UPDATE, offset=520))
    other = build(made, START, "cat")
    end = build(made, replace(START, phase=Phase.END, offset=525, reason=Reason.GAP))
    assert [told.id for told in (start, update, other, end)] == ["id-1", "id-1", "id-2", "id-1"]
    assert start.latency_ms == update.latency_ms == end.latency_ms
    assert (update.offset_s, update.duration_s) == (None, 0.4)
    assert (end.offset, end.offset_s) == ("2023-11-14T22:13:21.000Z", 1.0)
    assert (end.duration_s, end.reason) == (0.6, Reason.GAP)
    assert build(made, START).id == "id-3"


def test_nothing_lies_after_the_end_of_the_audio() -> None:
    made = builder()
    build(made, START, frames=12.5)
    end = build(made, replace(START, phase=Phase.END), frames=12.5)
    assert (end.offset_s, end.duration_s) == (0.5, 0.1)


def test_what_did_not_start_cannot_end() -> None:
    made = builder()
    with pytest.raises(KeyError):
        build(made, replace(START, phase=Phase.UPDATE))
    build(made, START)
    build(made, replace(START, phase=Phase.END))
    with pytest.raises(KeyError):
        build(made, replace(START, phase=Phase.END))
