"""Models that already hear, to learn from: mn04, or YAMNet where a folder has only that."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Protocol

import numpy as np
import soxr
from numpy.typing import NDArray

from pe_stream.core.types import SAMPLE_RATE, Samples
from pe_stream.workbench.evaluation import mn04, yamnet


class Teacher(Protocol):
    """A model whose answers are imitated. classes: AudioSet's display names."""

    name: str
    """As people know it; empty for one that knows nothing."""

    @property
    def classes(self) -> Sequence[str]:
        """Names of what it knows, in the order of its logits."""

    def logits(self, samples: Samples, hop_s: float) -> NDArray[np.float32]:
        """(n,) samples at 48 kHz to (n / hop, classes), centred at `hop_s * (k + 0.5)`."""


def load(folder: Path | None) -> Teacher:
    """The teacher of a folder; without one, a teacher that knows nothing.

    Raises UnavailableError where the folder has none, or a library is missing.
    """
    if folder is None:
        return _Nobody()
    if (folder / yamnet.MODEL).is_file() and not (folder / mn04.MODEL).is_file():
        return _YamnetTeacher(folder)
    return mn04.Mn04(folder)


def classes(folder: Path | None) -> tuple[str, ...]:
    """The classes of the teacher of a folder."""
    return tuple(load(folder).classes)


class _Nobody:
    name = ""
    classes: Sequence[str] = ()

    def logits(self, samples: Samples, hop_s: float) -> NDArray[np.float32]:
        return np.zeros((int(np.ceil(len(samples) / SAMPLE_RATE / hop_s)), 0), np.float32)


class _YamnetTeacher:
    name = "YAMNet"

    def __init__(self, folder: Path) -> None:
        self._classify, names = yamnet.classifier(folder)
        self.classes: Sequence[str] = tuple(names)

    def logits(self, samples: Samples, hop_s: float) -> NDArray[np.float32]:
        audio = soxr.resample(samples, SAMPLE_RATE, yamnet.RATE)
        hop = round(yamnet.RATE * hop_s)
        count = int(np.ceil(len(audio) / hop))
        before = max(0, yamnet.WINDOW - hop) // 2
        skipped = max(0, hop - yamnet.WINDOW) // 2
        padded = np.pad(audio, (before, yamnet.WINDOW + hop))[skipped:]
        windows = (padded[k * hop :][: yamnet.WINDOW] for k in range(count))
        scores = np.stack([self._classify(window) for window in windows])
        bounded = scores.clip(1e-6, 1 - 1e-6)
        return np.asarray(np.log(bounded / (1 - bounded)), np.float32)
