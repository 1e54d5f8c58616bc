"""Events, whether they are right, and how well a score tells it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import pytest
from workbench.evaluation.made import columns, file, rule, sounds, system, track

from pe_stream.core.types import SecondOpinion
from pe_stream.pipeline.second_opinion import LabelMoment
from pe_stream.workbench.evaluation.judged_events import JudgedEvent, figures, of_folder
from pe_stream.workbench.evaluation.scoring import System


def opinion(
    sound: float | None = None, picture: float | None = None, both: float | None = None
) -> SecondOpinion:
    return SecondOpinion(sound, picture, both, None, 0, (0.0, 8.0), "pe-av", 100)


class Asked:
    """Stands in for second opinions: its opinion on a sound is when that is, in tenths."""

    def __init__(self) -> None:
        self.files: list[str] = []

    def of_moments(self, path: str, moments: Sequence[LabelMoment]) -> list[SecondOpinion]:
        self.files.append(path)
        return [opinion(sound=each.time_s / 10) for each in moments]


def judged(found: Any, ours: System) -> tuple[list[tuple[Any, ...]], list[str]]:
    asked = Asked()
    events = of_folder(found, ours, asked)  # type: ignore[arg-type]  # as far as it is used
    told = [(e.label, e.right, round(e.peak, 4), e.opinion.sound) for e in events]
    return told, asked.files


def test_right_overlaps_its_label_and_false_nothing_near() -> None:
    """Of a and b, loud from 1, 4 and 7 s on, the second a little later still."""
    loud = track(250, (1.0, 2.0, 0.6), (1.48, 1.52, 0.9), (4.0, 5.0, 0.7), (7.0, 8.0, 0.8))
    found = sounds(
        file("one", {"a": [(1.2, 1.4)]}, {"a": [(4.9, 5.5)]}),
        file("quiet"),
        file("three", {"b": [(0.0, 10.0)]}),
    )
    quiet = track(250)
    ours = system(["a", "b"], columns(loud, quiet), columns(quiet, quiet), columns(quiet, loud))
    told, files = judged(found, ours)
    assert told == [
        ("a", True, 0.9, pytest.approx(0.148)),
        ("a", False, 0.8, pytest.approx(0.7)),
        ("b", True, 0.9, pytest.approx(0.148)),
        ("b", True, 0.7, pytest.approx(0.4)),
        ("b", True, 0.8, pytest.approx(0.7)),
    ]
    assert files == ["one", "three"]  # nobody is asked about a file without events


def test_peaks_are_of_what_the_threshold_is_compared_with() -> None:
    smooth = replace(rule("a"), smooth=5)
    spiky = track(100, (1.0, 2.0, 0.8), (1.0, 1.04, 1.0))
    found = sounds(file("one"), duration_s=4.0)
    ours = replace(system(["a"], columns(spiky)), rules=(smooth,))
    ((label, right, peak, _),), _ = judged(found, ours)
    assert (label, right, peak) == ("a", False, pytest.approx(0.84))


def right(peak: float, label: str = "a", **scores: float) -> JudgedEvent:
    return JudgedEvent(label, right=True, peak=peak, opinion=opinion(**scores))


def false(peak: float, label: str = "a", **scores: float) -> JudgedEvent:
    return replace(right(peak, label, **scores), right=False)


def test_how_well_a_score_tells_right_from_false() -> None:
    """Of 40 right events, two at the bottom are what a limit may cost."""
    events = [right(0.5, sound=0.01 * i, both=0.9) for i in range(20, 60)]
    events += [false(0.9, sound=0.1), false(0.4, sound=0.21), false(0.5, sound=0.5)]
    made = figures(events, "pe-av")
    assert (made["checkpoint"], made["kept"], list(made["labels"])) == ("pe-av", 0.95, ["a"])
    row = made["all"]
    assert row == made["labels"]["a"]
    assert (row["right"], row["false"]) == (40, 3)
    assert row["peak"] == {"auroc": pytest.approx(0.5), "least": 0.5, "false_below": 1 / 3}
    higher = 40 + 38.5 + 9.5  # than each of the false ones
    assert row["sound"] == {
        "auroc": pytest.approx(higher / 120),
        "least": pytest.approx(0.22),
        "false_below": pytest.approx(2 / 3),
    }
    nothing = {"auroc": None, "least": None, "false_below": None}
    assert row["picture"] == row["together"] == nothing
    assert row["both"] == nothing  # of the right ones alone


def test_every_label_is_judged_alone_and_all_together() -> None:
    events = [
        right(0.9, "b", sound=0.9),
        false(0.1, "b", sound=0.8),
        right(0.9, "a", sound=0.3),
        false(0.1, "a", sound=0.2),
        right(0.9, "c", sound=0.9),
    ]
    made = figures(events, "pe-av")
    assert list(made["labels"]) == ["a", "b", "c"]
    assert [made["labels"][name]["sound"]["auroc"] for name in "abc"] == [1.0, 1.0, None]
    assert made["all"]["sound"]["auroc"] == pytest.approx(5 / 6)
    assert figures([], "pe-av")["all"]["peak"]["auroc"] is None
