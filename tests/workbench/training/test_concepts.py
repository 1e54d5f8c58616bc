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
    texts = concepts.corpus(known, words, 60_000, 0)
    assert len(texts) == len(set(texts)) == 60_000
    assert texts == concepts.corpus(known, words, 60_000, 0)
    assert texts != concepts.corpus(known, words, 60_000, 1)
    held = set(concepts.held_out(known).values())
    assert len(held) > 50
    assert not held & set(texts)
    assert any("carpet" in text for text in texts)


def test_every_class_of_audioset_has_phrasings_of_its_own(known: list[Concept]) -> None:
    classes = yaml.safe_load(concepts.PHRASES.with_name("audioset.yaml").read_text("utf-8"))
    phrases = Counter(text.lower() for texts in classes.values() for text in texts)
    assert len(classes) == 527
    assert all(4 <= len(texts) <= 8 for texts in classes.values())
    assert {text for text, count in phrases.items() if count > 1} == set()
    assert {name for concept in known for name in concept.audioset} <= set(classes)
