"""In the database before it is sent, and nothing of the last run is forgotten."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, cast

import numpy as np
import pytest
from stand_ins import event

from pe_stream.core.detector import Heard
from pe_stream.core.level_meter import SoundLevel
from pe_stream.core.messages import Message, Topics, event_message
from pe_stream.core.types import Phase, SecondOpinion
from pe_stream.daemon.delivery import TOP_SCORES, Delivery
from pe_stream.storage import events
from pe_stream.storage.event_queries import EventFilter, EventQueries
from pe_stream.storage.events import EventStore

TOPICS = Topics("pe_stream", "pi")
OF = {"kitchen": ["dog_bark", "cat"]}


@dataclass
class Mouth:
    """Stands in for the publisher: keeps messages, and what was in the database by then."""

    path: Path
    said: list[Message] = field(default_factory=list)
    stored: list[list[str]] = field(default_factory=list)

    def publish(self, messages: Iterable[Message]) -> None:
        self.said += messages
        if self.path.exists():
            found = EventQueries(self.path).events(EventFilter())
            self.stored.append([entry.event["phase"] for entry in found])

    @property
    def topics(self) -> list[tuple[str, str]]:
        return [
            (message.topic.removeprefix("pe_stream/pi/"), message.payload) for message in self.said
        ]


@pytest.fixture
def mouth(tmp_path: Path) -> Mouth:
    return Mouth(tmp_path / "events.db")


@pytest.fixture
def store(mouth: Mouth) -> Iterator[EventStore]:
    made = EventStore(mouth.path, keep_days=30, limit=100)
    yield made
    made.close()


def delivery(mouth: Mouth, store: EventStore | None, *, scores: bool = False) -> Delivery:
    return Delivery(TOPICS, cast("Any", mouth), store, OF, scores=scores)


def test_levels_of_so_many_seconds_are_told_together(mouth: Mouth) -> None:
    made = Delivery(TOPICS, cast("Any", mouth), None, OF, scores=False, levels_s=3)
    for second in range(1, 8):
        power = 1e-2 if second == 2 else 1e-4
        made.level("kitchen", SoundLevel(48_000, power, 0.1 * second, 0.0, 0.0, second * 10**9))
        made.level("porch", SoundLevel(48_000, 1e-6, 0.1, 1e-6, 0.1, second * 10**9))
    assert [topic for topic, _ in mouth.topics] == ["kitchen/level", "porch/level"] * 2
    assert {(message.qos, message.retain) for message in mouth.said} == {(0, False)}
    assert json.loads(mouth.topics[0][1]) == {
        "at": "1970-01-01T00:00:03.000Z",
        "seconds": 3.0,
        "mean_dbfs": -24.7,  # of powers: the loud second leads
        "peak_dbfs": -10.5,
        "a_mean_dbfs": -120.0,
        "a_peak_dbfs": -120.0,
    }
    # At a break with what there is, so that no message has sound from before and after it.
    mouth.said.clear()
    made.level("kitchen", SoundLevel(4_800, 1.0, 1.0, 0.0, 0.0, 8 * 10**9, last=True))
    [(_, payload)] = mouth.topics
    assert json.loads(payload)["seconds"] == 1.1
    assert json.loads(payload)["mean_dbfs"] == -10.4


def test_a_phase_is_in_the_database_before_it_is_sent(
    mouth: Mouth, store: EventStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(events, "WAIT_S", 10.0)  # however busy this machine is
    made = delivery(mouth, store)
    start = event(1, source="kitchen", label="dog_bark")
    made.event(start)
    made.event(replace(start, phase=Phase.END))
    assert mouth.stored == [["start"], ["end"]]
    sent = [message for message in mouth.said if message.is_event]
    first, second = [message.row or 0 for message in sent]
    assert 0 < first < second
    assert [topic for topic, _ in mouth.topics] == [
        "kitchen/events",
        "kitchen/dog_bark/state",
        "kitchen/any/state",
    ] * 2


def test_an_opinion_changes_the_field_alone(mouth: Mouth, store: EventStore) -> None:
    """Not the clip, of which meanwhile was said that there is none, nor any state."""
    made = delivery(mouth, store)
    ended = event(1, Phase.END, source="kitchen", label="dog_bark", clip="/clips/a.flac")
    made.event(ended)
    store.no_clip(ended.id)
    mouth.said.clear()
    opinion = SecondOpinion(0.5, None, None, None, 0, (0.0, 8.0), "pe-av", 900)
    judged = replace(ended, second_opinion=opinion)
    made.opinion(judged)
    [message] = mouth.said
    assert message.topic == "pe_stream/pi/kitchen/second_opinion"
    assert (message.qos, message.retain, message.payload) == (1, False, judged.to_json())
    assert json.loads(message.delayed.payload)["late"] is True
    [kept] = [each for each in store.waiting() if each.row == message.row]
    assert kept.topic == message.topic
    [record] = EventQueries(mouth.path).events(EventFilter())
    assert record.event == replace(judged, clip=None).to_dict()
    # Of an event that has been forgotten there is nothing to keep but the message.
    made.opinion(replace(judged, id="another"))
    assert len(list(EventQueries(mouth.path).events(EventFilter()))) == 1
    assert len(mouth.said) == 2
    delivery(mouth, None).opinion(judged)
    assert mouth.said[2].row is None


def test_without_a_store_events_are_sent_all_the_same(mouth: Mouth) -> None:
    made = delivery(mouth, None)
    made.begin()
    assert mouth.topics == [
        ("kitchen/dog_bark/state", "OFF"),
        ("kitchen/cat/state", "OFF"),
        ("kitchen/any/state", "OFF"),
    ]
    made.event(event(1, source="kitchen", label="dog_bark"))
    assert mouth.said[3].row is None


def test_what_the_last_run_left_comes_first_and_once(mouth: Mouth) -> None:
    before = EventStore(mouth.path, keep_days=30, limit=100)
    open_event = event(1, source="kitchen", label="dog_bark")
    before.record(open_event, [event_message(TOPICS, open_event)])
    before.close()
    store = EventStore(mouth.path, keep_days=30, limit=100)
    try:
        made = delivery(mouth, store)
        for end in made.go_on():
            made.event(end)
        made.begin()
        assert made.go_on() == []
    finally:
        store.close()
    told_of = [json.loads(message.payload) for message in mouth.said if message.is_event]
    assert [(told["phase"], told["reason"], told["late"]) for told in told_of] == [
        ("start", None, True),
        ("end", "restart", True),
    ]
    assert [message.is_event for message in mouth.said] == [True, True, False, False, False]


def test_other_labels_change_the_states(mouth: Mouth) -> None:
    made = delivery(mouth, None)
    made.labels(OF, {})
    assert mouth.said == []  # nothing is other than it was
    made.labels({"kitchen": ["dog_bark", "glass"]}, {})
    assert mouth.topics == [("kitchen/cat/state", ""), ("kitchen/glass/state", "OFF")]


def test_health_is_retained(mouth: Mouth) -> None:
    delivery(mouth, None).health("kitchen", {"state": "hearing", "rtf": 0.5})
    (said,) = mouth.said
    assert (said.topic, said.qos, said.retain) == ("pe_stream/pi/kitchen/health", 1, True)
    assert json.loads(said.payload) == {"state": "hearing", "rtf": 0.5}


def test_the_top_scores_of_a_hop_are_told_where_they_are_wanted(mouth: Mouth) -> None:
    names = [f"label {number}" for number in range(TOP_SCORES + 2)]
    scores = np.linspace(0.1, 0.7, 2 * len(names), dtype=np.float32).reshape(2, -1)
    heard = Heard(0, 0, scores, [], np.zeros(0, np.float32))
    delivery(mouth, None).scores("kitchen", names, heard)
    assert mouth.said == []
    made = delivery(mouth, None, scores=True)
    made.scores("kitchen", names, replace(heard, scores=scores[:0]))
    assert mouth.said == []
    made.scores("kitchen", names, heard)
    (said,) = mouth.said
    assert (said.topic, said.qos, said.retain) == ("pe_stream/pi/kitchen/scores", 0, False)
    assert [*json.loads(said.payload)] == names[:1:-1]
