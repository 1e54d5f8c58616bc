"""Areas under curves, against counting every pair."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from pe_stream.workbench.evaluation.curves import curve, logit


def pairs_auroc(scores: NDArray[np.floating], truths: NDArray[np.bool_]) -> float:
    """The slow, obvious twin."""
    won = [
        1.0 if p > n else 0.5 if p == n else 0.0 for p in scores[truths] for n in scores[~truths]
    ]
    return float(np.mean(won))


def stepped_ap(scores: NDArray[np.floating], truths: NDArray[np.bool_]) -> float:
    """The same of average precision: threshold by threshold."""
    total, before = 0.0, 0.0
    for threshold in sorted(set(scores.tolist()), reverse=True):
        said = scores >= threshold
        recall = truths[said].sum() / truths.sum()
        total += (recall - before) * truths[said].mean()
        before = recall
    return float(total)


@pytest.mark.parametrize("seed", range(20))
def test_agrees_with_brute_force(seed: int) -> None:
    rng = np.random.default_rng(seed)
    count = int(rng.integers(2, 60))
    scores = rng.integers(0, 8 if seed % 2 else 1000, count) / 1000  # odd seeds: many are equal
    truths = rng.random(count) < 0.4
    truths[:2] = True, False
    found = curve(scores.astype(np.float32), truths)
    assert found.auroc == pytest.approx(pairs_auroc(scores, truths))
    assert found.average_precision == pytest.approx(stepped_ap(scores, truths))


def test_by_hand() -> None:
    found = curve(np.array([0.9, 0.8, 0.7, 0.6]), np.array([True, False, True, False]))
    assert found.auroc == pytest.approx(3 / 4)
    assert found.average_precision == pytest.approx(0.5 * 1 + 0.5 * 2 / 3)
    assert found.recall.tolist() == [0.5, 0.5, 1, 1]
    assert found.fallout.tolist() == [0, 0.5, 0.5, 1]
    assert found.precision.tolist() == pytest.approx([1, 1 / 2, 2 / 3, 1 / 2])


def test_with_one_kind_only_there_is_no_figure() -> None:
    scores = np.array([0.1, 0.2])
    assert curve(scores, np.array([True, True])).auroc is None
    assert curve(scores, np.array([True, True])).average_precision == 1.0
    assert curve(scores, np.array([False, False])).auroc is None
    assert curve(scores, np.array([False, False])).average_precision is None


def test_logits_by_hand_and_finite_at_the_ends() -> None:
    scores = np.array([[0.5, 0.9], [0.0, 1.0]], np.float32)
    found = logit(scores)
    assert found[0] == pytest.approx([0.0, np.log(9)], abs=1e-6)
    assert found[1] == pytest.approx([-24 * np.log(2), 24 * np.log(2)], rel=1e-6)
    tiny = np.float32(1e-6)
    assert 1 / (1 + np.exp(-logit(np.array([tiny])))) == pytest.approx([tiny], rel=1e-6)
