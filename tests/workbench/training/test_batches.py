"""Examples cut from stored mixtures: targets, weights and answers of the right frames."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import Tensor

from pe_stream.workbench.training import batches as module
from pe_stream.workbench.training.batches import LENGTHS, Batch, Batches
from pe_stream.workbench.training.concepts import Concept
from pe_stream.workbench.training.frontend import BANDS, CHANNELS
from pe_stream.workbench.training.mixture import FRAMES, MOST_SOUNDS, STEPS
from pe_stream.workbench.training.shards import HOP_FRAMES, Stored

CONCEPTS = [
    Concept("none", "nothing", ("nothing",)),
    Concept("dog", "a dog", ("a dog",), ("dog", "puppy"), ("Dog", "Bark")),
    Concept("rain", "rain", ("rain",), ("rain",), ("Rain",)),
    Concept("owl", "an owl", ("an owl",), ("owl",)),
    Concept("unheard", "a siren", ("a siren",), ("siren",), ("Siren", "Alarm")),
]
CLASSES = ("Bark", "Speech", "Rain", "Dog", "Siren")
LABELS = ("dog", "dog; rain", "owl", "puppy", "rain")
DOG, RAIN, OWL = 0, 1, 2
"""Columns: the concepts that mixtures are made of, in their order."""

ANSWERS = FRAMES // HOP_FRAMES
Spans = Mapping[str, tuple[tuple[int, int], tuple[int, int]]]
"""Of labels: frames in which they sound, frames in which they are heard."""


def stored(spans: Spans, *, single: bool = False, level: float = 0.1) -> Stored:
    """A mixture whose outputs tell the frame, and whose answers tell second and class."""
    labels = np.full(MOST_SOUNDS, -1, np.int16)
    sounding = np.zeros((MOST_SOUNDS, FRAMES), bool)
    heard = np.zeros((MOST_SOUNDS, FRAMES), bool)
    for i, (label, ((first, last), (start, end))) in enumerate(spans.items()):
        labels[i] = LABELS.index(label.strip())
        sounding[i, first:last] = True
        heard[i, start:end] = True
    frames = np.arange(FRAMES).repeat(STEPS)
    outputs = np.broadcast_to(level * (1 + frames / FRAMES), (CHANNELS, STEPS * FRAMES))
    logits = np.arange(ANSWERS)[:, None] + np.array([0.0, 0.1, 0.2, 0.3, 0.4])
    return Stored(
        outputs.astype(np.float16), logits.astype(np.float16), labels, sounding, heard, single
    )


class Kept:
    """Shards that are a list."""

    labels = LABELS

    def __init__(self, *some: Stored) -> None:
        self._some = some

    def __len__(self) -> int:
        return len(self._some)

    def __getitem__(self, number: int) -> Stored:
        return self._some[number]


def drawn(*some: Stored, seed: int = 0, frames: int = 500) -> Batches:
    shards: Any = Kept(*some)
    return Batches(shards, CONCEPTS, CLASSES, frames=frames, seed=seed)


def cut(mixture: Stored, first: int = 0, length: int = FRAMES) -> module._TrainingExample:
    return drawn(mixture)._cut(mixture, first, length)


def at(column: Tensor) -> list[int]:
    return [int(frame) for frame in column.nonzero().flatten()]


def test_columns_are_the_concepts_that_mixtures_are_made_of() -> None:
    made = drawn(stored({}))
    assert made.labelled == (1, 2, 3)
    assert made.taught == (1, 2, 4)


def test_what_the_teacher_says_of_a_concept_is_the_highest_of_its_classes() -> None:
    logits = np.array([[1, 2, 3, 4, 5], [9, 2, -3, 4, -5]], np.float16)
    both = drawn(stored({})).logits(logits)
    assert both.dtype == torch.float32
    assert both.tolist() == [[1, 2, 3, 4, 5, 4, 3, 5], [9, 2, -3, 4, -5, 9, -3, -5]]


def test_one_mixture_in_fifty_is_held_out() -> None:
    told = [stored({"dog": ((0, 250), (0, 250))}), *[stored({})] * 49] * 2
    made = drawn(*told, frames=250)
    assert [*made.held_out] == [0, 50]
    assert not any(made.batch(number).target.any() for number in range(60))
    whole = made.whole(50)
    assert whole.target[0, :, DOG].all()
    assert whole.outputs.shape == (1, CHANNELS, STEPS * FRAMES)
    assert len(drawn(*told[:50]).held_out) == 0, "too few to do without one"


def test_without_a_teacher_there_are_no_answers() -> None:
    shards: Any = Kept(stored({}))
    alone = Batches(shards, CONCEPTS, (), frames=100, seed=0)
    assert alone.taught == ()
    assert alone.logits(np.zeros((3, 10, 0), np.float16)).shape == (3, 10, 0)


def test_targets_are_in_the_frames_where_a_sound_is_heard() -> None:
    example = cut(stored({"dog": ((50, 90), (50, 90)), "owl": ((0, 250), (0, 250))}))
    assert at(example.target[:, DOG]) == list(range(50, 90))
    assert example.target[:, OWL].all()
    assert not example.target[:, RAIN].any()
    assert (example.weight[:, RAIN] == 1).all()
    assert (example.weight[50:90, DOG] == 1).all()


def test_a_stretch_has_its_own_frames() -> None:
    mixture = stored({"dog": ((50, 90), (50, 90))})
    whole, part = cut(mixture), cut(mixture, 75, 50)
    assert at(part.target[:, DOG]) == list(range(15))
    for name in ("target", "weight", "heard"):
        assert torch.equal(getattr(part, name), getattr(whole, name)[75:125])
    assert torch.equal(part.outputs, whole.outputs[:, 4 * 75 : 4 * 125])
    assert part.taught[:, 1].tolist() == pytest.approx([3.1, 4.1], abs=0.01)


def test_a_label_with_several_names_is_all_of_them() -> None:
    example = cut(stored({"dog; rain": ((50, 90), (50, 90)), "puppy": ((10, 20), (10, 20))}))
    assert at(example.target[:, RAIN]) == list(range(50, 90))
    # Two sounds of a concept, and the pause of 1.2 s between them, which is theirs.
    assert at(example.target[:, DOG]) == [*range(10, 20), *range(50, 90)]
    assert (example.weight[50:90, [DOG, RAIN]] == 1).all()


def test_pauses_of_a_sound_belong_to_it() -> None:
    mixture = stored({"dog": ((0, 200), (0, 200))})
    mixture.heard[0, 50:100] = False
    assert at(cut(mixture).target[:, DOG]) == list(range(200))
    assert cut(mixture, 75, 25).target[:, DOG].all()  # a stretch of nothing but the pause
    mixture.heard[0, 100] = False
    assert at(cut(mixture).target[:, DOG]) == [*range(50), *range(101, 200)]


def test_what_is_there_and_not_heard_is_neither_yes_nor_no() -> None:
    example = cut(stored({"dog": ((50, 150), (50, 80))}))
    assert at(example.target[:, DOG]) == list(range(50, 80))
    assert (example.weight[80:150, DOG] == 0).all()
    assert (example.weight[50:80, DOG] == 1).all()


def test_near_a_sound_nobody_is_sure_of_its_end() -> None:
    weight = cut(stored({"dog": ((50, 90), (50, 90))})).weight[:, DOG]
    unsure = [frame for frame in range(FRAMES) if weight[frame] != 1]
    assert unsure == [*range(44, 50), *range(90, 96)]
    assert weight[44] == pytest.approx(0.3)


@pytest.mark.parametrize("order", [("dog", "puppy"), ("puppy", "dog")])
def test_one_of_two_that_is_heard_is_sure(order: tuple[str, str]) -> None:
    """Whichever comes first: what hides one sound of a concept does not hide the other."""
    spans = {"dog": ((40, 160), (40, 41)), "puppy": ((60, 100), (60, 100))}
    example = cut(stored({label: spans[label] for label in order}))
    assert (example.target[60:100, DOG] == 1).all()
    assert (example.weight[60:100, DOG] == 1).all()
    assert (example.weight[100:160, DOG] == 0).all()


def test_a_single_sound_is_named_with_the_frames_in_which_it_is_heard() -> None:
    spans: Spans = {"owl": ((50, 150), (60, 90))}
    example = cut(stored(spans, single=True))
    assert example.single == OWL
    assert at(example.heard) == list(range(60, 90))
    other = cut(stored(spans))
    assert other.single == -1
    assert not other.heard.any()
    assert cut(stored({"dog; rain": ((0, 9), (0, 9))}, single=True)).single == -1


def test_stretches_begin_where_an_answer_does_and_fit(monkeypatch: pytest.MonkeyPatch) -> None:
    mixture = stored({})
    made = drawn(mixture)
    firsts: dict[int, set[int]] = {}
    monkeypatch.setattr(
        made, "_cut", lambda _, first, length: firsts.setdefault(length, set()).add(first)
    )
    rng = np.random.default_rng(0)
    for length in LENGTHS:
        for _ in range(300):
            made._stretch(rng, length)
    for length, some in firsts.items():
        assert some == {HOP_FRAMES * n for n in range((FRAMES - length) // HOP_FRAMES + 1)}


def test_a_stretch_of_a_single_sound_has_it() -> None:
    for start in (0, 120, 210):
        made = drawn(stored({"owl": ((start, start + 10), (start, start + 10))}, single=True))
        rng = np.random.default_rng(0)
        assert all(made._stretch(rng, 50).heard.any() for _ in range(20))


def test_batches_have_the_shapes_they_promise() -> None:
    made = drawn(stored({"dog": ((0, 250), (0, 250))}, single=True), frames=500)
    seen = set()
    for number in range(24):
        batch = made.batch(number)
        count, length, labels = batch.target.shape
        seen.add(length)
        assert labels == 3
        assert count == 500 // length
        assert batch.weight.shape == batch.target.shape
        assert batch.outputs.shape == (count, CHANNELS, STEPS * length)
        assert torch.isfinite(batch.outputs).all()
        assert batch.single.shape == (count,)
        assert batch.heard.shape == (count, length)
        assert batch.taught.shape == (count, length // HOP_FRAMES, 8)
        assert batch.number == number
    assert seen == set(LENGTHS)
    assert len(drawn(stored({}), frames=10).batch(0).target) == 1


def test_the_same_seed_and_number_make_the_same_batch() -> None:
    mixture = stored({"dog": ((50, 90), (50, 90))})
    one, two = drawn(mixture, seed=5).batch(3), drawn(mixture, seed=5).batch(3)
    for name in ("outputs", "target", "weight", "single", "heard", "taught"):
        assert torch.equal(getattr(one, name), getattr(two, name)), name
    assert not same(one, drawn(mixture, seed=6).batch(3))
    assert not same(one, drawn(mixture, seed=5).batch(4))


def same(one: Batch, two: Batch) -> bool:
    return one.outputs.shape == two.outputs.shape and torch.equal(one.outputs, two.outputs)


def test_a_batch_goes_to_a_device_whole() -> None:
    batch = drawn(stored({})).batch(2)
    moved = batch.to(torch.device("meta"))
    assert moved.number == 2
    tensors = [value for value in vars(moved).values() if isinstance(value, Tensor)]
    assert {tensor.device.type for tensor in tensors} == {"meta"}
    assert len(tensors) == 6


def example(spans: Spans, hz_band: int) -> module._TrainingExample:
    """All energy of a mixture in one band, where it sounds at all; a little everywhere."""
    mixture = stored(spans)
    outputs = np.full((CHANNELS, STEPS * FRAMES), 1e-4, np.float16)
    where = mixture.sounding.any(0).repeat(STEPS)
    outputs[2 * hz_band : 2 * hz_band + 2, where] = 0.1
    return cut(
        Stored(
            outputs, mixture.logits, mixture.labels, mixture.sounding, mixture.heard, single=False
        )
    )


def test_two_at_once_hide_each_other_in_one_band() -> None:
    dog = example({"dog": ((0, 150), (0, 150))}, 20)
    owl = example({"owl": ((100, 250), (100, 250))}, 20)
    both = module._together(dog, owl, -10.0)
    assert at(both.target[:, DOG]) == list(range(150))
    assert at(both.target[:, OWL]) == list(range(150, 250))
    # Hidden by the dog: neither there nor not.
    assert (both.weight[100:150, OWL] == 0).all()
    assert (both.weight[160:250, OWL] == 1).all()
    assert torch.allclose(both.outputs, dog.outputs + owl.outputs * 10**-0.5)
    louder = module._together(dog, owl, 10.0)
    assert at(louder.target[:, DOG]) == list(range(100))
    assert (louder.weight[100:150, DOG] == 0).all()
    assert at(louder.target[:, OWL]) == list(range(100, 250))


def test_two_at_once_in_different_bands_are_both_heard() -> None:
    dog, owl = example({"dog": ((0, 250), (0, 250))}, 2), example({"owl": ((0, 250), (0, 250))}, 45)
    both = module._together(dog, owl, -10.0)
    assert both.target[:, [DOG, OWL]].all()
    assert (both.weight[:, [DOG, OWL]] == 1).all()
    assert both.single == -1
    assert not both.heard.any()


def test_what_one_surely_has_stays_where_the_other_is_unsure() -> None:
    sure = example({"dog": ((0, 250), (0, 250))}, 20)
    unsure = example({"puppy": ((0, 250), (0, 1))}, 45)
    both = module._together(sure, unsure, 0.0)
    assert both.target[:, DOG].all()
    assert (both.weight[:, DOG] == 1).all()
    neither = module._together(unsure, unsure, 0.0)
    assert (neither.weight[1:, DOG] == 0).all()


def test_the_teacher_hears_the_softer_one_less() -> None:
    one, two = cut(stored({})), cut(stored({}))
    raised: NDArray[np.float32] = np.float32(5.0) + two.taught.numpy()
    two = replace(two, taught=torch.from_numpy(raised))
    assert torch.allclose(module._together(one, two, -12.0).taught, two.taught - 2)
    assert torch.allclose(module._together(two, one, 3.0).taught, two.taught - 0.5)


def test_bands_move_up_and_down_and_leave_silence() -> None:
    waves = torch.arange(CHANNELS).float()[:, None].expand(CHANNELS, 8) + 1
    up, down = module._shifted(waves, 2), module._shifted(waves, -2)
    assert torch.equal(up[4:], waves[:-4])
    assert not up[:4].any()
    assert torch.equal(down[:-4], waves[4:])
    assert not down[-4:].any()
    assert module._shifted(waves, 0) is waves


def test_a_microphone_has_one_gain_for_both_parts_of_a_band() -> None:
    gains = torch.stack([module._colour(np.random.default_rng(seed)) for seed in range(60)])
    assert gains.shape == (60, CHANNELS, 1)
    assert torch.equal(gains[:, 0::2], gains[:, 1::2])
    level = 20 * gains[:, ::2, 0].log10()
    assert level.max() <= 6.01
    assert level.min() >= -130
    assert (level.amax(1) - level.amin(1) > 30).float().mean() > 0.3  # bands that are gone
    assert (level[:, BANDS // 2].abs() < 6.01).float().mean() > 0.5


def test_a_microphone_has_noise_of_its_own() -> None:
    noise = module._noise(np.random.default_rng(1), 4000)
    level = 10 * noise.square().mean(1).log10()
    assert -118 < level.min() < level.max() < -66
    assert torch.equal(noise, module._noise(np.random.default_rng(1), 4000))


def test_levels_are_those_of_rooms() -> None:
    """Mixtures at one level come out 28 dB softer to 10 dB louder, and at times with a hole."""
    made = drawn(stored({}, level=0.05), frames=500)
    levels = torch.cat(
        [10 * made.batch(n).outputs.square().mean(2).amax(1).log10() for n in range(20)]
    )
    assert levels.min() < -45
    assert levels.max() > -20
