"""Excerpts of live sound around events' peaks, and the queue of what is asked about them."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from stand_ins import event

from pe_stream.core.detector import Heard
from pe_stream.core.opinion_requests import (
    EventExcerpt,
    EventExcerpts,
    OpinionQueue,
    OpinionRequest,
)
from pe_stream.core.picture_ring import CameraPicture
from pe_stream.core.types import FRAME, Event, Phase, Reason

S = 48_000
NONE = np.zeros((0, 1), np.float32)


def heard(begin: int, end: int, *events: Event, segment: int = 0, last: bool = False) -> Heard:
    """Samples that say where they are (in frames), so that float32 holds them exactly."""
    samples = (np.arange(begin, end) // FRAME).astype(np.float32)
    return Heard(begin, 0, NONE, list(events), samples, segment=segment, last=last)


def bark(peak_s: float, phase: Phase = Phase.START, number: int = 1, **more: Any) -> Event:
    return event(number, phase, peak_s=peak_s, **more)


def told(excerpts: EventExcerpts, heard: Heard) -> list[EventExcerpt]:
    """As the daemon tells it: events, then what was heard."""
    for each in heard.events:
        excerpts.event(each)
    return excerpts.heard(heard)


def places(found: list[EventExcerpt]) -> list[tuple[float, float]]:
    return [each.span_s for each in found]


def test_an_excerpt_comes_when_so_much_follows_the_peak() -> None:
    excerpts = EventExcerpts(4 * S, 4 * S)
    assert told(excerpts, heard(0, 10 * S)) == []
    assert told(excerpts, heard(10 * S, 11 * S, bark(10.0))) == []
    assert told(excerpts, heard(11 * S, 14 * S - 1)) == []
    (found,) = told(excerpts, heard(14 * S - 1, 15 * S))
    assert (found.event_id, found.label, found.span_s) == ("id-0001", "smoke_alarm", (6.0, 14.0))
    assert found.samples.tolist() == (np.arange(6 * S, 14 * S) // FRAME).tolist()
    assert told(excerpts, heard(15 * S, 30 * S)) == [], "once"


def test_it_is_around_the_peak_as_it_was_told_last() -> None:
    excerpts = EventExcerpts(S, 2 * S)
    told(excerpts, heard(0, 3 * S, bark(2.0)))
    assert told(excerpts, heard(3 * S, 4 * S - 1, bark(3.0, Phase.UPDATE))) == []
    assert told(excerpts, heard(4 * S - 1, 4 * S)) == []
    assert places(told(excerpts, heard(4 * S, 5 * S))) == [(2.0, 5.0)]
    # What is told of it later asks for no other.
    assert told(excerpts, heard(5 * S, 9 * S, bark(6.0, Phase.END))) == []


def test_an_event_that_nobody_saw_begin_has_none() -> None:
    """As the last run's, which a restart closes."""
    excerpts = EventExcerpts(S, S)
    assert told(excerpts, heard(0, 9 * S, bark(2.0, Phase.END, reason=Reason.RESTART))) == []


