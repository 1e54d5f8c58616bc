"""Schemas of the API's answers about events."""

from __future__ import annotations

from dataclasses import replace

import pytest
from pydantic import ValidationError
from stand_ins import event

from pe_stream.core.types import Phase, SecondOpinion
from pe_stream.web.event_schemas import Entry, Judgement

SAID = {"verdict": None, "note": None, "has_clip": False}


@pytest.mark.parametrize("phase", Phase)
def test_an_entry_is_the_event_as_on_mqtt(phase: Phase) -> None:
    told = replace(event(1), phase=phase).to_dict()
    assert Entry.model_validate(told | SAID).model_dump(mode="json", by_alias=True) == told | SAID


OPINION = SecondOpinion(0.7, 0.1, 0.4, None, 8, (1.2, 9.2), "pe-av", 735)


def test_a_second_opinion_is_told_and_may_be_of_a_later_version() -> None:
    told = replace(event(1), second_opinion=OPINION).to_dict()
    told["second_opinion"]["later"] = 1
    entry = Entry.model_validate(told | SAID).model_dump(mode="json", by_alias=True)
    assert entry["second_opinion"] == OPINION.to_dict() | {"later": 1}


def test_events_of_an_earlier_version_have_no_second_opinion() -> None:
    told = event(1).to_dict()
    del told["second_opinion"]
    entry = Entry.model_validate(told | SAID).model_dump(mode="json", by_alias=True)
    assert entry == event(1).to_dict() | SAID


def test_a_phase_is_one_of_three() -> None:
    with pytest.raises(ValidationError, match="phase"):
        Entry.model_validate(event(1).to_dict() | {"phase": "middle"} | SAID)


def test_a_reason_of_a_later_version_is_told() -> None:
    told = event(1, Phase.END).to_dict() | {"reason": "from a later version"}
    assert Entry.model_validate(told | SAID).model_dump()["reason"] == "from a later version"


@pytest.mark.parametrize(
    "body",
    [{"verdict": "maybe"}, {"verdict": "right", "x": 1}, {"verdict": "right", "note": "n" * 1001}],
)
def test_a_judgement_is_right_or_wrong(body: dict[str, object]) -> None:
    assert Judgement.model_validate({"verdict": "wrong"}).note == ""
    with pytest.raises(ValidationError):
        Judgement.model_validate(body)
