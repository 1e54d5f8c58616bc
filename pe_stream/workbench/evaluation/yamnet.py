"""YAMNet, the peer: what a small AudioSet classifier makes of the same audio.

The model hears 0.975 s of 16 kHz audio and scores 521 AudioSet classes, each in 0..1 on its own
(research/audioset/yamnet in tensorflow/models). A label's score is the highest of the classes
that the prompt set names for it.
"""

from __future__ import annotations

import csv
from collections.abc import Callable, Mapping, Sequence
from difflib import get_close_matches
from pathlib import Path

import numpy as np
import soxr
from numpy.typing import NDArray

from pe_stream.core.types import FRAME_S, SAMPLE_RATE, FrameScores, Samples
from pe_stream.errors import ConfigError, UnavailableError
from pe_stream.workbench.evaluation.promptset import Label

RATE = 16_000
"""Samples a second that the model hears."""

WINDOW = 15_600
"""Samples it hears at once: 0.975 s."""

HOP = 7_800
"""Samples from one window to the next: 0.4875 s, as is usual with it."""

MODEL, CLASSES = "yamnet.tflite", "yamnet_class_map.csv"

Classify = Callable[[Samples], NDArray[np.float32]]
"""(WINDOW,) samples at RATE to (classes,) scores in 0..1."""


class Yamnet:
    """Scores audio for the labels it was given."""

    def __init__(self, classify: Classify, classes: Sequence[str], labels: Sequence[Label]) -> None:
        """Take a model, the names of its classes in order, and labels that name such classes.

        Raises ConfigError where a label names a class that there is not.
        """
        self._classify = classify
        named = {label.name: label.yamnet for label in labels}
        self._columns = columns(named, classes, key="yamnet", title="YAMNet")
        self.deaf = frozenset(label.name for label in labels if not label.yamnet)

    def score(self, samples: Samples) -> FrameScores:
        """Score (n,) samples at 48 kHz: (windows, labels), every HOP, the last filled with 0."""
        audio = soxr.resample(samples, SAMPLE_RATE, RATE)
        count = max(1, -(-(len(audio) - WINDOW) // HOP) + 1)
        audio = np.pad(audio, (0, (count - 1) * HOP + WINDOW - len(audio)))
        classes = np.stack([self._classify(audio[i * HOP :][:WINDOW]) for i in range(count)])
        scores = [classes[:, own].max(axis=1, initial=0.0) for own in self._columns]
        return np.stack(scores, axis=1).astype(np.float32)

    @staticmethod
    def frames(windows: FrameScores, count: int) -> FrameScores:
        """Spread (windows, labels) over `count` frames of 40 ms: (count, labels).

        A window's score stands for the hop around the window's centre; what comes before the
        first and after the last such hop gets the score of the nearest.
        """
        centres_s = (np.arange(count) + 0.5) * FRAME_S
        hops = np.floor((centres_s * RATE - (WINDOW - HOP) / 2) / HOP).astype(int)
        spread: FrameScores = windows[hops.clip(0, len(windows) - 1)]
        return spread


def load(folder: Path, labels: Sequence[Label], threads: int | None = None) -> Yamnet:
    """Load the model from `folder` (MODEL and CLASSES); `threads` of the CPU, default 1.

    Raises UnavailableError where a file or the library is missing or the model is another.
    """
    classify, classes = classifier(folder, threads)
    return Yamnet(classify, classes, labels)


def columns(
    named: Mapping[str, Sequence[str]], classes: Sequence[str], *, key: str, title: str
) -> list[list[int]]:
    """The numbers of the classes that labels name under `key` of their prompt set.

    Raises ConfigError where the model (`title`) has no such class.
    """
    for label, names in named.items():
        for name in names:
            if name not in classes:
                near = get_close_matches(name, classes, n=1)
                hint = f" (did you mean {near[0]!r}?)" if near else ""
                raise ConfigError(f"{label}.{key}: {title} has no class {name!r}{hint}")
    return [[classes.index(name) for name in names] for names in named.values()]


def classifier(folder: Path, threads: int | None = None) -> tuple[Classify, list[str]]:
    """The model from `folder` and the names of its classes; otherwise as `load`."""
    for name in (MODEL, CLASSES):
        if not (folder / name).is_file():
            raise UnavailableError(f"{folder}: there is no {name}")
    try:
        with (folder / CLASSES).open(encoding="utf-8", newline="") as lines:
            classes = [row["display_name"] for row in csv.DictReader(lines)]
    except (OSError, ValueError, KeyError, csv.Error) as error:
        raise UnavailableError(f"{folder / CLASSES}: cannot be read: {error}") from error
    return _classifier(folder / MODEL, len(classes), threads or 1), classes


def _classifier(path: Path, classes: int, threads: int) -> Classify:
    try:
        from ai_edge_litert.interpreter import Interpreter
    except ImportError as error:
        raise UnavailableError(
            f'YAMNet needs ai-edge-litert: pip install "pe-stream[eval]" ({error})'
        ) from error
    try:
        interpreter = Interpreter(str(path), num_threads=threads)
        interpreter.allocate_tensors()
    except (ValueError, RuntimeError) as error:
        raise UnavailableError(f"{path}: no TFLite model that can be read: {error}") from error
    heard, said = interpreter.get_input_details()[0], interpreter.get_output_details()[0]
    shapes = (tuple(heard["shape"]), tuple(said["shape"]))
    if shapes != ((1, WINDOW), (1, classes)):
        raise UnavailableError(f"{path}: not YAMNet: it maps shapes {shapes[0]} to {shapes[1]}")

    def classify(samples: Samples) -> NDArray[np.float32]:
        interpreter.set_tensor(heard["index"], samples[None])
        interpreter.invoke()
        scores: NDArray[np.float32] = interpreter.get_tensor(said["index"])[0]
        return scores

    return classify