def test_pictures_are_spread_over_it_and_the_nearest_to_the_peak_is_among_them() -> None:
    asked: list[tuple[int, int]] = []

    def between(begin: int, end: int) -> list[CameraPicture]:
        asked.append((begin, end))
        return [CameraPicture(at, b"%d" % at) for at in range(begin, end, S // 2)]

    excerpts = EventExcerpts(4 * S, 4 * S, between, 4)
    told(excerpts, heard(0, 104 * S))
    (found,) = told(excerpts, heard(104 * S, 108 * S, bark(103.5)))
    assert asked == [(round(99.48 * S), round(107.52 * S))]
    places_s = [int(each) / S for each in found.pictures]
    assert places_s == [99.48, 101.98, 103.48, 107.48]
    told(excerpts, heard(200 * S, 202 * S, segment=200 * S))
    (found,) = told(excerpts, heard(202 * S, 207 * S, bark(2.0), segment=200 * S))
    assert asked[-1] == (200 * S, 206 * S), "absolute, in a later segment too"


def test_where_the_segment_ends_it_is_shorter() -> None:
    excerpts = EventExcerpts(4 * S, 4 * S)
    told(excerpts, heard(0, 3 * S))
    found = told(excerpts, heard(3 * S, 5 * S + 100, bark(2.0, Phase.END), last=True))
    assert found == [], "its start was not told"
    found = told(EventExcerpts(4 * S, 4 * S), heard(0, 5 * S + 100, bark(2.0), last=True))
    assert places(found) == [(0.0, 5.002)]
    assert len(found[0].samples) == 5 * S + 100


def test_a_segment_that_was_cut_off_keeps_its_sound_apart() -> None:
    """Being behind, audio is dropped: nobody says that the segment ends."""
    excerpts = EventExcerpts(S, 4 * S)
    told(excerpts, heard(0, 3 * S, bark(2.0)))
    excerpts.event(bark(2.0, Phase.END, reason=Reason.GAP))
    begin = 8 * S
    both = told(excerpts, heard(begin, begin + 2 * S, bark(1.0, number=2), segment=begin))
    assert [(each.event_id, each.span_s) for each in both] == [("id-0001", (1.0, 3.0))]
    assert set(both[0].samples.tolist()) == set(range(25, 75))
    (second,) = told(excerpts, heard(begin + 2 * S, begin + 6 * S, segment=begin))
    assert (second.event_id, second.span_s) == ("id-0002", (0.0, 5.0))
    assert second.samples[0] == begin / FRAME


def test_segments_that_follow_at_once_are_apart_too() -> None:
    excerpts = EventExcerpts(4 * S, S)
    told(excerpts, heard(0, 3 * S, last=True))
    found = told(excerpts, heard(3 * S, 6 * S, bark(1.0), segment=3 * S))
    assert places(found) == [(0.0, 2.0)]
    assert found[0].samples[0] == 3 * S / FRAME


def test_a_peak_that_is_told_late_has_what_is_left_of_it() -> None:
    excerpts = EventExcerpts(S, S)
    told(excerpts, heard(0, 20 * S))
    assert places(told(excerpts, heard(20 * S, 21 * S, bark(9.5)))) == [(9.0, 10.52)]


def test_where_the_peak_itself_is_gone_it_has_what_was_heard_last() -> None:
    """As of a pattern, which is told when its last sound has come, perhaps minutes later."""
    excerpts = EventExcerpts(2 * S, S)
    told(excerpts, heard(0, 20 * S))
    assert places(told(excerpts, heard(20 * S, 21 * S, bark(1.0)))) == [(18.0, 21.0)]
    assert told(excerpts, heard(21 * S, 40 * S, bark(1.0, Phase.END))) == []


def request(number: int, asked_s: float) -> OpinionRequest:
    samples = np.zeros(1, np.float32)
    return OpinionRequest(EventExcerpt(f"{number}", "dog", samples, (0.0, 1.0)), asked_s)


def ids(requests: list[OpinionRequest]) -> list[str]:
    return [each.excerpt.event_id for each in requests]


def test_the_newest_is_seen_to_first() -> None:
    queue = OpinionQueue(3, 60.0)
    for number in range(3):
        assert queue.put(request(number, number)) == []
    taken = [queue.take() for _ in range(4)]
    assert ids([each for each in taken if each]) == ["2", "1", "0"]
    assert taken[3] is None


def test_the_oldest_are_given_up() -> None:
    queue = OpinionQueue(2, 60.0)
    assert ids([each for number in range(4) for each in queue.put(request(number, 0.0))]) == [
        "0",
        "1",
    ]
    assert len(queue) == 2


@pytest.mark.parametrize(("now_s", "gone"), [(60.0, []), (60.1, ["0"]), (99.0, ["0", "1", "2"])])
def test_what_is_too_old_is_given_up(now_s: float, gone: list[str]) -> None:
    queue = OpinionQueue(9, 60.0)
    for number in range(3):
        queue.put(request(number, number))
    assert ids(queue.expired(now_s)) == gone
    assert len(queue) == 3 - len(gone)
