"""What has to agree between parts of the settings."""

from __future__ import annotations

from typing import Any

import pytest
from pydantic_core import InitErrorDetails

from pe_stream.config import LabelSettings, SourceSettings
from pe_stream.config.agreement import sequences, slug_clashes, unknown_names

SOURCES = {"kitchen": SourceSettings(microphone="a"), "porch": SourceSettings(microphone="b")}


def told(problems: list[InitErrorDetails]) -> list[tuple[tuple[int | str, ...], str]]:
    """Place and message of each problem."""
    return [(each["loc"], str(each["type"].message())) for each in problems]  # type: ignore[union-attr]


def test_names_that_share_a_topic() -> None:
    assert slug_clashes({"Smoke alarm": {}, "dog": {}}) == []
    [(loc, message)] = told(slug_clashes({"Smoke alarm": {}, "smoke_alarm": {}}))
    assert loc == ("smoke_alarm",)
    assert "'smoke_alarm' and 'Smoke alarm' are both" in message


@pytest.mark.parametrize("made", [{"sources": ["hall"]}, LabelSettings(sources=("hall",))])
def test_a_source_that_does_not_exist(made: Any) -> None:
    [(loc, message)] = told(unknown_names({"dog": made}, "sources", SOURCES))
    assert loc == ("dog", "sources", 0)
    assert message == "there is no source 'hall'; sources: kitchen, porch"


@pytest.mark.parametrize(
    ("labels", "said"),
    [
        ({"a": {"pattern": {"then": "b"}}, "b": {}}, None),
        ({"a": {"pattern": {"then": "b"}}}, "there is no label 'b'; labels: a"),
        ({"a": {"pattern": {"then": "a"}}}, "waits for itself: a -> a"),
        (
            {"a": {"pattern": {"then": "b"}}, "b": {"sources": ["porch"]}},
            "'b' does not listen to kitchen: both must be heard there",
        ),
    ],
)
def test_a_sequence_can_be_seen(labels: dict[str, Any], said: str | None) -> None:
    problems = told(sequences(labels, SOURCES))
    assert problems == ([] if said is None else [(("a", "pattern", "then"), said)])


@pytest.mark.parametrize("section", [None, [], "text", 3])
def test_a_section_that_is_none_has_nothing_to_agree(section: object) -> None:
    assert slug_clashes(section) == []
    assert unknown_names(section, "sources", SOURCES) == []
    assert sequences(section, SOURCES) == []
