"""Live sources whose scores come from elsewhere, when they come: late, out of order, or not."""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, cast

import pytest
from pipeline import test_live
from stand_ins import LevelEngine, ScriptedSource, chunk, eventually, lost, scorer
from timing import within

from pe_stream.core.types import FRAME, LabelRule, Window
from pe_stream.daemon.watchdog import STUCK_S, Watchdog
from pe_stream.labels.prepare import PreparedLabels
from pe_stream.model.live_engine import Answered, Asked
from pe_stream.model.prompts import LabelEmbeddings
from pe_stream.pipeline import channel
from pe_stream.pipeline.live import Live

SLOW_S = channel.SLOW_S

LOUD = LabelRule("loud", 0.5, 0.4, update_every=0)


@pytest.fixture(autouse=True)
def patient(monkeypatch: pytest.MonkeyPatch) -> None:
    """However long a busy machine takes to answer by hand, the engine is not told as slow."""
    monkeypatch.setattr(channel, "SLOW_S", 3600.0)


class FarEngine:
    """Answers by hand; every source has a lane of its own."""

    most_together = 1000

    def __init__(self, engine: LevelEngine, context: int = 0) -> None:
        self.labels = cast("Any", engine.labels)
        self.context = context
        self.arrived: Callable[[], None] = lambda: None
        self.waiting: dict[str, Asked[object]] = {}
        self.begun: list[str] = []
        self.closed = threading.Event()
        self._engine = engine
        self._answers: queue.SimpleQueue[Answered[object]] = queue.SimpleQueue()
        self._of: dict[int, str] = {}
        self._answered: list[Asked[object]] = []

    def stream(self, source: str) -> object:
        made = object()
        self._of[id(made)] = source
        self.begun.append(source)
        return made

    def takes(self, stream: object) -> bool:
        return self._of[id(stream)] not in self.waiting

    def ask(self, asked: Sequence[Asked[object]], *, embed: bool) -> None:
        for each in asked:
            assert each.source not in self.waiting
            self.waiting[each.source] = each

    def answers(self) -> list[Answered[object]]:
        taken = []
        while not self._answers.empty():
            taken.append(self._answers.get())
            self.waiting.pop(taken[-1].asked[0].source)  # not before: it is accepted first
        return taken

    def close(self) -> None:
        self.closed.set()

    def window(self, source: str) -> Window:
        """The window that is asked for, once it is."""
        assert eventually(lambda: self.waiting.get(source) not in (None, *self._answered))
        return self.waiting[source].window

    def answer(
        self, source: str, reason: str | None = None, labels: LabelEmbeddings | None = None
    ) -> Window:
        """labels: that the scores are of; default: those that are asked for."""
        window, labels = self.window(source), labels or self.labels
        found = None
        if reason is None:
            own = Window(window.start, window.samples[window.before :], window.last, window.done)
            found = self._engine.hear_and_embed([], [own], embed=False)
        asked = self.waiting[source]
        self._answered.append(asked)
        self._answers.put(Answered([asked], found, labels, 0.001, reason))
        self.arrived()
        return window


@contextmanager
def far(names: Sequence[str], **given: Any) -> Iterator[tuple[Live, FarEngine, Any, Any]]:
    hears = scorer([LOUD])
    engine = FarEngine(cast("LevelEngine", hears.engine), **given)
    sources = {name: ScriptedSource() for name in names}
    scripts = {name: [source] for name, source in sources.items()}
    with test_live.listening(scripts, hears, engine=engine) as (live, told):
        yield live, engine, sources, told
        assert told.failures == []


def taken(live: Live, source: str, frames: int) -> bool:
    """Whether the scoring thread comes to have so many frames, be it that some are lost by then."""

    def has() -> bool:
        account = live.statuses[source].account
        return account.heard + account.lost == frames * FRAME

    return eventually(has)


def waited(live: Live, source: str, waits: int) -> bool:
    """Whether an answer is waited for in more turns than so many, in time."""
    return eventually(lambda: live.statuses[source].waits > waits)


def test_a_lane_that_does_not_answer_holds_up_no_other() -> None:
    with far(["slow", "quick"]) as (_, engine, sources, told):
        for source in sources.values():
            source.give(chunk(0, 5, 0.1, anchor_ns=0))
        engine.window("slow")
        for start in range(5, 100, 5):
            engine.answer("quick")
            sources["quick"].give(chunk(start, 5, 0.9))
        engine.answer("quick")
        sources["quick"].give(None)
        assert engine.answer("quick").last
        assert eventually(lambda: told.frames.get("quick") == 100)
        assert told.phases() == [("quick", "start"), ("quick", "end")]
        assert "slow" not in told.frames
        assert not told.end, "one source has not ended"
        sources["slow"].give(None)
        engine.answer("slow")
        assert engine.answer("slow").last
        assert eventually(lambda: told.end == [None])
        assert told.frames["slow"] == 5


