from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from itertools import count
from typing import Any

import pytest
import torch
from stand_ins import LevelEngine, ScriptedSource, chunk, event, eventually, lost, scorer
from timing import within

from pe_stream.audio import feed as feed_module
from pe_stream.core.detector import Heard
from pe_stream.core.ledger import SourceState
from pe_stream.core.level_meter import SoundLevel
from pe_stream.core.listener import LabelsOf, Listener
from pe_stream.core.types import Event, Follow, FrameEmbeddings, LabelRule, Phase, Reason
from pe_stream.errors import UnavailableError
from pe_stream.labels.prepare import PreparedLabels
from pe_stream.model.live_threads import LiveThreads
from pe_stream.pipeline.live import Live
from pe_stream.pipeline.scorer import Scorer

LOUD = LabelRule("loud", 0.5, 0.4, update_every=0)
OTHER = LabelRule("other", 0.7, 0.6, update_every=0)


class Told(Listener):
    """Keeps what it is told."""

    def __init__(self) -> None:
        self.said: list[Event] = []
        self.frames: dict[str, int] = {}
        self.end: list[BaseException | None] = []
        self.failures: list[BaseException] = []
        self.embeddings: list[FrameEmbeddings | None] = []
        self.names: tuple[str, ...] = ()
        self.ruled: list[LabelRule] = []
        self.order: list[str] = []
        self.levels: list[tuple[str, float, float, bool]] = []

    def level(self, source: str, level: SoundLevel) -> None:
        self.levels.append((source, level.samples / 48_000, level.mean_dbfs, level.last))

    def labels(self, of: LabelsOf, keys: Mapping[str, str]) -> None:
        self.order.append(f"labels {dict(of)} {dict(keys)}")

    def rules(self, source: str, rules: Sequence[LabelRule]) -> None:
        self.ruled.append(rules[0])
        self.order.append(f"rules of {source}")

    def event(self, event: Event) -> None:
        self.order.append(f"{event.phase} {event.label}")
        self.said.append(event)  # last: it is waited for

    def scores(self, source: str, names: Sequence[str], heard: Heard) -> None:
        self.names = tuple(names)
        self.frames[source] = self.frames.get(source, 0) + len(heard.scores)
        self.embeddings.append(heard.embeddings)

    def ended(self, error: BaseException | None) -> None:
        self.end.append(error)

    def phases(self, label: str = "loud") -> list[tuple[str, str]]:
        return [(e.source, e.phase) for e in self.said if e.label == label]


@contextmanager
def listening(
    sources: dict[str, list[ScriptedSource]],
    hears: Scorer,
    allowed: Callable[[str, str], bool] = lambda _source, _label: True,
    *,
    embed: bool = False,
    levels: bool = False,
    told: Told | None = None,
    engine: Any = None,
) -> Iterator[tuple[Live, Told]]:
    told = told or Told()
    openings = {name: iter(each) for name, each in sources.items()}

    def opener(name: str) -> Callable[[int, float | None], ScriptedSource]:
        def open_next(_first: int, _at_s: float | None) -> ScriptedSource:
            try:
                return next(openings[name])
            except StopIteration:
                raise lost() from None

        return open_next

    opening = {name: opener(name) for name in sources}
    live = Live(
        opening,
        hears,
        told,
        node="n",
        hears=allowed,
        ended=told.ended,
        failed=told.failures.append,
        embed=embed,
        engine=engine,
        levels=levels,
    )
    live.open()
    live.start()
    try:
        yield live, told
    finally:
        live.stop()


def test_levels_are_told_second_by_second_and_none_of_what_is_lost() -> None:
    mic = ScriptedSource()
    with listening({"a": [mic]}, scorer([LOUD]), levels=True) as (live, told):
        assert live.statuses["a"].level is None
        mic.give(chunk(0, 30, 0.1, anchor_ns=0), chunk(30, 30, 0.1))
        assert eventually(lambda: len(told.levels) == 2)
        known = live.statuses["a"].level
        assert known is not None
        assert known.mean_dbfs == pytest.approx(-20, abs=0.1)
        assert known.end_ns == 2 * 10**9
        mic.give(lost())
        assert eventually(lambda: live.statuses["a"].account.state == "lost")
        assert live.statuses["a"].level is None
        assert eventually(lambda: len(told.levels) == 3)
    assert told.levels == [
        ("a", 1.0, -20.0, False),
        ("a", 1.0, -20.0, False),
        ("a", pytest.approx(0.4), -20.0, True),
    ]


