import json
from dataclasses import replace

import jsonschema
import pytest

from pe_stream.core.messages import (
    ANY,
    Message,
    StateBoard,
    Topics,
    event_schema,
    scores_message,
    slug,
)
from pe_stream.core.types import Event, Phase, Reason, SecondOpinion

START = Event(
    id="0193",
    phase=Phase.START,
    node="pi-kitchen",
    source="Kitchen",
    label="smoke_alarm",
    onset="2026-11-21T02:15:49.320Z",
    onset_s=3.24,
    offset=None,
    offset_s=None,
    duration_s=0.36,
    peak=0.93,
    peak_s=3.6,
    mean=0.81,
    threshold=0.5,
    latency_ms=412.0,
    late=False,
    reason=None,
    checkpoint="facebook/pe-a-frame-base",
)
END = replace(START, phase=Phase.END, offset="2026-11-21T02:15:51.000Z", offset_s=4.92)
OPINION = SecondOpinion(
    sound=0.71,
    picture=0.12,
    both=None,
    together=0.08,
    pictures=8,
    span_s=(1.2, 9.2),
    checkpoint="facebook/pe-av-small-16-frame",
    took_ms=7350,
)
TOPICS = Topics("pe_stream", "Pi Kitchen")


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("smoke_alarm", "smoke_alarm"),
        ("Smoke Alarm!", "smoke_alarm"),
        ("Türklingel", "turklingel"),
        ("a/b+c#", "a_b_c"),
        ("pi-4", "pi-4"),
        ("犬", ""),
    ],
)
def test_slug(name: str, expected: str) -> None:
    assert slug(name) == expected


def test_the_event_is_the_contract_word_for_word() -> None:
    assert list(json.loads(START.to_json()).items()) == [
        ("schema", 1),
        ("id", "0193"),
        ("phase", "start"),
        ("node", "pi-kitchen"),
        ("source", "Kitchen"),
        ("label", "smoke_alarm"),
        ("onset", "2026-11-21T02:15:49.320Z"),
        ("onset_s", 3.24),
        ("offset", None),
        ("offset_s", None),
        ("duration_s", 0.36),
        ("peak", 0.93),
        ("peak_s", 3.6),
        ("mean", 0.81),
        ("threshold", 0.5),
        ("latency_ms", 412.0),
        ("late", False),
        ("reason", None),
        ("checkpoint", "facebook/pe-a-frame-base"),
        ("clip", None),
        ("second_opinion", None),
    ]
    assert list(replace(START, second_opinion=OPINION).to_dict()["second_opinion"].items()) == [
        ("sound", 0.71),
        ("picture", 0.12),
        ("both", None),
        ("together", 0.08),
        ("pictures", 8),
        ("span_s", [1.2, 9.2]),
        ("checkpoint", "facebook/pe-av-small-16-frame"),
        ("took_ms", 7350),
    ]


def test_topics() -> None:
    assert TOPICS.status == "pe_stream/pi_kitchen/status"
    assert TOPICS.events("Back Door") == "pe_stream/pi_kitchen/back_door/events"
    assert TOPICS.health("porch") == "pe_stream/pi_kitchen/porch/health"
    assert TOPICS.state("porch", "Dog Bark") == "pe_stream/pi_kitchen/porch/dog_bark/state"
    assert TOPICS.set_filter() == "pe_stream/pi_kitchen/+/+/set"


@pytest.mark.parametrize(
    ("topic", "expected"),
    [
        ("pe_stream/pi_kitchen/porch/dog_bark/set", ("porch", "dog_bark")),
        ("pe_stream/pi_kitchen/porch/dog_bark/state", None),
        ("pe_stream/pi_kitchen/porch/set", None),
        ("other/pi_kitchen/porch/dog_bark/set", None),
        ("pe_stream/pi_kitchen/a/b/c/set", None),
    ],
)
def test_set_topics_are_taken_apart(topic: str, expected: tuple[str, str] | None) -> None:
    assert TOPICS.parse_set(topic) == expected


def test_state_goes_on_and_off_and_any_follows_the_first_and_the_last() -> None:
    board = StateBoard(TOPICS, {"Kitchen": ["smoke_alarm", "siren"]})
    smoke, siren, any_ = (TOPICS.state("Kitchen", x) for x in ("smoke_alarm", "siren", ANY))

    def states(event: Event) -> list[tuple[str, str]]:
        events, *rest = board.messages(event)
        assert events == Message(
            TOPICS.events("Kitchen"),
            event.to_json(),
            1,
            retain=False,
            late_payload=replace(event, late=True).to_json(),
        )
        assert json.loads(events.delayed.payload) == event.to_dict() | {"late": True}
        assert all(m.retain and m.qos == 1 for m in rest)
        return [(m.topic, m.payload) for m in rest]

    assert states(START) == [(smoke, "ON"), (any_, "ON")]
    assert states(replace(START, phase=Phase.UPDATE)) == []
    assert states(replace(START, label="siren")) == [(siren, "ON")]
    assert states(END) == [(smoke, "OFF")]
    assert [m.payload for m in board.retained()] == ["OFF", "ON", "ON"]
    assert states(replace(END, label="siren")) == [(siren, "OFF"), (any_, "OFF")]


def test_new_labels_bring_their_state_and_gone_ones_are_cleared() -> None:
    board = StateBoard(TOPICS, {"Kitchen": ["smoke_alarm", "siren"]})
    said = board.relabel({"Kitchen": ["siren", "dog"]})
    assert said == [
        Message(TOPICS.state("Kitchen", "smoke_alarm"), "", 1, retain=True),
        Message(TOPICS.state("Kitchen", "dog"), "OFF", 1, retain=True),
    ]
    assert [m.topic for m in board.retained()] == [
        TOPICS.state("Kitchen", name) for name in ("siren", "dog", ANY)
    ]


def test_scores_are_not_retained() -> None:
    assert scores_message(TOPICS, "porch", {"dog": 0.123456}) == Message(
        "pe_stream/pi_kitchen/porch/scores", '{"dog": 0.1235}', 0, retain=False
    )


def test_the_schema_of_events_accepts_events_and_nothing_less() -> None:
    check = jsonschema.Draft202012Validator(event_schema())
    with_opinion = replace(END, second_opinion=OPINION)
    for event in (START, END, replace(END, reason=Reason.GAP), with_opinion):
        check.validate(event.to_dict())
    for broken in (
        {"phase": "begin"},
        {"onset": "2026-11-21 02:15:49"},
        {"peak": 1.5},
        {"offset_s": "3"},
        {"reason": "lost"},
        {"second_opinion": {"sound": 0.5}},
        {"second_opinion": OPINION.to_dict() | {"picture": 1.2}},
        {"second_opinion": OPINION.to_dict() | {"span_s": [1.0]}},
        {"second_opinion": 0.7},
    ):
        assert not check.is_valid(START.to_dict() | broken), broken
    assert not check.is_valid({k: v for k, v in START.to_dict().items() if k != "late"})
