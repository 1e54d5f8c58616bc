"""Who is told of what, in which order, and what becomes of one that fails."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from stand_ins import event
from timing import within

from pe_stream.core.detector import Heard
from pe_stream.core.listener import LabelsOf, Listener
from pe_stream.core.types import Event, LabelRule
from pe_stream.daemon.listeners import EventLog, Listeners

HEARD = Heard(0, 0, np.zeros((1, 1), np.float32), [], np.zeros(0, np.float32))
RULE = LabelRule("dog", 0.5, 0.4)


class Note(Listener):
    """Notes in a common list what it is told; raises what it is given."""

    def __init__(self, name: str, told: list[str], error: Exception | None = None) -> None:
        self.name, self._told, self.error = name, told, error

    def labels(self, of: LabelsOf, keys: Mapping[str, str]) -> None:
        self._note(f"labels {dict(of)} {dict(keys)}")

    def rules(self, source: str, rules: Sequence[LabelRule]) -> None:
        self._note(f"rules {source} {len(rules)}")

    def event(self, event: Event) -> None:
        self._note(f"event {event.id} {event.clip}")

    def opinion(self, event: Event) -> None:
        self._note(f"opinion {event.id}")

    def scores(self, source: str, names: Sequence[str], heard: Heard) -> None:
        self._note(f"scores {source} {names} {len(heard.scores)}")

    def health(self, source: str, health: Mapping[str, Any]) -> None:
        self._note(f"health {source} {dict(health)}")

    def _note(self, what: str) -> None:
        self._told.append(f"{self.name}: {what}")
        if self.error is not None:
            raise self.error


def tell_all(listeners: Listener) -> None:
    listeners.labels({"kitchen": ["dog"]}, {"dog": "k"})
    listeners.rules("kitchen", [RULE])
    listeners.event(event(1))
    listeners.opinion(event(3))
    listeners.scores("kitchen", ["dog"], HEARD)
    listeners.health("kitchen", {"state": "hearing"})


SAID = [
    "labels {'kitchen': ['dog']} {'dog': 'k'}",
    "rules kitchen 1",
    "event id-0001 a.flac",
    "opinion id-0003",
    "scores kitchen ['dog'] 1",
    "health kitchen {'state': 'hearing'}",
]


def clipped(event: Event) -> Event:
    return replace(event, clip="a.flac")


def test_a_listener_that_overrides_nothing_hears_nothing() -> None:
    tell_all(Listener())


def test_everybody_is_told_of_everything_in_order() -> None:
    told: list[str] = []
    failures: list[BaseException] = []
    listeners = Listeners(failures.append, clipped)
    listeners.event(event(0))  # nobody listens yet
    listeners.set(Note("a", told), Note("b", told))
    tell_all(listeners)
    assert told == [f"{name}: {said}" for said in SAID for name in "ab"]
    assert failures == []


def test_one_that_fails_takes_nobody_along_and_is_told_nothing_more(
    caplog: pytest.LogCaptureFixture,
) -> None:
    told: list[str] = []
    failures: list[BaseException] = []
    broken = Note("b", told, ValueError("a fault"))
    listeners = Listeners(failures.append, clipped)
    listeners.set(Note("a", told), broken, Note("c", told))
    tell_all(listeners)
    assert [said for said in told if said.startswith("b")] == [f"b: {SAID[0]}"]
    for name in "ac":
        assert [said for said in told if said.startswith(name)] == [f"{name}: {s}" for s in SAID]
    assert failures == [broken.error]
    assert "Note has failed and gets no further events" in caplog.text
    assert "ValueError: a fault" in caplog.text


def test_two_that_fail_at_once_are_both_told_no_more() -> None:
    told: list[str] = []
    failures: list[BaseException] = []
    listeners = Listeners(failures.append, clipped)
    both = threading.Barrier(2)

    class Breaking(Note):
        def _note(self, what: str) -> None:
            super()._note(what)
            both.wait(within(20))
            raise ValueError(self.name)

    class Careful(tuple[Listener, ...]):
        """Lets another thread read between a change's read and its write."""

        __slots__ = ()

        def __iter__(self) -> Iterator[Listener]:
            for each in super().__iter__():
                time.sleep(0.05)
                yield each

    class Events(Breaking):
        health = Listener.health

    class Health(Breaking):
        event = Listener.event

    listeners.set(Events("e", told), Health("h", told))
    listeners._all = Careful(listeners._all)
    other = threading.Thread(target=listeners.health, args=("kitchen", {}))
    other.start()
    listeners.event(event(1))
    other.join(within(20))
    assert sorted(map(str, failures)) == ["e", "h"]
    told.clear()
    listeners.event(event(2))
    listeners.health("kitchen", {})
    assert told == []


def test_where_clips_cannot_be_named_events_are_told_without(
    caplog: pytest.LogCaptureFixture,
) -> None:
    told: list[str] = []
    failures: list[BaseException] = []

    def broken(event: Event) -> Event:
        raise OSError("no such place")

    listeners = Listeners(failures.append, broken)
    listeners.set(Note("a", told))
    listeners.event(event(1))
    listeners.event(event(2))
    assert told == ["a: event id-0001 None", "a: event id-0002 None"]
    assert [str(error) for error in failures] == ["no such place"]
    assert "completing events has failed" in caplog.text
    assert "OSError: no such place" in caplog.text


def test_what_ends_the_process_is_not_held_back() -> None:
    listeners = Listeners(lambda _: None, clipped)

    class Leaving(Listener):
        def event(self, event: Event) -> None:
            raise KeyboardInterrupt

    listeners.set(Leaving())
    with pytest.raises(KeyboardInterrupt):
        listeners.event(event(1))


def test_every_phase_is_a_line_of_the_log(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    told = event(1)
    EventLog().event(told)
    assert f"{told.source}: {told.label} start at {told.onset}, " in caplog.text
