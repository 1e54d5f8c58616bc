"""Which threshold is recommended, and over how long scores are smoothed."""

from __future__ import annotations

from concurrent.futures import ProcessPoolExecutor
from typing import Any

import numpy as np
import pytest
from workbench.evaluation.made import file, sounds, system

from pe_stream.workbench.evaluation import events
from pe_stream.workbench.evaluation.events import Tally
from pe_stream.workbench.evaluation.scoring import Sounds, System
from pe_stream.workbench.training import threshold_search
from pe_stream.workbench.training.group import end_with_parent
from pe_stream.workbench.training.threshold_search import Choice, best_threshold


def tally(true: int, found: int, false: int, false_empty: int = 0) -> Tally:
    return Tally(true, found, false, false_empty)


def tallies(*counts: Tally, first: float = 0.1) -> list[tuple[float, Tally]]:
    return [(round(first + 0.05 * i, 2), each) for i, each in enumerate(counts)]


def test_the_threshold_is_the_middle_of_the_best() -> None:
    few, best, many = tally(10, 3, 0), tally(10, 9, 1), tally(10, 10, 30)
    points = tallies(many, many, best, best, best, few, few)
    assert best_threshold(points, 1.0) == Choice(0.25, 18 / 20, 0.9, 0.0)


def test_none_that_is_near_to_a_false_alarm_on_background() -> None:
    loud, quiet = tally(10, 9, 3, 1), tally(10, 9, 1)
    points = tallies(loud, loud, *[quiet] * 7)
    choice = best_threshold(points, 1.0)
    assert choice is not None
    # Four steps above the last that was loud, and the middle of what is left.
    assert choice.threshold == 0.45
    assert choice.f1 > 0


@pytest.mark.parametrize(("hours", "threshold"), [(1.9, 0.2), (2.0, 0.1)])
def test_so_many_false_alarms_an_hour_are_allowed(hours: float, threshold: float) -> None:
    # Lower is better but for one false alarm in so many hours.
    points = tallies(tally(10, 9, 0, 1), tally(10, 8, 0, 1), tally(10, 5, 0), tally(10, 1, 0))
    found = best_threshold(points, hours)
    assert found is not None
    assert found.threshold == threshold
    assert found.false_alarms_per_hour == pytest.approx(0.5 if hours == 2 else 0.0)


def test_a_label_that_is_only_found_near_to_false_alarms_is_found_there() -> None:
    loud, only, deaf = tally(10, 9, 3, 1), tally(10, 4, 0), tally(10, 0, 0)
    points = tallies(loud, loud, only, *[deaf] * 7)
    assert best_threshold(points, 1.0) == Choice(0.2, 8 / 14, 0.4, 0.0)


def test_a_label_that_is_always_loud_on_background_gets_the_highest_and_says_so() -> None:
    points = tallies(*[tally(10, 9, 3, 3)] * 6)
    choice = best_threshold(points, 1.0)
    assert choice is not None
    assert (choice.threshold, choice.false_alarms_per_hour) == (0.35, 3.0)


def test_a_label_that_is_never_found_gets_the_lowest_that_is_quiet_and_says_so() -> None:
    points = tallies(tally(5, 0, 4, 1), *[tally(5, 0, 4)] * 5)
    assert best_threshold(points, 1.0) == Choice(0.15, 0.0, 0.0, 0.0)


def test_a_label_that_never_sounds_gets_no_threshold() -> None:
    assert best_threshold(tallies(tally(0, 0, 4), tally(0, 0, 0)), 1.0) is None


def test_thresholds_at_the_ends_are_not_recommended() -> None:
    points = [(0.0001, tally(10, 10, 0)), (0.5, tally(10, 5, 5)), (0.9999, tally(10, 10, 0))]
    choice = best_threshold(points, 1.0)
    assert choice is not None
    assert choice.threshold == 0.5


def heard(*scores: np.ndarray) -> tuple[Sounds, System]:
    """Scores of "dog" in two files of 10 s: it sounds from 2 to 5 s, and in the second not."""
    files = sounds(file("0", {"dog": [(2.0, 5.0)]}), file("1"))
    return files, system(["dog"], *(each[:, None].astype(np.float32) for each in scores))


