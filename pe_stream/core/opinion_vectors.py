"""What is kept of a second opinion, so that events are found by words."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal, get_args

import numpy as np
from numpy.typing import NDArray

VectorKind = Literal["sound", "picture", "both"]
"""What a vector is of: of sound and picture together the last."""

VECTOR_KINDS: tuple[VectorKind, ...] = get_args(VectorKind)

STORED = np.dtype("<f2")
"""The numbers of a vector that is kept."""


@dataclass(frozen=True, slots=True, eq=False)
class OpinionVectors:
    """What PE-AV makes of what was around an event.

    vectors: (E,) of type STORED, by kind; none of what there was not. identity: of the checkpoint
    that made them, as of `Checkpoint.identity`; checkpoint: its name, for people.
    """

    checkpoint: str
    identity: str
    vectors: Mapping[VectorKind, NDArray[np.float16]]


@dataclass(frozen=True, slots=True, eq=False)
class OpinionProbe:
    """A text to compare with vectors that are kept: a logit is `vector @ row + bias`.

    rows: (E,) float32, and biases, by kind. identity: of the checkpoint that embedded it; it
    compares with no other's vectors.
    """

    identity: str
    rows: Mapping[VectorKind, NDArray[np.float32]]
    biases: Mapping[VectorKind, float]

    def logits(self, kind: VectorKind, vectors: NDArray[np.float16]) -> NDArray[np.float32]:
        """Logits (n,) of vectors (n, E); -inf of one that has what is no number."""
        row, bias = self.rows[kind], np.float32(self.biases[kind])
        with np.errstate(over="ignore", invalid="ignore"):
            logits: NDArray[np.float32] = vectors.astype(np.float32) @ row + bias
        return np.where(np.isfinite(logits), logits, np.float32(-np.inf))


def pack(vectors: Mapping[VectorKind, NDArray[Any]]) -> tuple[list[VectorKind], bytes]:
    """Vectors of one length as bytes, and which they are, in order."""
    return list(vectors), b"".join(each.tobytes() for each in vectors.values())


def unpack(
    kinds: list[VectorKind], packed: bytes, number: np.dtype[Any]
) -> dict[VectorKind, NDArray[Any]]:
    """Vectors as they were packed. Raises ValueError on what `pack` does not make."""
    if not set(kinds) <= set(VECTOR_KINDS):
        raise ValueError(f"{kinds!r} are no kinds of vectors")
    rows = np.frombuffer(packed, number).reshape(len(kinds), -1)
    return dict(zip(kinds, rows, strict=True))
