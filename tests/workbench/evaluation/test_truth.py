"""A manifest and a prompt set to what truly sounds where."""

from __future__ import annotations

from dataclasses import replace
from math import inf
from pathlib import Path

import pytest

from pe_stream.errors import UnavailableError
from pe_stream.workbench.evaluation.promptset import Label
from pe_stream.workbench.evaluation.truth import Span, find, merged
from pe_stream.workbench.manifest import Clip

DOG = Label("dog_bark", "a dog", ("dog", "puppy"), related=("wolf",))
CAT = Label("cat", "a cat", ("cat",))


def clip(key: str, label: str, *times: float, dataset: str = "", clip_id: str = "") -> Clip:
    onset_s, offset_s = times or (None, None)
    return Clip(Path(key), key, label, "", dataset, clip_id, onset_s=onset_s, offset_s=offset_s)


def test_a_weak_clip_sounds_throughout() -> None:
    truth = find([clip("a", "puppy"), clip("b", "wolf"), clip("c", ""), clip("d", "cow")], [DOG])
    assert not truth.strong
    a, b, c = truth.files
    assert (a.true, a.near, a.empty) == ({"dog_bark": (Span(0, inf),)}, {}, False)
    assert (b.true, b.near, b.empty) == ({}, {"dog_bark": (Span(0, inf),)}, False)
    assert (c.true, c.near, c.empty) == ({}, {}, True)
    assert truth.unknown == {"cow": 1}


def test_strong_events_of_one_file_come_together() -> None:
    rows = [
        clip("a", "dog", 3, 4),
        clip("a", "puppy", 1, 2),
        clip("a", "dog", 1.5, 2.5),
        clip("a", "wolf", 6, 7),
        clip("a", "cow", 8, 9),
        clip("b", "cow", 1, 2),
        clip("c", ""),
    ]
    truth = find(rows, [DOG, CAT])
    assert truth.strong
    assert truth.labels == ("dog_bark", "cat")
    a, b, c = truth.files
    assert a.true == {"dog_bark": (Span(1, 2.5), Span(3, 4))}
    assert a.near == {"dog_bark": (Span(6, 7),)}
    assert (b.true, b.empty) == ({}, False)
    assert c.empty
    assert truth.unknown == {"cow": 2}


def test_the_same_clip_of_two_data_sets_counts_once() -> None:
    rows = [
        clip("x/1", "dog", dataset="x", clip_id="1"),
        clip("y/1", "dog", dataset="y", clip_id="1"),
        clip("y/2", "dog", dataset="y", clip_id="2"),
        clip("y/3", "dog", dataset="y"),
        clip("x/3", "dog", dataset="x"),
    ]
    truth = find(rows, [DOG])
    assert [file.key for file in truth.files] == ["x/1", "y/2", "y/3", "x/3"]
    assert truth.doubles == 1


def test_the_users_order_of_data_sets_decides_which_double_counts() -> None:
    rows = [
        clip("x/1", "dog", dataset="x", clip_id="1"),
        clip("y/1", "dog", dataset="y", clip_id="1"),
    ]
    (file,) = find(rows, [DOG], ["y", "x"]).files
    assert file.key == "y/1"


@pytest.mark.parametrize(
    ("rows", "said"),
    [
        ([clip("a", "cow"), clip("b", "pig")], "no clip is of any label in the set.*cow, pig"),
        ([clip("a", "dog", 1, 2), clip("b", "dog")], "b: 'dog' has no onset_s"),
        ([clip("a", "dog", 2, 2)], "from 2 to 2 s is no event"),
        ([clip("a", "dog", -1, 2)], "is no event"),
        ([clip("a", "dog", 1, float("nan"))], "is no event"),
        ([clip("a", "dog", 1, 2), clip("a", "")], "with and without a label"),
    ],
)
def test_what_cannot_be_meant_is_refused(rows: list[Clip], said: str) -> None:
    with pytest.raises(UnavailableError, match=said):
        find(rows, [DOG, CAT])


def test_spans_that_touch_are_one() -> None:
    spans = [Span(3, 4), Span(0, 1), Span(1, 2), Span(1.2, 1.5)]
    assert merged(spans) == (Span(0, 2), Span(3, 4))
    assert not Span(0, 1).overlaps(Span(1, 2))
    assert Span(0, 1.1).overlaps(Span(1, 2))


def test_what_is_made_is_apart_from_what_is_real() -> None:
    note = "background: rain; SNR 3.0 dB; of "

    def noted(of: str, label: str, *times: float) -> Clip:
        return replace(clip("a", label, *times), note=note + of)

    rows = [
        noted("a/dog.flac", "dog", 1, 2),
        noted("synthesised", "dog", 3, 4),
        noted("synthesised", "wolf", 6, 7),
        noted("synthesised", "cat", 8, 9),
        noted("several clips", "cat", 10, 11),
    ]
    (file,) = find(rows, [DOG, CAT]).files
    assert file.true == {"dog_bark": (Span(1, 2),), "cat": (Span(10, 11),)}
    assert file.near == {"dog_bark": (Span(3, 4), Span(6, 7)), "cat": (Span(8, 9),)}
    assert file.made == {"dog_bark": (Span(3, 4),), "cat": (Span(8, 9),)}
    made = file.of_made()
    assert made.true == file.made
    assert made.near["dog_bark"] == (Span(1, 2), Span(3, 4), Span(6, 7))
    assert made.near["cat"] == (Span(8, 9), Span(10, 11))
    some = file.of_made({"cat"})
    assert some.true == {"dog_bark": (Span(1, 2),), "cat": (Span(8, 9),)}
    assert some.near["dog_bark"] == file.near["dog_bark"]
    assert file.of_made(()).true == file.true


def test_a_folder_of_made_sounds_alone_can_be_judged() -> None:
    row = replace(clip("a", "dog", 1, 2), note="background: rain; SNR 3.0 dB; of synthesised")
    (file,) = find([row], [DOG]).files
    assert (file.true, set(file.made), file.empty) == ({}, {"dog_bark"}, False)
