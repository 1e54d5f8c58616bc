"""What makes a label's scores: which settings change that, and which do not."""

from __future__ import annotations

from typing import Any

import pytest

from pe_stream.config import LabelSettings, ModelSettings
from pe_stream.errors import ConfigError
from pe_stream.labels.fingerprint import fingerprint
from pe_stream.labels.prepare import labels_from_prompts, prepare_labels
from pe_stream.model.checkpoint import load
from pe_stream.model.cores import default_threads
from pe_stream.model.prompts import embed
from pe_stream.pipeline.scorer import prepare

DOG = {"prompts": ["a dog", "barking"], "not": ["a wolf", "a fox"]}


def of(keys: dict[str, Any], identity: str = "weights") -> str:
    return fingerprint(identity, LabelSettings.model_validate(DOG | keys))


def loud(keys: dict[str, Any], identity: str = "weights") -> str:
    return fingerprint(identity, LabelSettings.model_validate({"loud": keys}))


def test_the_level_is_the_same_whichever_checkpoint_is_loaded() -> None:
    assert loud({}) == loud({}, "other weights") == loud({"above_db": 20.0})


@pytest.mark.parametrize(
    "keys",
    [
        {"threshold": 0.7, "min_on_s": 1.0, "sources": ["kitchen"], "enabled": False},
        {"prompts": ["barking", "a dog"]},
        {"not": ["a fox", "a wolf"]},
    ],
)
def test_what_does_not_change_the_scores(keys: dict[str, Any]) -> None:
    assert of(keys) == of({})


def test_what_does() -> None:
    others = [
        of({}, "other weights"),
        of({"prompts": ["a dog"]}),
        of({"prompts": ["a dog", "barking", "a wolf"], "not": ["a fox"]}),
        of({"prompts": ["a dogbarking"]}),
        of({"not": []}),
        of({}),
        of({"least_db": -40.0}),
        of({"least_db": -41.0}),
        *(loud(keys) for keys in ({}, {"above_db": 10.0}, {"above_db": 0.0, "of": "full_scale"})),
    ]
    assert len(set(others)) == len(others)
    assert all(len(key) == 16 for key in others)


def test_every_label_has_its_key() -> None:
    checkpoint = load("embedded", device="cpu")
    labels = {
        "dog": LabelSettings.model_validate(DOG),
        "cat": LabelSettings.model_validate({"prompts": "a cat"}),
        "hound": LabelSettings.model_validate(DOG | {"threshold": 0.3}),
    }
    keys = prepare_labels(checkpoint, labels).keys
    assert keys == {name: fingerprint(checkpoint.identity, label) for name, label in labels.items()}
    assert keys["dog"] == keys["hound"] != keys["cat"]


@pytest.mark.parametrize("text", ["a dog\0", "a\ndog", "\x1b[31mdog"])
def test_a_prompt_of_control_characters_is_refused(text: str) -> None:
    with pytest.raises(ConfigError, match="control character"):
        labels_from_prompts([text])
    with pytest.raises(ConfigError, match="control character"):
        embed(load("embedded", device="cpu", threads=1), [text])


def test_threads_follow_the_load_unless_a_number_is_given(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Nor where another machine scores, or what is compiled."""
    monkeypatch.setattr("pe_stream.model.engine.Engine.warm", lambda *_: None)
    labels = {"dog": LabelSettings.model_validate(DOG)}
    plain = prepare(ModelSettings(device="cpu"), labels)
    assert plain.scoring_threads() == default_threads()
    for settings in ({"threads": 1}, {"engine": "http://127.0.0.1:9"}, {"compile": True}):
        model = ModelSettings.model_validate({"device": "cpu", **settings})
        assert prepare(model, labels).scoring_threads() is None


def test_what_is_only_loud_has_no_threads() -> None:
    labels = {"loud": LabelSettings.model_validate({"loud": {}})}
    assert prepare(ModelSettings(), labels).scoring_threads() is None
