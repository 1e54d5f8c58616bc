from __future__ import annotations

import logging
import threading
from typing import Self

import pytest
from stand_ins import ScriptedSource, chunk, eventually, lost

from pe_stream.audio import feed as feed_module
from pe_stream.audio.feed import LONGEST_S, QUEUE_S, REFUSED_S, Feed, Mark
from pe_stream.audio.limits import TooCostlyError
from pe_stream.audio.microphone import Absent
from pe_stream.audio.source import Source
from pe_stream.core.types import FRAME, FRAME_S, AudioChunk
from pe_stream.errors import RefusedError, UnavailableError


@pytest.fixture(autouse=True)
def short_waits(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(feed_module, "delay_s", lambda *_, **__: 0.01)


class Bench:
    """A feed over scripted sources, and all that came out of it."""

    def __init__(self, *openings: ScriptedSource | Exception) -> None:
        self.opened: list[ScriptedSource] = []
        self.failures: list[BaseException] = []
        self.items: list[AudioChunk | Mark] = []
        self._openings = iter(openings)
        self.feed = Feed("kitchen", self._open, arrived=lambda: None, failed=self.failures.append)

    def _open(self, first_sample: int, at_s: float | None) -> ScriptedSource:
        opening = next(self._openings)
        if isinstance(opening, Exception):
            raise opening
        opening.first_sample, opening.at_s = first_sample, at_s
        self.opened.append(opening)
        return opening

    def take(self, count: int) -> list[AudioChunk | Mark]:
        def enough() -> bool:
            self.items += self.feed.take()
            return len(self.items) >= count

        assert eventually(enough), self.items
        return self.items

    def __enter__(self) -> Self:
        self.feed.open()
        self.feed.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.feed.stop()
        self.feed.join(2)


def test_chunks_come_out_in_order_and_the_end_is_marked() -> None:
    chunks = [chunk(0, 2, 0.1, anchor_ns=7), chunk(2, 2, 0.2)]
    with Bench(ScriptedSource().give(*chunks, None)) as bench:
        assert bench.take(3) == [*chunks, Mark.ENDED]
    assert bench.feed.delivered == 4 * FRAME


def test_a_source_missing_at_first_is_told_to_whoever_opens() -> None:
    bench = Bench(lost("no such device"))
    with pytest.raises(UnavailableError, match="kitchen: no such device"):
        bench.feed.open()


def test_a_lost_source_is_marked_and_opened_again_until_it_is_back(
    caplog: pytest.LogCaptureFixture,
) -> None:
    before, after = chunk(0, 2, 0.1, anchor_ns=7), chunk(100, 2, 0.1, anchor_ns=9)
    with (
        caplog.at_level(logging.INFO, "pe_stream.audio.feed"),
        Bench(
            ScriptedSource().give(before, lost("unplugged")),
            lost("still away"),
            ScriptedSource().give(after),
        ) as bench,
    ):
        assert bench.take(4) == [before, Mark.LOST, Mark.LOST, after]
    # what would have come meanwhile can be counted on
    assert (bench.opened[0].first_sample, bench.opened[0].at_s) == (0, None)
    assert (bench.opened[1].first_sample, bench.opened[1].at_s) == (2 * FRAME, before.captured_s)
    assert "kitchen: unplugged; trying again" in caplog.text
    assert "kitchen: still away; trying again" in caplog.text


def test_a_source_that_is_absent_is_waited_for(caplog: pytest.LogCaptureFixture) -> None:
    before, after = chunk(0, 2, 0.1, anchor_ns=7), chunk(100, 2, 0.1, anchor_ns=9)
    source = ScriptedSource()
    source.give(Absent("not there"), Absent("not there"), Absent("busy"), before)
    source.give(Absent("unplugged"), Absent("unplugged"), after)
    with caplog.at_level(logging.INFO, "pe_stream.audio.feed"), Bench(source) as bench:
        assert bench.take(5) == [Mark.LOST, Mark.LOST, before, Mark.LOST, after]
        assert not source.closed.is_set()
    assert caplog.messages[:5] == [
        "kitchen: not there; waiting for it",
        "kitchen: busy; waiting for it",
        "kitchen: receiving audio from a scripted source",
        "kitchen: unplugged; waiting for it",
        "kitchen: receiving audio from a scripted source",
    ]


def test_an_error_of_ours_ends_the_feed_and_is_told() -> None:
    with Bench(ScriptedSource().give(KeyError("bug"))) as bench:
        assert eventually(lambda: bench.failures)
    assert isinstance(bench.failures[0], KeyError)


def test_what_finds_the_queue_full_is_dropped_and_the_next_has_an_anchor() -> None:
    room = round(QUEUE_S / FRAME_S) + 1
    fill = [chunk(i, 1, 0.1, anchor_ns=None if i else 0) for i in range(room + 3)]
    source = ScriptedSource().give(*fill)
    with Bench(source) as bench:
        assert eventually(lambda: bench.feed.delivered == len(fill) * FRAME)
        assert len(bench.take(room)) == room
        source.give(chunk(len(fill), 1, 0.1))
        last = bench.take(room + 1)[-1]
    assert isinstance(last, AudioChunk)
    assert last.start == len(fill) * FRAME
    assert last.anchor_ns == len(fill) * 40_000_000


def test_a_source_that_cannot_come_back_ends_the_feed() -> None:
    source = ScriptedSource().give(chunk(0, 2, 0.1, anchor_ns=7), lost("broken file"))
    source.returns = False
    with Bench(source) as bench:
        assert bench.take(3)[1:] == [Mark.LOST, Mark.ENDED]
    assert not bench.failures
    assert str(bench.feed.error) == "kitchen: broken file"
    assert bench.feed.lost_reason == "broken file"


def test_a_stop_while_the_source_is_being_opened_again_closes_it() -> None:
    late = ScriptedSource()
    with Bench(ScriptedSource().give(lost()), late) as bench:
        reopen = bench.feed._opener

        def slow(first_sample: int, at_s: float | None) -> Source:
            bench.feed._stopping.set()
            return reopen(first_sample, at_s)

        bench.feed._opener = slow
        assert eventually(late.closed.is_set)


def test_stop_ends_a_feed_that_waits_for_sound() -> None:
    with Bench(ScriptedSource()) as bench:
        bench.feed.stop()
        bench.feed.join(2)
        assert "source kitchen" not in {thread.name for thread in threading.enumerate()}
    assert bench.opened[0].closed.is_set()


def test_a_server_that_refuses_us_is_asked_less_often(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[tuple[int, float]] = []

    def note(failures: int, longest_s: float, chance: float) -> float:
        assert 0 <= chance < 1
        asked.append((failures, longest_s))
        return 0.01

    monkeypatch.setattr(feed_module, "delay_s", note)
    refused = RefusedError("401")
    with Bench(ScriptedSource().give(refused), refused, lost(), ScriptedSource()) as bench:
        assert eventually(lambda: len(bench.opened) == 2)
    assert asked == [(1, REFUSED_S), (2, REFUSED_S), (3, LONGEST_S)]


def test_a_source_that_costs_too_much_is_left_alone_for_long(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    asked: list[tuple[int, float, float]] = []

    def note(attempt: int, longest_s: float, _chance: float, *, first_s: float = 1.0) -> float:
        asked.append((attempt, longest_s, first_s))
        return 0.01

    monkeypatch.setattr(feed_module, "delay_s", note)
    costly = TooCostlyError("too expensive to decode")
    with Bench(ScriptedSource().give(costly), costly, lost(), costly, ScriptedSource()) as bench:
        assert eventually(lambda: len(bench.opened) == 2)
    # What it does between does not count for it.
    assert asked == [(1, 300, 30), (2, 300, 30), (3, 4, 1), (3, 300, 30)]
    assert "too expensive to decode; trying again in 0 s" in caplog.text


def test_a_feed_tells_why_nothing_comes() -> None:
    first, second = ScriptedSource(), ScriptedSource()
    with Bench(first, second) as bench:
        assert bench.feed.lost_reason is None
        first.give(UnavailableError("the camera has hung up"))
        assert eventually(lambda: bench.feed.lost_reason == "the camera has hung up")
        second.give(chunk(0, 2, 0.1, anchor_ns=7))
        assert eventually(lambda: bench.feed.lost_reason is None)


def test_a_source_is_opened_and_read_on_the_feeds_thread() -> None:
    source = ScriptedSource().give(chunk(0, 2, 0.1, anchor_ns=7), None)
    bench = Bench(source)
    assert bench.feed.open_soon().result(5) == source.describe
    bench.feed.start()  # it has begun
    assert bench.take(2)[-1] is Mark.ENDED
    assert (source.first_sample, source.at_s) == (0, None)
    bench.feed.join(2)


def test_a_source_that_cannot_be_opened_is_told_once_to_whoever_waits(
    caplog: pytest.LogCaptureFixture,
) -> None:
    bench = Bench(lost("no such device"))
    opening = bench.feed.open_soon()
    with pytest.raises(UnavailableError, match="kitchen: no such device"):
        opening.result(5)
    bench.feed.stop()
    bench.feed.join(2)
    assert caplog.messages == []
    assert bench.failures == []


def test_a_source_that_could_not_be_opened_is_tried_again_where_nobody_gives_up(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(feed_module, "FIRST_S", 0.01)
    there = ScriptedSource().give(chunk(0, 2, 0.1, anchor_ns=7), None)
    bench = Bench(lost("not yet"), there)
    assert isinstance(bench.feed.open_soon().exception(5), UnavailableError)
    assert [item for item in bench.take(3) if isinstance(item, Mark)] == [Mark.LOST, Mark.ENDED]
    bench.feed.join(2)


def test_an_error_of_ours_while_opening_is_told_to_both() -> None:
    bench = Bench(RuntimeError("broken"))
    assert str(bench.feed.open_soon().exception(5)) == "broken"
    assert eventually(lambda: [str(each) for each in bench.failures] == ["broken"])


def test_a_source_that_takes_its_time_says_so() -> None:
    may_open = threading.Event()

    def opener(_first_sample: int, _at_s: float | None) -> Source:
        may_open.wait(10)
        return ScriptedSource()

    feed = Feed("kitchen", opener, arrived=lambda: None, failed=lambda _: None)
    assert feed.lost_reason is None
    opening = feed.open_soon()
    assert feed.lost_reason == "it is still being opened"
    may_open.set()
    opening.result(5)
    assert feed.lost_reason is None
    feed.stop()
    feed.join(2)
