"""Phrasings drawn for each step, and the head that places them among sounds."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F  # noqa: N812 - as everywhere

from pe_stream.workbench.training.wordings import Head, Wordings

COUNTS = (3, 1, 5)
WIDTH, DIMENSIONS = 384, 192


@pytest.fixture(scope="module")
def wordings() -> Wordings:
    generator = torch.Generator().manual_seed(0)
    vectors = F.normalize(torch.randn(sum(COUNTS), WIDTH, generator=generator), dim=1)
    return Wordings.of(vectors, COUNTS)


@pytest.fixture(scope="module")
def head(wordings: Wordings) -> Head:
    torch.manual_seed(0)
    head = Head(WIDTH, len(COUNTS), DIMENSIONS)
    with torch.no_grad():
        head.offsets.normal_()
        list(head.bent.parameters())[-1].normal_(std=0.05)
    return head


def picks(wordings: Wordings, seed: int = 0) -> Tensor:
    return torch.stack([wordings.picks(number, seed) for number in range(600)])


def test_a_text_is_drawn_from_its_own_phrasings(wordings: Wordings) -> None:
    assert wordings.starts.tolist() == [0, 3, 4]
    drawn = picks(wordings)
    for text, rows in enumerate(({0, 1, 2}, {3}, {4, 5, 6, 7, 8})):
        assert set(drawn[:, text].tolist()) == rows


def test_the_plainest_is_drawn_most(wordings: Wordings) -> None:
    """Four times in ten, and its share of the others."""
    plain = (picks(wordings) == wordings.starts).float().mean(0)
    assert plain.tolist() == pytest.approx([0.4 + 0.6 / 3, 1, 0.4 + 0.6 / 5], abs=0.06)
    assert torch.equal(wordings.plain(), wordings.vectors[[0, 3, 4]])


def test_draws_are_the_same_by_seed_and_number(wordings: Wordings, head: Head) -> None:
    assert torch.equal(wordings.picks(7, 1), wordings.picks(7, 1))
    assert torch.equal(wordings.draw(7, 1), wordings.vectors[wordings.picks(7, 1)])
    assert torch.equal(head.draw(wordings, 7, 1), head.draw(wordings, 7, 1))
    assert not torch.equal(picks(wordings, 0), picks(wordings, 1))
    assert len({tuple(row) for row in picks(wordings).tolist()}) > 8


def test_every_text_is_as_loud_as_another(wordings: Wordings, head: Head) -> None:
    for rows in (head(wordings.vectors), head.draw(wordings, 3, 0), head.plain(wordings)):
        assert torch.allclose(rows.norm(dim=-1), torch.tensor(DIMENSIONS**0.5), atol=1e-4)


def test_a_head_is_straight_at_first(wordings: Wordings) -> None:
    fresh = Head(WIDTH, len(COUNTS), DIMENSIONS)
    straight = fresh.straight(wordings.vectors * WIDTH**0.5)
    assert torch.allclose(fresh(wordings.vectors), F.normalize(straight, dim=1) * DIMENSIONS**0.5)
    assert not fresh.offsets.any()


def test_offsets_are_those_of_the_texts_and_left_out_half_of_the_time(
    wordings: Wordings, head: Head
) -> None:
    with_offset = head(wordings.plain(), head.offsets)
    assert torch.equal(head.plain(wordings), with_offset)
    own = head.straight(wordings.plain() * WIDTH**0.5) + head.bent(wordings.plain() * WIDTH**0.5)
    slow = F.normalize(own + head.offsets, dim=1) * DIMENSIONS**0.5
    assert torch.allclose(with_offset, slow, atol=1e-5)
    kept = []
    for number in range(300):
        drawn, vectors = head.draw(wordings, number, 0), wordings.draw(number, 0)
        moved = (drawn - head(vectors, head.offsets)).abs().amax(1) < 1e-4
        bare = (drawn - head(vectors)).abs().amax(1) < 1e-4
        assert torch.equal(moved, ~bare)
        kept.append(moved)
    share = torch.stack(kept).float()
    assert share.mean(0).tolist() == pytest.approx([0.5] * 3, abs=0.1)
    assert len({tuple(row) for row in share.tolist()}) == 8  # each text for itself


def test_head_and_offsets_learn(wordings: Wordings, head: Head) -> None:
    head.zero_grad()
    head.draw(wordings, 0, 0).sum().backward()
    for weight in head.parameters():
        assert weight.grad is not None
        assert weight.grad.any()
