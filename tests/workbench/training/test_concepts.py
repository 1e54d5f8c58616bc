"""What training says in words: complete, without doubles, and without what evaluation keeps."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import pytest
import yaml

from pe_stream.audio.synthesis.random_sounds import SOUNDS
from pe_stream.workbench.evaluation import promptset
from pe_stream.workbench.training import concepts
from pe_stream.workbench.training.concepts import Concept


@pytest.fixture(scope="module")
def known() -> list[Concept]:
    return concepts.read()


def test_every_phrase_and_label_belongs_to_one_concept(known: list[Concept]) -> None:
    phrases = Counter(text for concept in known for text in concept.phrasings)
    labels = Counter(label for concept in known for label in concept.labels)
    assert {text for text, count in phrases.items() if count > 1} == set()
    assert {label for label, count in labels.items() if count > 1} == set()


def test_every_made_sound_and_every_everyday_label_has_a_concept(known: list[Concept]) -> None:
    labels = {label for concept in known for label in concept.labels}
    assert set(SOUNDS) <= labels
    for label in (*promptset.shipped("everyday"), *promptset.shipped("esc50")):
        assert set(label.sounds) & labels, label.name


def test_common_sounds_have_ten_phrasings_or_more(known: list[Concept]) -> None:
    of_label = {label: concept for concept in known for label in concept.labels}
    for label in (*promptset.shipped("everyday"), *promptset.shipped("esc50")):
        assert all(len(of_label[sound].phrasings) >= 10 for sound in label.sounds[:1]), label.name


def test_phrasings_kept_for_evaluation_are_left_out(tmp_path: Path) -> None:
    path = tmp_path / "phrases.yaml"
    path.write_text("dog: {plain: a dog barking, phrasings: [Puppy  Yapping, woof], labels: [d]}\n")
    (dog,) = concepts.read(path, without=["puppy yapping"])
    assert dog.phrasings == ("a dog barking", "dog", "woof")
    assert dog.labels == ("d",)


def test_the_corpus_has_no_phrasing_that_is_held_out(known: list[Concept]) -> None:
    words = ("table", "chair", "window", "carpet", "spoon")
    phrasings = [text for concept in known for text in concept.phrasings]
    texts = concepts.corpus(known, phrasings, words, 60_000, 0)
    assert len(texts) == len(set(texts)) == 60_000
    assert texts == concepts.corpus(known, phrasings, words, 60_000, 0)
    assert texts != concepts.corpus(known, phrasings, words, 60_000, 1)
    held = set(concepts.held_out(known).values())
    assert len(held) > 50
    assert not held & set(texts)
    assert set(phrasings) <= {*texts, *held}
    assert any("carpet" in text for text in texts)


def yawns() -> list[Concept]:
    """Ten phrasings, of which the eighth is held out; a template makes it of the first."""
    others = tuple(f"yawn number {n}" for n in range(8))
    return [Concept("yawn", "yawn", ("yawn", *others[:6], "loud yawn", *others[6:]))]


def test_what_is_held_out_is_not_made_by_a_template_or_of_words() -> None:
    phrasings = ["Loud  yawn", "yawn", "sneeze"]
    for seed in range(10):
        texts = concepts.corpus(yawns(), phrasings, ["loud", "yawn"], 60, seed)
        assert len(texts) == 60
        assert {"yawn", "sneeze"} <= set(texts)
        assert not {"loud yawn", "Loud  yawn"} & set(texts)


def test_a_corpus_has_phrasings_in_templates_and_two_at_a_time_and_words() -> None:
    phrasings = ["yawn", "a sneeze"]
    texts = concepts.corpus(yawns(), phrasings, ["spoon"], 60, 0)
    made = {text.replace("a sneeze", "X").replace("yawn", "X") for text in texts[:30]}
    assert any(" and X" in text or " over X" in text for text in made)
    assert {text for text in made if text.startswith("the sound of")} == {"the sound of X"}
    assert all("X" in text for text in made)
    assert any("spoon" in text for text in texts[30:])
    # No more than the phrasings where no more are asked for.
    assert concepts.corpus(yawns(), phrasings, ["spoon"], 1, 0) == phrasings


def test_phrasings_can_be_few(tmp_path: Path) -> None:
    """The plainest first; what evaluation keeps for itself does not count."""
    path = tmp_path / "phrases.yaml"
    path.write_text("dog: {plain: a dog barking, phrasings: [puppy yapping, woof, arf]}\n")
    (dog,) = concepts.read(path, without=["puppy yapping"], most=3)
    assert dog.phrasings == ("a dog barking", "dog", "woof")
    (alone,) = concepts.read(path, most=1)
    assert alone.phrasings == ("a dog barking",)
    assert concepts.held_out([dog]) == {}
    path.write_text("Bark: [a dog, a bark, barking]\n")
    said = concepts.class_phrasings(["Bark", "Fly, housefly"], path, most=2)
    assert said == [("a dog", "a bark"), ("fly, housefly",)]
    assert concepts.class_phrasings(["Bark"], path) == [("a dog", "a bark", "barking")]


def test_the_eighth_of_many_phrasings_is_held_out() -> None:
    assert concepts.held_out(yawns()) == {"yawn": "loud yawn"}
    few = Concept("a", "a", tuple("abcdefghi"))
    assert concepts.held_out([few]) == {}


def test_a_cell_with_several_labels_is_each_of_them() -> None:
    assert concepts.named("dog") == ("dog",)
    assert concepts.named("birds singing; wind ") == (
        "birds singing; wind ",
        "birds singing",
        "wind",
    )


def test_every_class_of_audioset_has_phrasings_of_its_own(known: list[Concept]) -> None:
    classes = yaml.safe_load(concepts.PHRASES.with_name("audioset.yaml").read_text("utf-8"))
    phrases = Counter(text.lower() for texts in classes.values() for text in texts)
    assert len(classes) == 527
    assert all(4 <= len(texts) <= 8 for texts in classes.values())
    assert {text for text, count in phrases.items() if count > 1} == set()
    assert {name for concept in known for name in concept.audioset} <= set(classes)