def test_levels_are_not_measured_unless_they_are_wanted() -> None:
    mic = ScriptedSource()
    with listening({"a": [mic]}, scorer([LOUD])) as (live, told):
        mic.give(chunk(0, 60, 0.1, anchor_ns=0), None)
        assert eventually(lambda: told.end)
        assert live.statuses["a"].level is None
    assert told.levels == []


def test_sources_are_scored_together_and_their_events_kept_apart() -> None:
    a, b = ScriptedSource(), ScriptedSource()
    with listening({"a": [a], "b": [b]}, scorer([LOUD])) as (_, told):
        a.give(chunk(0, 20, 0.9, anchor_ns=0), chunk(20, 20, 0.1), None)
        b.give(chunk(0, 20, 0.1, anchor_ns=0), chunk(20, 20, 0.9), None)
        assert eventually(lambda: told.end)
    assert told.end == [None]
    by_source = {s: [e for e in told.said if e.source == s] for s in "ab"}
    assert [(e.phase, e.onset_s, e.offset_s) for e in by_source["a"]] == [
        (Phase.START, 0.0, None),
        (Phase.END, 0.0, 0.8),
    ]
    assert [(e.phase, e.onset_s, e.offset_s) for e in by_source["b"]] == [
        (Phase.START, 0.8, None),
        (Phase.END, 0.8, 1.6),
    ]
    assert told.frames == {"a": 40, "b": 40}


def test_threads_follow_the_load_on_the_thread_that_scores() -> None:
    adjusting: list[str] = []

    def usage() -> None:
        adjusting.append(threading.current_thread().name)

    hears = replace(scorer([LOUD]), threads=LiveThreads(usage, clock=count().__next__))
    source = ScriptedSource()
    before = torch.get_num_threads()
    with listening({"a": [source]}, hears) as (_, told):
        source.give(chunk(0, 20, 0.9, anchor_ns=0), chunk(20, 20, 0.1), None)
        assert eventually(lambda: told.end)
    assert adjusting
    assert set(adjusting) == {"scoring"}
    assert torch.get_num_threads() == before


def test_a_label_is_heard_only_where_it_is_wanted() -> None:
    a, b = ScriptedSource(), ScriptedSource()
    loud = [chunk(0, 20, 0.9, anchor_ns=0), None]
    with listening(
        {"a": [a], "b": [b]}, scorer([LOUD, OTHER]), lambda s, label: (s, label) != ("b", "loud")
    ) as (_, told):
        a.give(*loud)
        b.give(*loud)
        assert eventually(lambda: told.end)
    assert {source for source, _ in told.phases("loud")} == {"a"}
    assert {source for source, _ in told.phases("other")} == {"a", "b"}


