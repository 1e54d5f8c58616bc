"""Hints at prompts that scores may say nothing about: dependable, or they would not be read."""

from __future__ import annotations

import json
import re
import time
from pathlib import Path

import pytest
import yaml

from pe_stream.assets import COMMON_SOUNDS, EMBEDDED, EVERYDAY, SOUND_WORDS
from pe_stream.config import LabelSettings
from pe_stream.config.file import load
from pe_stream.core.prompt_words import HintKind, PromptHint, SoundWords
from pe_stream.labels.prompt_hints import PromptHints
from pe_stream.model.files import taught_by_us
from pe_stream.workbench.training import concepts

ROOT = Path(__file__).parents[2]
WRITTEN: dict[str, list[str]] = yaml.safe_load(
    Path(__file__).with_name("odd_prompts.yaml").read_text("utf-8")
)
QUOTED = re.compile(r'"([^"\n]+)"|(?<=[\[,] )([a-z][a-z ]+)(?=[\],])')


def hints(*, known: bool = True) -> PromptHints:
    return PromptHints(words_known=known)


def one(prompt: str) -> PromptHint:
    (found,) = hints().of([prompt])
    return found


def documented() -> list[str]:
    """Prompts of the documentation: in configurations, and of commands."""
    found = []
    for path in (ROOT / "README.md", *(ROOT / "pe_stream" / "docs").glob("*.md")):
        text = path.read_text("utf-8")
        lists = re.findall(r"(?:prompts|not): ?(\[[^\]]+\])", text)
        found += [a or b for each in lists for a, b in QUOTED.findall(each)]
        found += re.findall(r'(?:--prompt|pe-stream search) "([^"]+)"', text)
    return found


def test_no_prompt_of_ours_is_hinted_at() -> None:
    ours = [
        prompt
        for path in (ROOT / "config.yaml", EVERYDAY)
        for label in load(path).labels.values()
        for prompt in (*label.prompts, *label.negatives)
    ]
    docs = documented()
    assert len(ours) > 30
    assert len(docs) > 15, docs
    assert hints().of([*ours, *docs, *COMMON_SOUNDS.read_text("utf-8").splitlines()]) == []


def test_no_phrasing_that_it_was_taught_is_hinted_at() -> None:
    phrasings = [text for concept in concepts.read() for text in concept.phrasings]
    assert len(phrasings) > 20_000
    assert hints().of(phrasings) == []


def test_other_english_is_hardly_ever_hinted_at() -> None:
    """Two of 320: a capybara and a pangolin, of which it was taught nothing."""
    found = hints().of(WRITTEN["english"])
    assert len(WRITTEN["english"]) > 300
    assert [hint.words for hint in found] == [("capybara",), ("pangolin",)]
    unseen = yaml.safe_load((ROOT / "pe_stream/workbench/evaluation/prompts.yaml").read_text())
    texts = [
        text
        for kind in unseen.values()
        for each in kind.values()
        for text in each.get("unseen", ())
    ]
    assert len(texts) > 100
    assert hints().of(texts) == []


def test_other_languages_are_hinted_at() -> None:
    foreign = WRITTEN["foreign"]
    missed = {*foreign} - {hint.prompt for hint in hints().of(foreign)}
    assert len(foreign) == 60
    assert missed == {"Sirene", "sirène d'ambulance", "sirene van de ambulance"}  # siren, to it


def test_nonsense_is_hinted_at() -> None:
    nonsense = WRITTEN["nonsense"]
    missed = {*nonsense} - {hint.prompt for hint in hints().of(nonsense)}
    assert len(nonsense) == 40
    assert missed == {
        "foo bar baz",
        "crt meewing",
        "aaa",
        "aaaa bbbb",
        "miaowww grfl",
        "doorbel rnging",
    }


def test_other_scripts_are_other_languages() -> None:
    found = hints().of(WRITTEN["other_scripts"])
    assert [hint.kind for hint in found] == [HintKind.LANGUAGE] * 5
    assert {hint.language for hint in found} == {None}


@pytest.mark.parametrize(
    ("prompt", "language"),
    [
        ("ein Hund bellt", "German"),
        ("le robinet goutte", "French"),
        ("el grifo gotea", "Spanish"),
        ("il campanello della porta", "Italian"),
        ("een hond blaft", "Dutch"),
        ("um cachorro na rua com fome", "Portuguese"),
        ("un bébé pleure", None),  # French or Spanish: not said
    ],
)
def test_the_language_is_named_where_it_is_clear(prompt: str, language: str | None) -> None:
    found = one(prompt)
    assert (found.kind, found.language) == (HintKind.LANGUAGE, language)
    seems = f"seems to be {language}" if language else "does not seem to be English"
    assert found.describe() == f"{prompt!r} {seems}: describe the sound in English"


