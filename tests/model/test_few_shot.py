"""What examples add to a label's words: on points in a small space, and in the engine."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from pe_stream.core.types import FRAME, Samples
from pe_stream.model.checkpoint import load
from pe_stream.model.engine import Engine
from pe_stream.model.few_shot import FewShotLabel, Space, learn, left_out, space_of, with_learned
from pe_stream.model.prompts import LabelPrompts, embed_labels

SPACE = Space(scale=0.5, bias=-3.0)
WORDS = np.array([4.0, 0.0, 0.0, 0.0])
SOUND = np.array([0.0, 3.0, 0.0, 4.0])
"""Where the words do not look; the last axis is what all sounds have."""

Frames = NDArray[np.float16]


def cloud(middle: NDArray[np.float64], seed: int, count: int = 60) -> Frames:
    rng = np.random.default_rng(seed)
    return (middle + rng.normal(0, 0.25, (count, 4))).astype(np.float16)


def background() -> list[Frames]:
    middles = ([0, 0, 0, 4.0], [0, 0, 2, 4.0], [0, -1, -2, 4.0])
    return [cloud(np.array(each), 10 + number) for number, each in enumerate(middles)]


def mean(frames: Frames, learned: FewShotLabel) -> float:
    return float(SPACE.scores(frames, learned).mean())


def test_without_examples_or_background_the_words_stay() -> None:
    for examples, other in (([], background()), ([cloud(SOUND, 0)], [])):
        learned = learn(WORDS, examples, other, SPACE)
        assert learned.row.tolist() == WORDS.tolist()
        assert learned.offset == 0


def test_examples_that_the_words_do_not_know_are_learned() -> None:
    unseen = cloud(SOUND, 99)
    assert mean(unseen, FewShotLabel(WORDS)) < 0.1
    found = []
    for count in (1, 3, 10):
        learned = learn(WORDS, [cloud(SOUND, n) for n in range(count)], background(), SPACE)
        found.append(mean(unseen, learned) - max(mean(each, learned) for each in background()))
    assert found == sorted(found)
    assert found[0] > 0.1
    assert found[-1] > 0.3


def test_what_the_words_know_well_stays_with_the_words() -> None:
    known = np.array([4.0, 0, 0, 4.0])
    learned = learn(WORDS, [cloud(known, n) for n in range(10)], background(), SPACE)
    assert mean(cloud(known, 5), FewShotLabel(WORDS)) > 0.9
    assert np.linalg.norm(learned.row - WORDS) < 1e-3
    assert learned.offset == 0


def test_a_peak_is_enough_to_know_it() -> None:
    """As events are made of peaks: what is around them in the example is no reason to learn."""
    peaky = np.concatenate([cloud(SOUND, 0), cloud(np.array([4.0, 0, 0, 4.0]), 1, count=3)])
    row = learn(WORDS, [peaky], background(), SPACE).row
    assert np.linalg.norm(row - WORDS) < 1e-3
    assert np.linalg.norm(learn(WORDS, [cloud(SOUND, 0)], background(), SPACE).row - WORDS) > 0.5


def test_what_the_words_take_most_for_the_sound_is_told_apart_however_short() -> None:
    hard = np.array([0.7, 0.0, 3.0, 4.0])
    plain = cloud(np.array([0, 0, 0, 4.0]), 20, count=200)
    with_peak = np.concatenate([plain, cloud(hard, 21, count=2)])
    examples = [cloud(np.array([0.0, 2.0, 2.0, 4.0]), n) for n in range(5)]
    found = [
        mean(
            cloud(hard, 30), FewShotLabel(learn(WORDS, examples, [*background(), each], SPACE).row)
        )
        for each in (plain, with_peak)
    ]
    assert found[1] < found[0] - 0.02


def test_background_that_the_words_mean_is_none() -> None:
    also = cloud(np.array([4.0, 0, 0, 4.0]), 7)
    with_it = learn(WORDS, [cloud(SOUND, 0)], [*background(), also], SPACE)
    assert with_it.row == pytest.approx(learn(WORDS, [cloud(SOUND, 0)], background(), SPACE).row)


def test_every_example_counts_the_same_however_long() -> None:
    one, other = cloud(SOUND, 0), cloud(np.array([0, 3.0, 2, 4.0]), 1)
    long = np.repeat(one, 20, axis=0)
    learned = learn(WORDS, [long, other], background(), SPACE)
    assert learned.row == pytest.approx(learn(WORDS, [one, other], background(), SPACE).row)


def test_the_offset_brings_the_examples_to_one_half_and_no_further() -> None:
    examples = [cloud(SOUND, n) for n in range(10)]
    quieter = Space(SPACE.scale, SPACE.bias - 15)
    learned = learn(WORDS, examples, background(), quieter)
    assert learned.offset > 0
    logits = [quieter.logits(each, learned).mean() for each in examples]
    assert np.mean(logits) == pytest.approx(0, abs=1e-6)
    assert learn(WORDS, examples, background(), Space(SPACE.scale, SPACE.bias + 2)).offset == 0


def test_examples_that_are_the_background_get_no_offset() -> None:
    assert learn(WORDS, background()[:1], background(), SPACE).offset == 0


def test_left_out_is_by_the_others_alone() -> None:
    examples = [cloud(SOUND, n) for n in range(3)]
    found = left_out(WORDS, examples, background(), SPACE)
    by_others = learn(WORDS, examples[1:], background(), SPACE)
    assert found[0] == pytest.approx(SPACE.scores(examples[0], by_others))
    (alone,) = left_out(WORDS, examples[:1], background(), SPACE)
    assert alone == pytest.approx(SPACE.scores(examples[0], FewShotLabel(WORDS)))


def test_a_background_without_any_spread_teaches_nothing() -> None:
    flat = [np.zeros((5, 4), np.float16)]
    learned = learn(WORDS, [cloud(SOUND, 0)], flat, SPACE)
    assert np.isfinite(learned.row).all()


def test_the_engine_scores_with_what_was_learned() -> None:
    checkpoint = load("embedded", device="cpu", dtype="float32", threads=1)
    prompts = {
        "dog": LabelPrompts(("a dog",), ("a wolf",)),
        "cat": LabelPrompts(("a cat",)),
    }
    words = embed_labels(checkpoint, prompts)
    assert words.offsets.tolist() == [0, 0, 0]
    engine = Engine(checkpoint, words)
    rng = np.random.default_rng(0)
    window: Samples = rng.normal(0, 0.1, 25 * FRAME).astype(np.float32)
    (before,) = engine.score([window])
    row = words.rows[1].double().numpy() * 1.1
    engine.labels = with_learned(words, {"cat": FewShotLabel(row, 1.5)})
    (after,) = engine.score([window])
    assert after[:, 0].tolist() == before[:, 0].tolist()
    space = space_of(checkpoint)
    expected = np.log(before[:, 1] / (1 - before[:, 1])).astype(np.float64)
    expected = (expected - space.bias) * 1.1 + space.bias + 1.5
    assert np.log(after[:, 1] / (1 - after[:, 1])) == pytest.approx(expected, abs=1e-3)
    assert torch.equal(words.offsets, torch.zeros(3))