def test_thresholds_that_follow_are_told_once_they_move(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pe_stream.core.adaptive_threshold.MINUTE", 20)
    source, rule = ScriptedSource(), replace(LOUD, follow=Follow(quantile=0.5))
    with listening({"a": [source]}, scorer([rule, OTHER])) as (live, listener):
        told = listener.ruled
        source.give(chunk(0, 60, 0.45, anchor_ns=0))
        assert eventually(lambda: len(told) == 2)
        live.set_rule("a", "other", 0.8, enabled=None)
        assert eventually(lambda: len(told) == 3)
        live.set_rule("a", "loud", 0.4, enabled=None)
        assert eventually(lambda: len(told) == 4)
        live.set_rule("a", "loud", 0.9, enabled=None)
        assert eventually(lambda: len(told) == 5)
        assert [rule.threshold for rule in live.rules["a"]] == [0.9, 0.8]
    first, raised, *later = [rule.threshold for rule in told]
    assert first == 0.5
    assert 0.55 < raised < 0.6
    assert later == [raised, raised, 0.9], "what is set is the least, and stays so"


def test_stop_closes_open_events_even_while_a_scoring_hangs(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("pe_stream.pipeline.live.STOP_S", 0.1)
    hang, hangs, release = threading.Event(), threading.Event(), threading.Event()

    def before() -> None:
        if hang.is_set():
            hangs.set()
            release.wait(within(60))

    source = ScriptedSource()
    with listening({"a": [source]}, scorer([LOUD], before=before)) as (live, told):
        source.give(chunk(0, 20, 0.9, anchor_ns=0))
        assert eventually(lambda: told.said)
        hang.set()
        source.give(chunk(20, 20, 0.9))
        assert hangs.wait(within(10))
        live.stop()
        assert [(e.phase, e.reason) for e in told.said] == [
            (Phase.START, None),
            (Phase.END, Reason.STOPPED),
        ]
        before_release = list(told.said)
        release.set()
    assert told.said == before_release


@pytest.mark.parametrize("where", ["event", "scores"])
def test_a_stop_touches_no_detector_that_is_in_use(
    where: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """What is told does not come back, as on a disk that stands still."""
    monkeypatch.setattr("pe_stream.pipeline.live.STOP_S", 0.1)
    inside, release = threading.Event(), threading.Event()
    source = ScriptedSource()
    with listening({"a": [source]}, scorer([LOUD])) as (live, told):
        tell = getattr(told, where)

        def slowly(*what: Any) -> None:
            tell(*what)
            if told.said:
                inside.set()
                release.wait(within(60))

        monkeypatch.setattr(told, where, slowly)
        source.give(chunk(0, 20, 0.9, anchor_ns=0))
        assert inside.wait(within(10))
        detector = live._channels["a"].detector
        stops: list[bool] = []
        stop = detector.stop

        def stopped(reason: Reason) -> list[Event]:
            stops.append(release.is_set())
            return stop(reason)

        monkeypatch.setattr(detector, "stop", stopped)
        live.stop()
        assert stops == []
        assert "open events are closed at the next start" in caplog.text
        release.set()
        assert eventually(lambda: not live._worker.running)
    assert stops == [True]  # at the second stop, when nobody else touches it


def test_a_lost_source_closes_its_events_and_leaves_the_others_alone(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(feed_module, "delay_s", lambda *_: 0.01)
    first, back, other = ScriptedSource(), ScriptedSource(), ScriptedSource()
    with listening({"a": [first, back], "b": [other]}, scorer([LOUD])) as (live, told):
        other.give(chunk(0, 20, 0.9, anchor_ns=0))
        first.give(chunk(0, 20, 0.9, anchor_ns=0), lost())
        assert eventually(lambda: ("a", Phase.END) in told.phases())
        assert [e.reason for e in told.said if e.phase is Phase.END] == [Reason.GAP]
        back.give(chunk(100, 20, 0.9, anchor_ns=5))
        assert eventually(lambda: told.phases().count(("a", Phase.START)) == 2)
        assert eventually(lambda: live.statuses["a"].account.state is SourceState.HEARING)
        assert live.statuses["a"].account.lost == 80 * 1920
        assert ("b", Phase.END) not in told.phases()


def test_set_rule_changes_one_label_and_keeps_the_ratio() -> None:
    source = ScriptedSource()
    with listening({"a": [source]}, scorer([LOUD, OTHER])) as (live, told):
        live.set_rule("a", "loud", 0.25, enabled=None)
        live.set_rule("a", "just gone", 0.25, enabled=None)
        live.ready(within(10))  # else a turn that has begun might take the sound before
        source.give(chunk(0, 20, 0.22, anchor_ns=0), chunk(20, 10, 0.26), None)
        assert eventually(lambda: told.end)
        (start, end) = told.said
        assert (start.threshold, start.onset_s, end.label) == (0.25, 0.0, "loud")


def test_disabling_a_label_ends_its_event() -> None:
    source = ScriptedSource()
    with listening({"a": [source]}, scorer([LOUD])) as (live, told):
        source.give(chunk(0, 20, 0.9, anchor_ns=0))
        assert eventually(lambda: told.said)
        live.set_rule("a", "loud", None, enabled=False)
        assert eventually(lambda: told.phases() == [("a", Phase.START), ("a", Phase.END)])
        source.give(chunk(20, 20, 0.9), None)
        assert eventually(lambda: told.end)
        assert len(told.said) == 2


def test_labels_change_without_losing_a_frame() -> None:
    source = ScriptedSource()
    hears = scorer([LOUD])
    with listening({"a": [source]}, hears) as (live, told):
        source.give(chunk(0, 20, 0.9, anchor_ns=0))
        assert eventually(lambda: told.said)
        embeddings = LevelEngine(["other", "loud"]).labels
        new = PreparedLabels(embeddings, (OTHER, replace(LOUD, threshold=0.8)))  # type: ignore[arg-type]
        assert live.change(new, lambda _s, _l: True).result(within(10)) is None
        source.give(chunk(20, 20, 0.9), None)
        assert eventually(lambda: told.end)
    assert told.names == ("other", "loud")
    assert told.frames == {"a": 40}
    assert told.phases("loud") == [("a", Phase.START), ("a", Phase.END)]
    assert told.phases("other") == [("a", Phase.START), ("a", Phase.END)]


def test_labels_are_told_after_the_events_they_end_and_before_their_rules() -> None:
    sources = {"a": [ScriptedSource()], "b": [ScriptedSource()]}
    read: list[tuple[str, ...]] = []

    class Reader(Told):
        def labels(self, of: LabelsOf, keys: Mapping[str, str]) -> None:
            super().labels(of, keys)
            if self.order[:-1]:
                rules = (*live.rules.values(), *live.in_force.values())
                read.extend(tuple(rule.name for rule in each) for each in rules)

    def hears(source: str, label: str) -> bool:
        return (source, label) != ("b", "other")

    with listening(sources, scorer([LOUD]), hears, told=Reader()) as (live, told):
        assert told.order == [
            "labels {'a': ['loud'], 'b': ['loud']} {}",
            "rules of a",
            "rules of b",
        ]
        sources["a"][0].give(chunk(0, 20, 0.9, anchor_ns=0))
        assert eventually(lambda: told.said)
        del told.order[1:]
        new = PreparedLabels(LevelEngine(["other"]).labels, (OTHER,), {"other": "k"})  # type: ignore[arg-type]
        assert live.change(new, hears).result(within(10)) is None
        assert told.order[1:] == [
            "end loud",
            "labels {'a': ['other'], 'b': []} {'other': 'k'}",
            "rules of a",
            "rules of b",
        ]
    assert read == [("other",)] * 4, "whoever is told can read the rules already"


def test_labels_that_are_kept_keep_what_was_set() -> None:
    source = ScriptedSource()
    hears = scorer([LOUD, OTHER])
    with listening({"a": [source]}, hears) as (live, _):
        live.set_rule("a", "loud", 0.25, enabled=None)
        live.set_rule("a", "other", 0.25, enabled=None)
        embeddings = LevelEngine(["loud", "other"]).labels
        new = PreparedLabels(embeddings, (LOUD, replace(OTHER, threshold=0.9)))  # type: ignore[arg-type]
        assert live.change(new, lambda _s, _l: True, keep={"loud"}).result(within(10)) is None
        rules = live._channels["a"].detector.rules
        assert [rule.threshold for rule in rules] == [0.25, 0.9]


def test_embeddings_are_handed_on_where_they_are_wanted() -> None:
    for embed in (True, False):
        source = ScriptedSource()
        source.give(chunk(0, 20, 0.9, anchor_ns=0), None)
        with listening({"a": [source]}, scorer([LOUD]), embed=embed) as (_, told):
            assert eventually(lambda heard=told: heard.end)  # type: ignore[misc]
        assert all((each is not None) == embed for each in told.embeddings)
        assert told.embeddings


def test_falling_behind_stretches_the_hop_and_then_loses_the_oldest() -> None:
    go = threading.Semaphore(0)
    source = ScriptedSource()
    with listening({"a": [source]}, scorer([LOUD], before=go.acquire)) as (live, told):
        source.give(chunk(0, 5, 0.1, anchor_ns=0))
        go.release()  # the first window is scored; the next scoring waits
        source.give(chunk(5, 5, 0.1))
        assert eventually(lambda: live.statuses["a"].delivered == 10 * 1920)
        for start in range(10, 110, 10):
            source.give(chunk(start, 10, 0.1))
        assert eventually(lambda: live.statuses["a"].delivered == 110 * 1920)
        for _ in range(50):
            go.release()
        source.give(None)
        assert eventually(lambda: told.end)
        status = live.statuses["a"]
    assert status.stretched > 0
    assert status.account.lost > 0
    assert status.account.heard + status.account.lost == 110 * 1920
    assert told.frames["a"] * 1920 == status.account.heard


def test_what_has_ended_is_scored_before_what_waits() -> None:
    """Under overload a lost source's events are closed, and not left open until it passes."""
    hears = scorer([LOUD])
    hears.engine.most_together = 1  # type: ignore[misc]
    go = threading.Semaphore(0)
    hears.engine._before = go.acquire  # type: ignore[union-attr]  # a scripted engine
    gone, busy = ScriptedSource(), ScriptedSource()
    with listening({"busy": [busy], "gone": [gone]}, hears) as (live, told):
        gone.give(chunk(0, 5, 0.9, anchor_ns=0))
        go.release()
        assert eventually(lambda: live.statuses["gone"].delivered == 5 * 1920)
        busy.give(chunk(0, 40, 0.1, anchor_ns=0))
        gone.give(chunk(5, 2, 0.9), lost())
        assert eventually(lambda: live.statuses["busy"].delivered == 40 * 1920)
        go.release()
        go.release()
        assert eventually(lambda: told.phases()[-1:] == [("gone", Phase.END)])
        for _ in range(40):
            go.release()


def test_each_thread_that_fails_is_told() -> None:
    def broken() -> None:
        raise RuntimeError("device lost")

    source = ScriptedSource()
    with listening({"a": [source]}, scorer([LOUD], before=broken)) as (_, told):
        source.give(chunk(0, 20, 0.9, anchor_ns=0))
        assert eventually(lambda: told.failures)
        source.give(KeyError("and then this"))
        assert eventually(lambda: len(told.failures) == 2)
    assert [str(error) for error in told.failures] == ["device lost", "'and then this'"]
    assert told.end == []


def test_events_from_elsewhere_are_told_on_the_scoring_thread() -> None:
    threads: list[str] = []

    class Where(Told):
        def event(self, event: Event) -> None:
            threads.append(threading.current_thread().name)
            super().event(event)

    with listening({"a": [ScriptedSource()]}, scorer([LOUD]), told=Where()) as (live, told):
        live.tell([event(1), event(2)])
        assert eventually(lambda: len(told.said) == 2)
    assert [each.id for each in told.said] == ["id-0001", "id-0002"]
    assert threads == ["scoring", "scoring"]
    live.tell([event(3)])
    assert len(told.said) == 2


@contextmanager
def standing_still(rules: Sequence[LabelRule]) -> Iterator[tuple[Live, threading.Event]]:
    """A scoring that goes on until what comes with it is set."""
    begun, go_on = threading.Event(), threading.Event()

    def before() -> None:
        begun.set()
        go_on.wait()

    source = ScriptedSource()
    with listening({"a": [source]}, scorer(rules, before=before)) as (live, _):
        source.give(chunk(0, 20, 0.1, anchor_ns=0))
        try:
            assert begun.wait(within(10))
            yield live, go_on
        finally:
            go_on.set()


def thresholds(live: Live) -> list[float]:
    return [round(rule.threshold, 6) for rule in live.rules["a"]]


def test_no_change_is_refused_or_lost_however_many_come_during_one_scoring() -> None:
    with standing_still([LOUD, OTHER]) as (live, go_on):
        for number in range(1, 501):
            live.set_rule("a", "loud", number / 1000, enabled=None)
            live.set_rule("a", "other", None, enabled=bool(number % 2))
        go_on.set()
        live.ready(within(10))
        assert thresholds(live) == [0.5, 0.7]
        assert [rule.enabled for rule in live.rules["a"]] == [True, False]
        assert live.rules["a"][0].off_threshold == pytest.approx(0.4)


def test_the_off_threshold_is_kept_as_it_was_set() -> None:
    """A threshold that rounds the off threshold to 0 leaves nothing behind."""
    with standing_still([replace(LOUD, threshold=0.5, off_threshold=0.2)]) as (live, go_on):
        go_on.set()
        for threshold in (5e-324, 0.7, 0.5):
            live.set_rule("a", "loud", threshold, enabled=None)
            live.ready(within(10))
        assert live.rules["a"][0].off_threshold == 0.2


def test_changes_of_rules_and_labels_keep_their_order() -> None:
    with standing_still([LOUD, OTHER]) as (live, go_on):
        live.set_rule("a", "loud", 0.2, enabled=None)
        live.set_rule("a", "other", 0.2, enabled=None)
        embeddings = LevelEngine(["loud", "other"]).labels
        new = PreparedLabels(embeddings, (LOUD, OTHER))  # type: ignore[arg-type]
        over = live.change(new, lambda _s, _l: True, keep={"other"})
        live.set_rule("a", "loud", 0.3, enabled=None)
        go_on.set()
        over.result(within(10))
        live.ready(within(10))
        assert thresholds(live) == [0.3, 0.2]


def test_whoever_waits_for_a_scoring_that_stands_still_is_told() -> None:
    with standing_still([LOUD]) as (live, go_on):
        with pytest.raises(UnavailableError, match="stands still"):
            live.ready(0.05)
        go_on.set()
        live.ready(within(10))
        live.stop()
        with pytest.raises(UnavailableError, match="stands still"):
            live.ready(None)
        with pytest.raises(UnavailableError, match="stopping"):
            live.set_rule("a", "loud", 0.2, enabled=None)
