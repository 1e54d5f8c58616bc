"""Texts while sounds are learned: vectors of a sentence encoder through a head that is trained too.

A large sentence encoder (MiniLM) places texts by meaning, and what sounds alike does not always
mean alike. So a head from its vectors to the space of sounds is trained together with the audio
encoder, on many phrasings of each concept. What no phrasing tells (that engines and rain look
alike, say) goes into an offset of each concept, which is held small, and which is left out half
of the time, so that the head alone knows most. Words that no sound came with go through the same
head: the sentence encoder's geometry, bent towards sound. Afterwards the small text tower of the
checkpoint is taught to do what encoder, head and offsets do (`pe_stream.workbench.training.text`).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812 - as everywhere

_PLAIN = 0.4
"""How often a text is represented by its plainest phrasing."""

_HIDDEN = 512


@dataclass(frozen=True)
class Wordings:
    """All phrasings of N texts: vectors (P, 384) of unit length, and where each text's begin.

    The first phrasing of a text is the plainest one.
    """

    vectors: Tensor
    starts: Tensor
    counts: Tensor

    @classmethod
    def of(cls, vectors: Tensor, counts: Sequence[int]) -> Wordings:
        """Wordings of vectors in the texts' order; counts: phrasings of each."""
        sizes = torch.tensor(counts)
        return cls(vectors, sizes.cumsum(0) - sizes, sizes)

    def picks(self, number: int, seed: int) -> Tensor:
        """(N,) rows of `vectors`: of each text the plainest phrasing, or any; by `number`."""
        generator = torch.Generator().manual_seed(hash((seed, number)))
        other = (torch.rand(len(self.counts), generator=generator) * self.counts).long()
        plain = torch.rand(len(self.counts), generator=generator) < _PLAIN
        return self.starts + torch.where(plain, 0, other)

    def draw(self, number: int, seed: int) -> Tensor:
        """(N, 384): the vectors of the phrasings picked."""
        return self.vectors[self.picks(number, seed)]

    def plain(self) -> Tensor:
        """(N, 384): the plainest phrasing of each text."""
        return self.vectors[self.starts]


class Head(nn.Module):
    """Maps a sentence encoder's vectors (..., 384) to the space of sounds (..., D).

    offsets: (N, D), of the texts of a `Wordings`. What comes out has the norm sqrt(D), so that no
    wording is louder than another.
    """

    def __init__(self, width: int, texts: int, dimensions: int) -> None:
        super().__init__()
        self.straight = nn.Linear(width, dimensions)
        last = nn.Linear(_HIDDEN, dimensions, bias=False)
        nn.init.zeros_(last.weight)
        self.bent = nn.Sequential(nn.Linear(width, _HIDDEN), nn.GELU(), last)
        self.offsets = nn.Parameter(torch.zeros(texts, dimensions))
        self._dimensions = dimensions

    def forward(self, vectors: Tensor, offsets: Tensor | None = None) -> Tensor:
        """Place texts; `offsets` (..., D) are added where there are any."""
        # Unit vectors of 384 have components of 0.05; a layer wants them about 1.
        own = vectors * vectors.shape[-1] ** 0.5
        rows: Tensor = self.straight(own) + self.bent(own)
        if offsets is not None:
            rows = rows + offsets
        placed: Tensor = F.normalize(rows, dim=-1) * self._dimensions**0.5
        return placed

    def draw(self, wordings: Wordings, number: int, seed: int) -> Tensor:
        """(N, D): drawn phrasings, half of them with their text's offset."""
        generator = torch.Generator().manual_seed(hash((seed, number, 1)))
        kept = torch.rand(len(self.offsets), 1, generator=generator) < 0.5
        return self.forward(
            wordings.draw(number, seed), self.offsets * kept.to(self.offsets.device)
        )

    def plain(self, wordings: Wordings) -> Tensor:
        """(N, D): the plainest phrasings, with offsets."""
        return self.forward(wordings.plain(), self.offsets)
