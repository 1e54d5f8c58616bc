"""Thresholds of one hour in another, of scores whose true rates are known."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from score_history import HOUR, background

from pe_stream.core.types import FRAME_NS, LabelRule, ScoreRun
from pe_stream.workbench.calibration.propose import propose
from pe_stream.workbench.evaluation import thresholds, thresholds_table
from pe_stream.workbench.evaluation.thresholds import LabelHour, ahead, at, judge, one_for_all

RULE = LabelRule("x", threshold=0.5, off_threshold=0.4, min_on=5, min_off=10)
SECOND_NS = 10**9


def scene(score: float) -> tuple[ScoreRun, tuple[tuple[int, int], ...]]:
    """20 s in which a sound of 2 s scores so high, and one an hour of nothing."""
    scores = np.full(500, 0.01, np.float32)
    scores[100:150] = score
    start = 7 * 3600 * SECOND_NS
    return ScoreRun(start, scores), ((start + 4 * SECOND_NS, start + 6 * SECOND_NS),)


def hour(a_day: float, seed: int, *scores: float) -> LabelHour:
    """An hour of background, and a scene for each of `scores`."""
    run = ScoreRun(0, background(1, a_day, seed))
    return LabelHour((run,), tuple(map(scene, scores)))


def test_hours_of_one_house_keep_what_was_promised() -> None:
    rules = [replace(RULE, name=f"label{n}") for n in range(4)]
    tracks = [[hour(800 + 400 * n, 10 * n + seed) for seed in range(4)] for n in range(4)]
    done: list[int] = []
    made = judge(rules, tracks, lambda: done.append(1))
    assert len(done) == 4
    rows = {(row["calibrated_on"], row["wanted_per_hour"]): row for row in made["rates"]}
    assert set(rows) == {(on, w) for on in ("one hour", "3 hours") for w in (1.0, 3.0, 10.0)}
    for (on, wanted), row in rows.items():
        assert row["trials"] == (48 if on == "one hour" else 16)
        assert row["mean_per_hour"] == pytest.approx(wanted, rel=0.4)
        assert row["count_as_predicted"] > 0.9
    # chance alone puts a count of a rare event outside the interval of its rate
    assert rows[("3 hours", 1.0)]["count_in_interval_of_rate"] < 0.8


def test_an_hour_is_judged_by_the_others_only(monkeypatch: pytest.MonkeyPatch) -> None:
    """Two quiet hours know nothing of a loud one."""
    monkeypatch.setattr(thresholds, "RATES", (6.0,))
    track = [hour(480, 0), hour(480, 1), hour(20_000, 2)]
    one, two = judge([RULE], [track])["rates"]
    assert (one["trials"], two["trials"]) == (6, 3)
    assert two["mean_per_hour"] > 25
    assert one["count_as_predicted"] < 0.7


def test_recall_and_alarms_are_of_the_hours_that_were_not_calibrated_on() -> None:
    """A label whose scores are low, and one that fires at 0.5 all the time."""
    low = [hour(240, seed, 0.3, 0.02) for seed in range(2)]
    high = [hour(20_000, seed, 0.999) for seed in range(2)]
    rules = [replace(RULE, name=name) for name in ("low", "high", "silent")]
    found = judge(rules, [low, high, [hour(240, 5), hour(240, 6)]])["recall"]
    labels = found["labels"]
    assert [labels[name]["events"] for name in labels] == [4, 2, 0]
    assert labels["low"]["calibrated"]["recall"] == pytest.approx(0.5, abs=0.26)
    assert labels["high"]["calibrated"]["recall"] == 1
    assert labels["low"]["default"]["recall"] == 0
    assert labels["high"]["calibrated"]["false_alarms_per_hour"] < 5
    assert labels["high"]["default"]["false_alarms_per_hour"] > 30
    assert labels["silent"]["default"]["recall"] is None
    assert found["mean"]["default"]["recall"] == pytest.approx(0.5)
    assert found["mean"]["calibrated"]["recall"] >= 0.5
    total = sum(row["calibrated"]["false_alarms_per_hour"] for row in labels.values())
    alike = sum(row["one_for_all"]["false_alarms_per_hour"] for row in labels.values())
    assert alike <= total
    assert found["one_for_all"] > 0.5


def test_one_for_all_is_the_lowest_that_keeps_to_the_rate() -> None:
    tracks = [[hour(2400, 1), hour(2400, 2)]]
    found = one_for_all([RULE], tracks, 10)
    assert sum(each.alarms(at(RULE, found)) for each in tracks[0]) <= 20
    assert sum(each.alarms(at(RULE, found - 0.02)) for each in tracks[0]) > 20


def test_a_count_ahead_is_less_sure_in_bursts_and_surer_in_more_hours() -> None:
    found = propose([[ScoreRun(0, background(6, 2400))]], RULE, 100)
    low, high = ahead(found, 24)
    assert low < 24 * found.rate / 24 < high
    burst_low, burst_high = ahead(replace(found, share=0.2), 24)
    assert burst_low < low
    assert high < burst_high
    none = propose([[ScoreRun(0, np.full(6 * HOUR, 1e-4, np.float32))]], RULE, 4)
    assert none.rate == 0
    assert ahead(none, 6)[0] == 0
    assert 2 <= ahead(none, 6)[1] <= 6


def test_counts_ahead_hold_what_comes() -> None:
    held = 0
    for seed in range(40):
        found = propose([[ScoreRun(0, background(2, 960, seed))]], RULE, 48)
        low, high = ahead(found, 2)
        true = 2 * 40 * np.exp(-2) * (1 - found.threshold) / found.threshold
        held += low <= np.random.default_rng([9, seed]).poisson(true) <= high
    assert held >= 36


def test_what_sounds_where_it_should_is_found() -> None:
    one = hour(0, 0, 0.9, 0.2, 0.9)
    assert (one.true, one.found(RULE), one.alarms(RULE)) == (3, 2, 0)
    assert one.hours == pytest.approx(1)
    run, ((begin, end),) = scene(0.9)
    missed = LabelHour((), ((run, ((begin + 10 * SECOND_NS, end + 10 * SECOND_NS),)),))
    assert missed.found(RULE) == 0
    assert begin - run.start_ns == 100 * FRAME_NS


def test_tables_have_a_row_for_every_rate_and_label() -> None:
    tracks = [[hour(2400, seed, 0.99) for seed in range(2)], [hour(240, 3), hour(240, 4)]]
    made = judge([replace(RULE, name="dog"), replace(RULE, name="cat|s")], tracks)
    heading = {
        "set": "everyday", "phrasing": "plain", "folds": ["5", "dev"], "hours": 2, "seed": 7,
        "checkpoint_description": "a small one",
    }  # fmt: skip
    table = thresholds_table.as_table(heading | made)
    assert "everyday (plain); fold 5, dev; 2 hours without a common recording, seed 7" in table
    lines = table.splitlines()
    assert sum(line.startswith("| one hour") for line in lines) == len(thresholds.RATES)
    assert any(line.startswith("| dog ") and " 1.000 " in line for line in lines)
    assert any(line.startswith(r"| cat\|s ") and " - |" in line for line in lines)
    assert any(line.startswith("| mean of labels with events ") for line in lines)
