"""Which labels are nearly the same to the model, by the angle between their vectors."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import combinations

import numpy as np
from numpy.typing import NDArray

from pe_stream.model.prompts import LabelEmbeddings

NEARLY_SAME = 0.9
"""Cosine from which two labels are nearly the same.

With the embedded checkpoint other words for one sound have 0.92 to 0.97 ("a doorbell ringing" and
"doorbell": 0.97; "smoke alarm" and "fire alarm": 0.95; "glass breaking" and "a window being
smashed": 0.92), and two of the everyday labels 0.75 at most (cough and sneeze).
"""


@dataclass(frozen=True, slots=True)
class Overlap:
    """Two labels, and the cosine of their vectors."""

    first: str
    second: str
    cosine: float

    def describe(self) -> str:
        """For people."""
        return f"{self.first} and {self.second} are nearly the same (cosine {self.cosine:.2f})"


def cosines(rows: NDArray[np.float64], others: NDArray[np.float64]) -> NDArray[np.float64]:
    """Cosines (n, m) between rows (n, D) and (m, D); 0 where a row has no length."""
    lengths = [np.linalg.norm(each, axis=1, keepdims=True) for each in (rows, others)]
    first, second = (
        each / np.where(length, length, 1)
        for each, length in zip((rows, others), lengths, strict=True)
    )
    found: NDArray[np.float64] = first @ second.T
    return found


def overlaps(
    labels: LabelEmbeddings,
    *,
    least: float = NEARLY_SAME,
    centre: NDArray[np.float64] | None = None,
) -> list[Overlap]:
    """Pairs of labels with a cosine of at least that, the nearest first.

    centre: (D,) what vectors of all sounds have in common; the cosines are of what is left.
    """
    rows = labels.rows[: len(labels.names)].double().cpu().numpy()
    if centre is not None:
        rows = rows - centre
    table = cosines(rows, rows)
    pairs = [
        Overlap(labels.names[i], labels.names[j], float(table[i, j]))
        for i, j in combinations(range(len(labels.names)), 2)
        if table[i, j] >= least
    ]
    return sorted(pairs, key=lambda pair: -pair.cosine)