def test_what_may_be_meant_is_told() -> None:
    found = one("fottsteps")
    assert (found.kind, found.words, found.meant) == (
        HintKind.WORDS,
        ("fottsteps",),
        ("footsteps",),
    )
    assert "is footsteps meant?" in found.describe()
    assert "meant" not in one("democracy").describe()
    assert one("zound").meant == (None,)  # sound, bound and round begin otherwise
    swapped = one("a loud dog barkign")
    assert (swapped.kind, swapped.meant) == (HintKind.SPELLING, ("barking",))
    assert swapped.describe() == "'a loud dog barkign': is barkign meant to be barking?"


@pytest.mark.parametrize("prompt", ["🐶", "...", "!?"])
def test_a_prompt_without_words(prompt: str) -> None:
    assert one(prompt).kind is HintKind.NO_WORDS
    assert "has no words" in one(prompt).describe()


@pytest.mark.parametrize(
    "prompt",
    [
        "911",  # cannot be judged
        "x",
        "the",
        "an MRI",  # an abbreviation
        "our dog Trial barking",  # and not a trail
        "DOG BARKING",
        "my dog Fluffles whining",  # a name among words
        "woooooof",
        "puppies yapping",
        "neighbour\u2019s dogs\u2019 barks",
    ],
)
def test_what_is_no_reason_for_a_hint(prompt: str) -> None:
    assert hints().of([prompt]) == []


def test_one_letter_may_be_a_word() -> None:
    assert one("\u72d7").kind is HintKind.LANGUAGE


def test_upper_case_alone_is_no_excuse() -> None:
    assert one("HUND BELLT").words == ("HUND", "BELLT")


def test_of_another_checkpoint_only_the_language_is_told() -> None:
    prompts = ("ein Hund bellt", "Hundegebell", "capybara", "dog barkign", "🐶", "a dog")
    labels = {"dog": LabelSettings(prompts=prompts)}
    other = hints(known=False)
    found = other.of(prompts)
    assert [hint.prompt for hint in found] == ["ein Hund bellt", "🐶"]
    assert other.of_labels(labels) == {"dog": found}
    assert hints().of(prompts) != found
    assert other.of(WRITTEN["english"]) == []


def test_a_checkpoint_is_judged_where_its_training_is_known(tmp_path: Path) -> None:
    assert taught_by_us("embedded", EMBEDDED)
    assert not taught_by_us("other", tmp_path)
    record = tmp_path / "training.json"
    for damaged in ("", "[]", "{", '{"recipe": 3}', '{"recipe": {"corpus": 1}}', '{"lr": 0.1}'):
        record.write_text(damaged, "utf-8")
        assert not taught_by_us("other", tmp_path), damaged
    record.write_text(json.dumps({"recipe": {"corpus": 1, "phrasings": None, "text_steps": 2}}))
    assert taught_by_us("other", tmp_path)


def test_endless_words_are_seen_through_at_once() -> None:
    """The page asks while scoring goes on, and Python lets one thread run at a time."""
    found, prompts = hints(), [f"{'q' * 498}{a}{b}" for a in "abcde" for b in "abcdefghij"]
    found.of(["a dog"])  # the words are read
    begun_s = time.thread_time()
    assert {hint.kind for hint in found.of(prompts)} == {HintKind.WORDS}
    assert time.thread_time() - begun_s < 0.3


def test_each_is_told_once() -> None:
    found = hints()
    labels = {
        "dog": LabelSettings.model_validate(
            {"prompts": ["ein Hund bellt", "a dog barking"], "not": ["Katze"]}
        ),
        "cat": LabelSettings(prompts=("a cat meowing",)),
    }
    ((name, told),) = found.untold(labels)
    assert name == "dog"
    assert "'ein Hund bellt'" in told
    assert "'Katze'" in told
    assert list(found.untold(labels)) == []
    labels["cat"] = LabelSettings(prompts=("ein Hund bellt", "a cat"))
    labels["dog"] = LabelSettings(prompts=("ein Hund bellt", "Hundegebell"))
    assert [(name, told.count(";")) for name, told in found.untold(labels)] == [
        ("dog", 1),  # inside of the new one alone
        ("cat", 0),
    ]


def test_the_words_are_those_of_training() -> None:
    written = SOUND_WORDS.read_text("utf-8").split()
    assert written == concepts.sound_words(), "make sound-words"


def test_a_word_in_another_form_is_known() -> None:
    words = SoundWords(["bark", "clap", "whine", "puppy", "brr"])
    for word in ("barks", "barked", "barking", "clapping", "whining", "puppies", "brrrrr"):
        assert words.knows(word), word
    for word in ("barn", "cla", "whisk", "pupa", "bar"):
        assert not words.knows(word), word
