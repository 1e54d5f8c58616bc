"""The text tower's lessons: tokens, targets, and the tower itself on padded batches."""

from __future__ import annotations

import itertools
from typing import Any

import pytest
import torch
from torch.nn import functional as F  # noqa: N812 - as everywhere
from transformers import PreTrainedTokenizerFast

from pe_stream.workbench.training import shape, text
from pe_stream.workbench.training.wordings import Head, Wordings

TEXTS = [
    "a dog barks",
    "dogs barking at the postman",
    "rain on a tin roof",
    "a smoke alarm, in the distance",
    "someone's kettle whistles",
    "überall vögel",
]


@pytest.fixture(scope="module")
def tokenizer() -> PreTrainedTokenizerFast:
    return text.tokenizer_for(TEXTS)


def test_the_same_texts_make_the_same_tokenizer() -> None:
    """Processes that train one tower, and a run that goes on, must know words by one number."""
    some = [f"{first}{second} {second}{first}" for first in "abcdefg" for second in "hijklmnop"]
    vocabularies = [text.tokenizer_for(some).get_vocab() for _ in range(6)]
    assert all(vocabulary == vocabularies[0] for vocabulary in vocabularies)


def test_a_tokenizer_knows_its_texts_and_spells_the_rest(
    tokenizer: PreTrainedTokenizerFast,
) -> None:
    assert tokenizer.tokenize("A DOG barks") == ["a", "dog", "barks"]
    pieces = tokenizer.tokenize("dograin")
    assert "".join(pieces).replace("##", "") == "dograin"
    assert len(pieces) > 1
    assert tokenizer.tokenize("42") == ["[UNK]"]
    # Pieces are no special tokens, which would be left out here.
    spelled = tokenizer("dograin")["input_ids"]
    said = tokenizer.decode(spelled, skip_special_tokens=True)
    assert str(said).replace(" ", "").replace("##", "") == "dograin"
    ids = tokenizer("a dog")["input_ids"]
    assert ids[0] == tokenizer.cls_token_id == 2
    assert ids[-1] == tokenizer.sep_token_id == 3
    assert tokenizer.pad_token_id == 0
    assert sorted(tokenizer.get_vocab().values()) == list(range(len(tokenizer)))
    assert set(tokenizer.all_special_tokens) == set(text.SPECIAL)
    assert tokenizer.model_max_length == shape.LONGEST


def test_it_has_no_more_entries_than_the_tower() -> None:
    hard, soft = "bcdfghklmnprst", "aeiou"
    words = [*map("".join, itertools.product(hard, soft, hard, soft, hard))]
    assert len(text.tokenizer_for(words)) == shape.TOKENS


@pytest.fixture(scope="module")
def wordings() -> Wordings:
    generator = torch.Generator().manual_seed(0)
    return Wordings.of(F.normalize(torch.randn(9, 384, generator=generator), dim=1), [4, 2, 3])


@pytest.fixture(scope="module")
def head() -> Head:
    torch.manual_seed(0)
    head = Head(384, 3, 192)
    with torch.no_grad():
        head.offsets.normal_()
    return head


def test_a_phrasing_is_placed_as_the_head_does_with_its_offset(
    head: Head, wordings: Wordings
) -> None:
    """A known text gets its own offset; one that is like no other gets next to none."""
    known = text.targets(head, wordings, wordings.vectors[4:6])
    expected = head(wordings.vectors[4:6], head.offsets[1])
    assert F.cosine_similarity(known, expected).min() > 0.999
    strange = F.normalize(torch.randn(3, 384, generator=torch.Generator().manual_seed(9)), dim=1)
    alone = text.targets(head, wordings, strange)
    assert torch.allclose(alone, head(strange), atol=0.01)
    assert not known.requires_grad


def test_phrasings_are_drawn_half_way_to_the_mean_of_their_text(
    head: Head, wordings: Wordings
) -> None:
    placed = text.own_targets(head, wordings)
    assert placed.shape == (9, 192)
    assert torch.allclose(placed.norm(dim=1), torch.tensor(192**0.5), atol=1e-4)
    rows = head(wordings.vectors[4:6], head.offsets[1])
    half = (rows + rows.mean(0)) / 2
    assert F.cosine_similarity(placed[4:6], half).min() > 1 - 1e-5
    assert not placed.requires_grad


@pytest.fixture(scope="module")
def model() -> Any:
    return shape.new_model(0).eval()


def test_padding_changes_nothing(model: Any, tokenizer: PreTrainedTokenizerFast) -> None:
    with torch.no_grad():
        together = text.embed(model, tokenizer, TEXTS)
        alone = torch.cat([text.embed(model, tokenizer, [line]) for line in TEXTS])
    assert together.shape == (len(TEXTS), shape.EMBEDDING)
    assert torch.allclose(together, alone, atol=1e-5)


def test_a_text_that_is_too_long_is_cut(model: Any, tokenizer: PreTrainedTokenizerFast) -> None:
    with torch.no_grad():
        long = text.embed(model, tokenizer, ["dog " * 60])
        longer = text.embed(model, tokenizer, ["dog " * 90])
    assert torch.allclose(long, longer, atol=1e-5)


def test_lessons_pair_texts_with_their_targets(tokenizer: PreTrainedTokenizerFast) -> None:
    targets = torch.arange(len(TEXTS)).float()[:, None]
    lessons = text.TextBatches(tokenizer, TEXTS, targets, 3)
    lesson = lessons.batch(5)
    rows = {tuple(tokenizer(line)["input_ids"]): n for n, line in enumerate(TEXTS)}
    for ids, mask, target in zip(lesson.ids, lesson.mask, lesson.targets, strict=True):
        kept = tuple(ids[mask.bool()].tolist())
        assert rows[kept] == int(target)
        assert not ids[~mask.bool()].any()
    assert len(set(lesson.targets.flatten().tolist())) == len(TEXTS)
    again = text.TextBatches(tokenizer, TEXTS, targets, 3).batch(5)
    assert torch.equal(again.ids, lesson.ids)
    assert not torch.equal(lessons.batch(6).targets, lesson.targets)


def test_the_loss_is_the_mean_squared_error(model: Any, tokenizer: PreTrainedTokenizerFast) -> None:
    rows = text.embed(model, tokenizer, TEXTS).detach()
    lesson = text.TextBatches(tokenizer, TEXTS, rows + 2.0, 0).batch(0)
    assert float(text.loss(model, lesson).detach()) == pytest.approx(4.0, rel=1e-3)


def test_all_of_the_tower_is_learned_that_is_used(
    model: Any, tokenizer: PreTrainedTokenizerFast
) -> None:
    model.zero_grad()
    text.embed(model, tokenizer, TEXTS).square().sum().backward()
    names = {id(weight): name for name, weight in model.named_parameters()}
    used = {names[id(w)] for w in model.parameters() if w.grad is not None and w.grad.any()}
    assert {names[id(weight)] for weight in text.weights(model)} >= used
    assert all(name.startswith("text_") for name in used)


def test_retrieval_counts_whose_nearest_is_theirs() -> None:
    means = torch.eye(3)
    rows = torch.tensor([[5.0, 1, 0], [0, 0.1, 0], [1, 0, 0.9]])
    assert text.retrieval(rows, ["a", "b", "c"], means, ["a", "b", "c"]) == pytest.approx(2 / 3)
