"""Scores of one label to few bytes, for keeping: about 0.7 a frame, where float32 takes 3.5 zipped.

A score becomes its logit in steps of 1/64 between -16 and 16; those become differences from frame
to frame, the low bytes of all before the high ones, which are mostly 0; then zlib, for Huffman's
code and runs of zeros alone (Z_RLE: smaller and faster here than its search for repetitions).

Measured on the embedded checkpoint's scores of a made room (15 min, quiet but for the demo
recording in it), 11 labels, in chunks of a minute: 0.68 bytes a frame, 1.5 MB a day and label.
Steps of 1/32 would take 0.55. A byte for the score itself would take 0.25 and err as much, but as
much for a score of 0.01 too, where those of quiet labels lie, and thresholds may.
"""

from __future__ import annotations

import zlib

import numpy as np
from numpy.typing import NDArray

ERROR = 0.002
"""What comes back lies this near to what was given: half a step is 1/128 of a logit, and the score
moves by at most a quarter of what its logit does. Exactly 0 and 1 come back as they were, nothing
else comes back as 0, and order is kept."""

_STEPS = 64
"""Steps of the code in one of the logit."""

_LIMIT = 16
"""Logits beyond are taken as this: float32 has few scores there, all next to 0 or 1."""

_ZERO = _LIMIT * _STEPS + 1
"""Code of logit 0; code 0 is the score 0, which no logit has: a label that was suppressed."""

_FORMAT = b"\x01"
"""First byte of what is made here."""


def _table() -> NDArray[np.float32]:
    logits = (np.arange(2 * _ZERO) - _ZERO) / _STEPS
    scores: NDArray[np.float32] = (1 / (1 + np.exp(-logits))).astype(np.float32)
    scores[0], scores[-1] = 0.0, 1.0
    return scores


_SCORES = _table()
"""Score of each code."""


def encode(scores: NDArray[np.float32]) -> bytes:
    """Scores in 0..1, (n,), one frame after the other. Raises ValueError on anything else."""
    if scores.ndim != 1 or not np.all((scores >= 0) & (scores <= 1)):
        raise ValueError("scores are numbers from 0 to 1, of one label")
    exact = scores.astype(np.float64)
    with np.errstate(divide="ignore"):
        logits = np.log(exact) - np.log1p(-exact)
    codes = np.rint(np.clip(logits, -_LIMIT, _LIMIT) * _STEPS).astype(np.int32) + _ZERO
    codes[scores == 0] = 0
    deltas = np.diff(codes, prepend=0)
    unsigned = ((deltas << 1) ^ (deltas >> 31)).astype(
        "<u2"
    )  # 0, -1, 1, -2, ... to 0, 1, 2, 3, ...
    planes = unsigned.view(np.uint8).reshape(-1, 2).T.tobytes()
    packer = zlib.compressobj(9, zlib.DEFLATED, zlib.MAX_WBITS, zlib.DEF_MEM_LEVEL, zlib.Z_RLE)
    return _FORMAT + packer.compress(planes) + packer.flush()


def decode(code: bytes) -> NDArray[np.float32]:
    """The scores, (n,) float32, within ERROR. Raises ValueError on what `encode` has not made."""
    if not code.startswith(_FORMAT):
        raise ValueError("scores in an unknown format")
    try:
        planes = np.frombuffer(zlib.decompress(code[1:]), np.uint8).reshape(2, -1)
    except zlib.error as error:
        raise ValueError(f"scores that are damaged: {error}") from error
    unsigned = planes[0] | planes[1].astype(np.int32) << 8
    codes = np.cumsum((unsigned >> 1) ^ -(unsigned & 1))
    if len(codes) and (codes.min() < 0 or codes.max() >= len(_SCORES)):
        raise ValueError("scores that are damaged: there is no such code")
    scores: NDArray[np.float32] = _SCORES[codes]
    return scores
