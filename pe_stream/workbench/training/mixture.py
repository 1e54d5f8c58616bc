"""A mixture and what is in it: what stands on disk, and what training examples are cut from."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from pe_stream.core.types import FRAME, Samples
from pe_stream.workbench.training.frontend import HOP

FRAMES = 250
"""Frames of a mixture: 10 s."""

STEPS = FRAME // HOP
"""Filterbank outputs in a frame of the model."""

MOST_SOUNDS = 8
"""In a mixture, background included."""


@dataclass(frozen=True, slots=True)
class Part:
    """One sound of a mixture.

    label: as the manifest or the formula has it. sounding: (FRAMES,) bool, frames in which it is
    there. heard: (FRAMES,) bool, those of them in which it stands out of the rest.
    """

    label: str
    sounding: NDArray[np.bool_]
    heard: NDArray[np.bool_]


@dataclass(frozen=True, slots=True)
class Mixture:
    """10 s of audio and what is in it.

    samples: (FRAMES * FRAME,) float32 at 48 kHz. outputs: (96, 4 * FRAMES) of the filterbank.
    single: whether one sound is alone in it, with nothing but noise behind.
    """

    samples: Samples
    outputs: Tensor
    parts: tuple[Part, ...]
    single: bool


def bridged(heard: NDArray[np.bool_], pause: int) -> NDArray[np.bool_]:
    """Frames (T,) with gaps of up to `pause` frames filled: pauses belong to the event."""
    at = np.flatnonzero(heard)
    filled = heard.copy()
    for before, after in pairwise(at.tolist()):
        if 1 < after - before <= pause + 1:
            filled[before:after] = True
    return filled
