"""The peers that are in a folder, each asked about the labels that it has AudioSet classes for."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from pe_stream.core.types import FRAME_S, SAMPLE_RATE, FrameScores, Samples
from pe_stream.errors import UnavailableError
from pe_stream.workbench.evaluation import mn04, yamnet
from pe_stream.workbench.evaluation.promptset import Label
from pe_stream.workbench.evaluation.scoring import Peer, Scored
from pe_stream.workbench.evaluation.yamnet import Yamnet, columns

TITLES: Mapping[str, str] = {"yamnet": "YAMNet", "mn04_1s": "mn04 1 s", "mn04": "mn04"}
"""Peers by their name in the report, in its order, and what people call them."""

HOP_S = 0.5
"""Between two answers of mn04 (s)."""

_WHOLE_S = 10.0
"""Clips up to this long mn04 is asked about as a whole: so long were those it learnt from."""


def load(folder: Path, labels: Sequence[Label], threads: int | None = None) -> dict[str, Peer]:
    """All peers of `folder`, by name, on `threads` of the CPU, default 1.

    Raises UnavailableError where there is none, or one of which a file or library is missing, and
    ConfigError where a label names a class that there is not.
    """
    found: dict[str, Peer] = {}
    if (folder / yamnet.MODEL).is_file():
        found["yamnet"] = _OfWindows(yamnet.load(folder, labels, threads))
    if (folder / mn04.MODEL).is_file():
        model = Answers(mn04.Mn04(folder, threads or 1))
        found["mn04_1s"] = Mn04Peer(model, labels, (1.0,))
        found["mn04"] = Mn04Peer(model, labels, mn04.WIDTHS_S)
    if not found:
        raise UnavailableError(f"{folder}: there is no {yamnet.MODEL}, and no {mn04.MODEL}")
    return found


class _OfWindows:
    """YAMNet, whose windows are what clips are judged by too."""

    def __init__(self, model: Yamnet) -> None:
        self._model = model
        self.deaf = model.deaf

    def hear(self, samples: Samples, count: int) -> Scored:
        windows = self._model.score(samples)
        return Scored(self._model.frames(windows, count), windows)


class Answers:
    """mn04's answers about the file it heard last: several peers ask for the same ones."""

    def __init__(self, model: mn04.Mn04) -> None:
        """Begin with none."""
        self.classes = model.classes
        self._model = model
        self._of: Samples | None = None
        self._known: dict[float, NDArray[np.float32]] = {}

    def logits(self, samples: Samples, width_s: float) -> NDArray[np.float32]:
        """Logits of windows of a width every HOP_S, (windows, classes)."""
        if samples is not self._of:
            self._of, self._known = samples, {}
        if width_s not in self._known:
            self._known[width_s] = self._model.logits(samples, HOP_S, (width_s,))
        return self._known[width_s]

    def whole(self, samples: Samples) -> NDArray[np.float32]:
        """Logits of pieces that the model takes as a whole, (pieces, classes)."""
        count = max(1, -(-len(samples) // round(_WHOLE_S * SAMPLE_RATE)))
        pieces = np.array_split(samples, count)
        told = []
        for piece in pieces:
            width_s = max(1.0, len(piece) / SAMPLE_RATE)
            told.append(self._model.logits(piece, width_s, (width_s,))[:1])
        return np.concatenate(told)


class Mn04Peer:
    """mn04, the logits of windows of some widths averaged."""

    def __init__(self, model: Answers, labels: Sequence[Label], widths_s: Sequence[float]) -> None:
        """Raises ConfigError where a label names a class that there is not."""
        self._model, self._widths_s = model, tuple(widths_s)
        named = {label.name: (label.mn04 or label.yamnet) for label in labels}
        self._columns = columns(named, model.classes, key="mn04", title="mn04")
        self.deaf = frozenset(name for name, classes in named.items() if not classes)

    def hear(self, samples: Samples, count: int) -> Scored:
        """Scores of frames and of a whole clip: one width of windows, or the clip itself."""
        logits = [self._model.logits(samples, width_s) for width_s in self._widths_s]
        windows = self._scores(sum(logits[1:], logits[0]) / np.float32(len(logits)))
        whole = len(logits) > 1
        steps = self._scores(self._model.whole(samples)) if whole else windows
        centres_s = (np.arange(count) + 0.5) * FRAME_S
        hops = np.floor(centres_s / HOP_S).astype(int)
        return Scored(windows[hops.clip(0, len(windows) - 1)], steps)

    def _scores(self, logits: NDArray[np.float32]) -> FrameScores:
        classes = 1 / (1 + np.exp(-logits.astype(np.float64)))
        scores = [classes[:, own].max(axis=1, initial=0.0) for own in self._columns]
        return np.stack(scores, axis=1).astype(np.float32)