def test_smoothing_is_recommended_where_it_finds_more() -> None:
    clicks, wavering = np.zeros(250), np.zeros(250)
    clicks[10:240:30] = 0.9
    wavering[50:125] = np.tile([0.9, 0.9, 0.2], 25)
    found = threshold_search.smoothest(*heard(wavering, clicks))
    assert found is not None
    assert (found.smooth_s, found.f1) == (0.6, 1.0)
    assert found.recommended == {
        "threshold": round(found.threshold, 3),
        "off_threshold": round(0.8 * found.threshold, 4),
        "smooth_s": 0.6,
        "recall": 1.0,
        "false_alarms_per_hour": 0.0,
    }


def test_steady_scores_are_not_smoothed() -> None:
    steady = np.zeros(250)
    steady[50:125] = 0.9
    found = threshold_search.smoothest(*heard(steady, np.zeros(250)))
    assert found is not None
    assert (found.smooth_s, found.f1) == (0.0, 1.0)
    assert "smooth_s" not in found.recommended
    assert (
        threshold_search.smoothest(
            sounds(file("1")), system(["dog"], np.zeros((250, 1), np.float32))
        )
        is None
    )


def test_thresholds_at_which_background_is_always_heard_are_not_tried(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    barking = np.full(250, 0.5)
    barking[50:125] = 0.9
    files, scored = heard(barking, np.full(250, 0.5))
    tried: list[float] = []

    def sweep(sounds: Sounds, system: System, column: int, thresholds: Any) -> Any:
        for point in events.sweep(sounds, system, column, thresholds):
            tried.append(point[0])
            yield point

    monkeypatch.setattr(threshold_search, "sweep", sweep)
    found = threshold_search.smoothest(files, scored)
    monkeypatch.setattr(threshold_search, "sweep", events.sweep)
    assert 0.2 < min(tried) < 0.5 < max(tried)
    every = list(events.sweep(files, scored, 0))
    assert found == best_threshold(every, files.empty_hours)


def test_events_begin_where_scores_that_rise_slowly_began_to() -> None:
    rising = np.zeros(250)
    rising[50:125] = np.minimum(0.9, np.linspace(0.3, 1.4, 75))
    files, scored = heard(rising, np.full(250, 0.5))
    found = threshold_search.smoothest(files, scored)
    assert found is not None
    chosen = {"dog": found}
    better = threshold_search.with_off_threshold(files, scored, chosen)["dog"]
    assert better.f1 == found.f1 == 1.0
    assert better.off_ratio == 0.35, "the greatest that reaches back to 0.3"
    assert better.recommended["off_threshold"] == round(0.35 * better.threshold, 4)


def test_events_that_would_merge_end_sooner() -> None:
    two = np.zeros(250)
    two[25:75], two[75:150], two[150:225] = 0.9, 0.3, 0.9
    files = sounds(file("0", {"dog": [(1, 3), (6, 9)]}), file("1"))
    scored = system(["dog"], *(x[:, None].astype(np.float32) for x in (two, np.zeros(250))))
    found = threshold_search.smoothest(files, scored)
    assert found is not None
    assert threshold_search.with_off_threshold(files, scored, {"dog": found})["dog"].f1 == 1.0


def test_a_label_keeps_its_choice_where_no_other_is_asked_for() -> None:
    files, scored = heard(np.zeros(250), np.zeros(250))
    assert threshold_search.with_off_threshold(files, scored, {}) == {}


@pytest.mark.usefixtures("forked_pools")
def test_processes_that_share_the_labels_choose_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(0)
    files = sounds(file("0", {"dog": [(2.0, 5.0)], "cat": [(1, 2), (6, 7)]}), file("1"))
    scores = rng.random((2, 250, 3)).astype(np.float32) / 2
    scores[0, 50:125, 0] += 0.4
    scores[0, 25:50, 1] += 0.3
    scored = system(["dog", "cat", "bird"], *scores)

    def chosen(workers: int) -> dict[str, Choice]:
        found = threshold_search.choices(files, scored, workers)
        return threshold_search.with_off_threshold(files, scored, found, workers)

    alone = chosen(1)
    monkeypatch.setattr(threshold_search, "SHARED_HOURS", 0.0)
    monkeypatch.setattr(threshold_search, "best_threshold", None)  # not called in this process
    started = []

    def pool(workers: int, context: Any, begin: Any) -> ProcessPoolExecutor:
        started.append(begin)
        return ProcessPoolExecutor(workers, context, begin)

    monkeypatch.setattr(threshold_search, "ProcessPoolExecutor", pool)
    assert chosen(2) == alone
    assert list(alone) == ["dog", "cat"]
    assert set(started) == {end_with_parent}, "none outlives a killed training"
