"""Prompt sets: the shipped ones, and what a user's file may say."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

import pytest

from pe_stream.errors import ConfigError, UsageError
from pe_stream.workbench.evaluation.promptset import Label, from_file, shipped


@pytest.mark.parametrize(("name", "count"), [("esc50", 50), ("everyday", 20)])
def test_shipped_sets_are_whole(name: Literal["esc50", "everyday"], count: int) -> None:
    labels = shipped(name)
    assert len(labels) >= count
    for label in labels:
        assert label.plain.strip()
        assert len(label.unseen) == 3
        assert label.yamnet
        assert label.mn04 == ()  # its classes have the same names
        assert not set(label.sounds) & set(label.related)


def test_an_entry_may_be_just_its_prompt(tmp_path: Path) -> None:
    path = tmp_path / "mine.yaml"
    path.write_text(
        "siren: an emergency siren\n"
        "dog_bark:\n  sounds: [dog, puppy]\n  related: [wolf]\n  plain: a dog\n"
        "  unseen: [woof, yap]\n  yamnet: [Dog]\n  see: [a lawn]\n"
        "knock: {}\n",
        "utf-8",
    )
    siren, dog, knock = from_file(path)
    assert siren == Label("siren", "an emergency siren", ("siren",))
    assert dog == Label(
        "dog_bark",
        "a dog",
        ("dog", "puppy"),
        ("wolf",),
        ("woof", "yap"),
        ("Dog",),
        see=("a lawn",),
    )
    assert (knock.plain, knock.sounds) == ("knock", ("knock",))


def test_phrasings() -> None:
    label = Label("dog", "a dog", ("dog",), unseen=("woof", "yap"))
    assert label.prompts("plain") == ("a dog",)
    assert label.prompts("unseen") == ("woof", "yap")
    assert label.prompts(2) == ("yap",)
    with pytest.raises(UsageError, match="--phrasing 3: the label 'dog' has 2 phrasings"):
        label.prompts(3)
    with pytest.raises(UsageError, match="has 0 phrasings"):
        Label("cat", "a cat", ("cat",)).prompts("unseen")


def test_every_mistake_is_told_with_its_line(tmp_path: Path) -> None:
    path = tmp_path / "wrong.yaml"
    path.write_text(
        "dog:\n  sound: [dog]\n  plain: ''\ncat: [a cat]\ncow:\n  unseen: moo\n  sounds: []\n"
        "dog: again\n",
        "utf-8",
    )
    with pytest.raises(ConfigError) as raised:
        from_file(path)
    lines = str(raised.value).splitlines()
    assert [line.removeprefix(f"{path}:").split(": ")[:2] for line in lines] == [
        ["2", "dog.sound"],
        ["3", "dog.plain"],
        ["4", "cat"],
        ["6", "cow.unseen"],
        ["7", "cow.sounds"],
        ["8", "dog"],
    ]
    assert "did you mean 'sounds'?" in lines[0]


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"dog: [", "expected"),
        (b"- dog", "labels and their prompts belong here"),
        (b"", "labels and their prompts belong here"),
        (b"dog: \xff", "not UTF-8"),
        (None, "cannot be read"),
    ],
)
def test_what_is_no_set_is_refused(tmp_path: Path, content: bytes | None, said: str) -> None:
    path = tmp_path / "wrong.yaml"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(ConfigError, match=said):
        from_file(path)
