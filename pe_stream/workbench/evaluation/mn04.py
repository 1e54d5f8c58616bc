"""mn04, peer and teacher: an AudioSet classifier of one million parameters that hears well.

EfficientAT mn04_as (Schmid et al., ICASSP 2023; MIT) with its mel front end in one ONNX file:
`audio` (batch, samples) at 32 kHz to `logits` (batch, 527), one answer for the whole input. What
it says of a moment is best where logits of windows of 1, 2 and 5 s around it are added.
"""

from __future__ import annotations

import csv
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import soxr
from numpy.typing import NDArray

from pe_stream.core.types import SAMPLE_RATE, Samples
from pe_stream.errors import UnavailableError

RATE = 32_000
"""Samples a second that the model hears."""

WIDTHS_S = (1.0, 2.0, 5.0)
"""Windows whose logits are added."""

MODEL, CLASSES = "mn04_as.onnx", "audioset_classes.csv"

_AT_ONCE_S = 16.0
"""Audio in one call: more brings nothing, and takes memory."""


class Mn04:
    """The model from `folder` (MODEL and CLASSES), on `threads` of the CPU.

    Raises UnavailableError where a file or the library is missing, or the model is another.
    """

    name = "mn04"

    def __init__(self, folder: Path, threads: int = 1) -> None:
        for name in (MODEL, CLASSES):
            if not (folder / name).is_file():
                raise UnavailableError(f"{folder}: there is no {name}")
        self.classes = _classes(folder / CLASSES)
        self._session = _session(folder / MODEL, threads)
        said = self._session.get_outputs()[0]
        if said.name != "logits" or said.shape[-1] != len(self.classes):
            raise UnavailableError(f"{folder / MODEL}: not mn04: its output is {said.shape}")

    def logits(
        self, samples: Samples, hop_s: float, widths_s: Sequence[float] = WIDTHS_S
    ) -> NDArray[np.float32]:
        """Mean of the logits of windows of `widths_s`, (windows, classes).

        samples: (n,) at 48 kHz. Window k is centred at `hop_s * (k + 0.5)`; there are as many as
        begin within the samples.
        """
        audio = np.asarray(soxr.resample(samples, SAMPLE_RATE, RATE), np.float32)
        total = sum(self._of_width(audio, width_s, hop_s) for width_s in widths_s)
        return np.asarray(total / len(widths_s), np.float32)

    def _of_width(self, audio: Samples, width_s: float, hop_s: float) -> NDArray[np.float32]:
        count = max(1, int(np.ceil(len(audio) / (RATE * hop_s))))
        width, hop = round(RATE * width_s), round(RATE * hop_s)
        before = (width - hop) // 2  # samples that the first window begins before the audio
        padded = np.pad(audio, (max(0, before), width + hop))[max(0, -before) :]
        windows = np.stack([padded[k * hop : k * hop + width] for k in range(count)])
        step = max(1, int(_AT_ONCE_S / width_s))
        parts = [
            self._session.run(["logits"], {"audio": windows[k : k + step]})[0]
            for k in range(0, count, step)
        ]
        return np.concatenate(parts)


def _classes(path: Path) -> tuple[str, ...]:
    try:
        with path.open(encoding="utf-8", newline="") as lines:
            return tuple(row["display_name"] for row in csv.DictReader(lines))
    except (OSError, ValueError, KeyError, csv.Error) as error:
        raise UnavailableError(f"{path}: cannot be read: {error}") from error


def _session(path: Path, threads: int) -> Any:
    try:
        import onnxruntime
    except ImportError as error:
        raise UnavailableError(
            f'mn04 needs onnxruntime: pip install "pe-stream[eval]" ({error})'
        ) from error
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    options.log_severity_level = 3
    try:
        return onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    except Exception as error:  # its exceptions have no common class but this one
        raise UnavailableError(f"{path}: no ONNX model that can be read: {error}") from error
