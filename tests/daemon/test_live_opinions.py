"""Which events are asked about, and what an opinion is told with, whenever it comes."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from types import SimpleNamespace
from typing import Any, cast

import numpy as np
import pytest
from stand_ins import event

from pe_stream.config import Settings
from pe_stream.core.detector import Heard
from pe_stream.core.listener import Listener
from pe_stream.core.opinion_requests import EventExcerpt
from pe_stream.core.picture_ring import CameraPicture
from pe_stream.core.types import Event, Phase, Reason, SecondOpinion
from pe_stream.daemon import live_opinions
from pe_stream.daemon.live_opinions import LiveOpinions

S = 48_000
OPINION = SecondOpinion(0.5, None, None, None, 0, (0.0, 8.0), "pe-av", 900)
SETTINGS = Settings.model_validate(
    {
        "labels": {"dog": {}, "cat": {}, "bang": {"loud": True}},
        "second_opinion": {"checkpoint": "a/b", "labels": ["dog", "bang"]},
    }
)


@dataclass
class House(Listener):
    """A scoring thread that a test steers, and who is told; what is asked is answered by hand."""

    told: list[Event] = field(default_factory=list)
    given_up: list[Event] = field(default_factory=list)
    asked: list[EventExcerpt] = field(default_factory=list)
    waiting: list[Callable[[], None]] = field(default_factory=list)
    heard_s: int = 0

    def __post_init__(self) -> None:
        assert SETTINGS.second_opinion is not None
        labels = cast("Any", SimpleNamespace(settings=SETTINGS))
        live = cast("Any", SimpleNamespace(between_scorings=self.waiting.append))
        self.made = LiveOpinions(
            SETTINGS.second_opinion, labels, live, self, self.failed, pictures={"yard": self.seen}
        )

    def seen(self, begin: int, end: int) -> list[CameraPicture]:
        """One a second, whose bytes say when."""
        return [CameraPicture(at, b"%d" % (at // S)) for at in range(begin, end, S)]

    def failed(self, error: BaseException) -> None:
        raise error

    def opinion(self, event: Event) -> None:
        self.told.append(event)

    def opinion_given_up(self, event: Event) -> None:
        self.given_up.append(event)

    def tell(self, *events: Event) -> list[Event]:
        """As the daemon does; returns them as everybody is told."""
        completed = [self.made.completed(each) for each in events]
        for each in completed:
            self.made.event(each)
        return completed

    def hear(self, *events: Event, seconds: int = 1, source: str = "kitchen") -> list[Event]:
        """A second is heard, and what events there are by then."""
        told = self.tell(*events)
        start, self.heard_s = self.heard_s, self.heard_s + seconds
        samples = np.ones(seconds * S, np.float32)
        heard = Heard(start * S, 0, np.zeros((0, 1), np.float32), list(events), samples)
        self.made.scores(source, [], heard)
        return told

    def answer(self, opinion: SecondOpinion | None) -> None:
        """What was asked first is answered, and the scoring thread has its turn."""
        asked = self.asked.pop(0)
        self.made._answered(asked.event_id, opinion)
        assert len(self.waiting) == 1
        self.waiting.pop()()


@pytest.fixture
def house(monkeypatch: pytest.MonkeyPatch) -> House:
    asked: list[EventExcerpt] = []
    service = SimpleNamespace(ask=asked.append)
    monkeypatch.setattr(live_opinions, "OpinionService", lambda *_, **__: service)
    return House(asked=asked)


def bark(number: int, phase: Phase = Phase.START, label: str = "dog", **more: Any) -> Event:
    return event(number, phase, source="kitchen", label=label, peak_s=1.0, **more)


def test_an_opinion_is_told_with_the_event_as_it_was_told_last(house: House) -> None:
    house.hear(bark(1), seconds=5)
    assert [each.event_id for each in house.asked] == ["id-0001"]
    house.hear(bark(1, Phase.UPDATE, duration_s=1.0))
    house.hear(ended := bark(1, Phase.END, duration_s=2.0))
    house.answer(OPINION)
    assert house.told == [replace(ended, second_opinion=OPINION)]
    assert house.made._events == {}


def test_a_source_with_pictures_has_some_looked_at(house: House) -> None:
    for source in ("yard", "kitchen"):
        house.heard_s = 0
        house.hear(seconds=10, source=source)
        house.hear(event(1, source=source, label="dog", peak_s=9.0), seconds=5, source=source)
    yard, kitchen = house.asked
    assert yard.span_s == kitchen.span_s == (5.0, 13.0)
    assert yard.pictures == (b"5", b"6", b"7", b"8", b"9", b"10", b"11", b"12")
    assert kitchen.pictures == ()


def test_it_is_awaited_until_it_is_there_or_given_up(house: House) -> None:
    assert not house.made.awaits(bark(1)), "nobody has asked"
    house.hear(bark(1), bark(2), bark(3, label="cat"), seconds=5)
    assert [house.made.awaits(bark(number)) for number in (1, 2, 3)] == [True, True, False]
    house.answer(OPINION)
    house.answer(None)
    assert [house.made.awaits(bark(number)) for number in (1, 2)] == [False, False]


def test_phases_that_follow_have_it(house: House) -> None:
    house.hear(bark(1), seconds=5)
    house.answer(OPINION)
    assert house.told == [replace(bark(1), second_opinion=OPINION)]
    for phase in (Phase.UPDATE, Phase.END):
        (told,) = house.hear(bark(1, phase))
        assert told.second_opinion == OPINION
    assert house.asked == []
    assert house.made._events == {}
    assert house.tell(bark(1, Phase.END))[0].second_opinion is None, "it is forgotten"


def test_some_events_are_not_asked_about(house: House) -> None:
    house.hear(
        bark(1, label="cat"),  # not of second_opinion.labels
        bark(2, label="bang"),  # has no words
        bark(3, Phase.END, reason=Reason.RESTART, late=True),  # of the last run
        seconds=9,
    )
    assert house.asked == []
    assert house.made._events == {}


@pytest.mark.parametrize("ended", [False, True])
def test_an_opinion_that_was_given_up_leaves_nothing(house: House, *, ended: bool) -> None:
    house.hear(bark(1), seconds=5)
    if ended:
        house.hear(bark(1, Phase.END))
    house.answer(None)
    assert [each.phase for each in house.given_up] == [Phase.END if ended else Phase.START]
    (told,) = house.tell(bark(1, Phase.END))
    assert told.second_opinion is None
    assert house.told == []
    assert house.made._events == {}


def test_what_was_heard_last_stands_for_a_peak_whose_sound_is_gone(house: House) -> None:
    """As of a pattern, whose first sound may be minutes ago."""
    house.hear(seconds=60)
    house.hear(bark(1))
    assert [(each.event_id, each.span_s) for each in house.asked] == [("id-0001", (53.0, 61.0))]
    house.answer(OPINION)
    assert [each.id for each in house.told] == ["id-0001"]


def test_only_labels_that_are_asked_about_are_told(monkeypatch: pytest.MonkeyPatch) -> None:
    """Else other words of any other label would have the process begin again."""
    given: list[Any] = []

    def service(*those: Any, sees: bool) -> SimpleNamespace:
        assert sees, "one source has pictures"
        given.extend(those)
        return SimpleNamespace(ask=None)

    monkeypatch.setattr(live_opinions, "OpinionService", service)
    House()
    assert list(given[1]()) == ["dog"], "not cat, which is left out, nor bang, which has no words"