def test_what_was_not_answered_is_asked_again_with_what_is_newest_and_nothing_is_lost() -> None:
    with far(["a"]) as (live, engine, sources, told):
        sources["a"].give(chunk(0, 5, 0.1, anchor_ns=0))
        assert engine.window("a").frames == 5
        sources["a"].give(chunk(5, 22, 0.9))
        assert taken(live, "a", 27)
        for _ in range(3):
            assert live.statuses["a"].stretched == 0
            engine.answer("a", "gone")
            assert engine.window("a").frames == 25
        engine.answer("a")
        assert eventually(lambda: live.statuses["a"].stretched == 4)  # of five hops, once
        sources["a"].give(None)
        assert engine.answer("a").last
        assert eventually(lambda: told.end == [None])
    assert told.frames == {"a": 27}
    assert live.statuses["a"].account.lost == 0
    assert [event.onset_s for event in told.said] == [0.2, 0.2]


def test_beyond_the_window_the_oldest_is_one_gap_and_counted() -> None:
    with far(["a"]) as (live, engine, sources, told):
        sources["a"].give(chunk(0, 5, 0.1, anchor_ns=0))
        engine.answer("a")
        for start in range(5, 95, 5):
            sources["a"].give(chunk(start, 5, 0.9))
            assert taken(live, "a", start + 5)
            engine.answer("a", "gone")
        assert eventually(lambda: live.statuses["a"].account.lost > 0)
        engine.window("a")
        sources["a"].give(None)
        engine.answer("a")
        assert engine.answer("a").last
        assert eventually(lambda: told.end == [None])
        account = live.statuses["a"].account
    assert account.lost + account.heard == 95 * FRAME
    assert told.frames["a"] * FRAME == account.heard
    assert account.lost <= (95 - 50) * FRAME


def test_what_is_open_ends_though_no_engine_answers() -> None:
    with far(["a"]) as (live, engine, sources, told):
        for start in range(0, 30, 5):
            anchor = None if start else 0
            sources["a"].give(chunk(start, 5, 0.9, anchor_ns=anchor))
            engine.answer("a")
        assert told.phases() == [("a", "start")]
        for start in range(30, 120, 5):
            sources["a"].give(chunk(start, 5, 0.9))
            assert taken(live, "a", start + 5)
            engine.answer("a", "gone")
        assert eventually(lambda: told.phases() == [("a", "start"), ("a", "end")])
        assert told.said[-1].reason == "gap"
        assert live.statuses["a"].engine_reason == "gone"


def test_an_engine_that_is_away_is_told_and_no_reason_to_start_again(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    watchdog = Watchdog()
    with far(["a", "b"]) as (live, engine, sources, _):
        for source in sources.values():
            source.give(chunk(0, 5, 0.1, anchor_ns=0))
        engine.answer("a")
        engine.answer("b")
        before = live.statuses
        assert watchdog.check(before)
        assert before["a"].engine_reason is None
        beyond = round((STUCK_S + 5) * 25)
        for source in sources.values():
            source.give(chunk(5, beyond, 0.1))
        engine.answer("a", "https://ears: connection refused")
        assert eventually(lambda: live.statuses["a"].engine_reason is not None)
        status = live.statuses["a"]
        assert status.engine_reason == "https://ears: connection refused"
        assert live.statuses["b"].engine_reason is None, "it has been waiting for less than that"
        for name, then in before.items():
            assert taken(live, name, 5 + beyond)
            assert waited(live, name, then.waits)
        assert watchdog.check(live.statuses)
        assert waited(live, "a", live.statuses["a"].waits)
        monkeypatch.setattr(channel, "SLOW_S", SLOW_S)
        assert eventually(lambda: live.statuses["b"].engine_reason == "it does not answer", 10)
        assert live.statuses["b"].engine_away_s >= SLOW_S == 3
        engine.answer("a")
        assert eventually(lambda: live.statuses["a"].engine_reason is None)
        assert live.statuses["a"].engine_away_s == 0.0


def test_scores_of_labels_that_are_gone_are_asked_for_again() -> None:
    with far(["a"]) as (live, engine, sources, told):
        sources["a"].give(chunk(0, 20, 0.9, anchor_ns=0))
        engine.window("a")
        other = LabelRule("other", 0.7, 0.6, update_every=0)
        new = PreparedLabels(cast("Any", LevelEngine(["x", "other"]).labels), (LOUD, other))
        old = engine.labels
        live.change(new, lambda *_: True).result(within(10))
        asked = engine.waiting["a"].window
        engine.answer("a", labels=old)
        assert eventually(lambda: engine.window("a") is not asked)
        assert told.frames == {}
        assert live.statuses["a"].engine_reason is None


def test_a_source_that_was_lost_goes_on_with_a_new_stream() -> None:
    with far(["a"]) as (_, engine, sources, _told):
        sources["a"].give(chunk(0, 20, 0.9, anchor_ns=0))
        engine.window("a")
        before = engine.waiting["a"].stream
        sources["a"].give(lost())
        assert eventually(lambda: engine.begun == ["a", "a"])
        assert engine.answer("a").last is False
        assert engine.window("a").last
        assert engine.waiting["a"].stream is not before


def test_a_window_comes_with_the_context_that_is_held() -> None:
    with far(["a"], context=3) as (_, engine, sources, _told):
        sources["a"].give(chunk(0, 50, 0.1, anchor_ns=0))
        assert engine.answer("a").before == 0
        contexts = []
        for start in range(50, 75, 5):
            sources["a"].give(chunk(start, 5, 0.1))
            window = engine.answer("a")
            assert window.frames == 50
            assert len(window.samples) == 50 * FRAME + window.before
            contexts.append(window.before)
        assert contexts == [3 * FRAME] * 5
