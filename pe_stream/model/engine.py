"""Windows to frame scores by the plain path: the model's own audio encoder over whole windows.

It computes the logits of `PeAudioFrameLevelModel.forward`, with the text half of that done once.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from pe_stream.core.types import FRAME, FrameScores, Samples
from pe_stream.model.checkpoint import Checkpoint
from pe_stream.model.prompts import LabelEmbeddings

MAX_BATCH = 4
"""Windows encoded at once. A full-size codec holds several tensors of 123 MB for each window of
10 s (64 channels of float32), and gains little from batching."""


class Engine:
    """Scores windows for the labels it was given.

    labels: in the order of the columns; may be set to others between two calls of `score`.
    """

    def __init__(self, checkpoint: Checkpoint, labels: LabelEmbeddings) -> None:
        """Take what `embed_labels` made of the labels with the same checkpoint."""
        self._checkpoint = checkpoint
        self.labels = labels

    def score(self, windows: Sequence[Samples]) -> list[FrameScores]:
        """Score each window of shape (n,), n a whole number of frames: a list of (frames, labels).

        In a frame where one of a label's negatives scores higher than the label, the label's
        score is 0; so is a score whose logit is not a finite number.

        Raises ValueError on a window that is not one or more whole frames.
        """
        labels = self.labels
        return [_scores(logits, labels).cpu().numpy() for logits in self._encode(windows, labels)]

    def logits(self, windows: Sequence[Samples]) -> list[NDArray[np.float32]]:
        """Return what the sigmoid would be taken of, unsuppressed; otherwise as `score`."""
        labels = self.labels
        count = len(labels.names)
        return [logits[:, :count].cpu().numpy() for logits in self._encode(windows, labels)]

    @torch.inference_mode()
    def _encode(self, windows: Sequence[Samples], labels: LabelEmbeddings) -> list[Tensor]:
        """Return the logits of each window: (frames, labels + negatives) float32."""
        for window in windows:
            if window.ndim != 1 or not len(window) or len(window) % FRAME:
                raise ValueError(f"a window is whole frames of {FRAME} samples, not {window.shape}")
        model = self._checkpoint.model
        logits: dict[int, Tensor] = {}
        for batch in _batches(windows):
            samples = torch.from_numpy(np.stack([windows[i] for i in batch])).unsqueeze(1)
            states = model.audio_encoder(
                input_values=samples.to(self._checkpoint.device, self._checkpoint.dtype)
            ).last_hidden_state
            frames = model.audio_head(states.float())
            scaled = frames @ labels.rows.T * model.text_audio_logit_scale
            logits.update(zip(batch, scaled + model.text_audio_logit_bias, strict=True))
        return [logits[i] for i in range(len(windows))]


def _batches(windows: Sequence[Samples]) -> Iterator[list[int]]:
    """Group the windows' indices by equal length, at most MAX_BATCH together.

    Lengths are never mixed: zero padding changes the last frames of the shorter window, whether
    masked or not.
    """
    by_length: dict[int, list[int]] = {}
    for i, window in enumerate(windows):
        by_length.setdefault(len(window), []).append(i)
    for same in by_length.values():
        for first in range(0, len(same), MAX_BATCH):
            yield same[first : first + MAX_BATCH]


def _scores(logits: Tensor, labels: LabelEmbeddings) -> Tensor:
    """Turn logits (frames, labels + negatives) into scores (frames, labels)."""
    count = len(labels.names)
    own, negative = logits[:, :count], logits[:, count:]
    strongest = torch.full_like(own, -torch.inf).scatter_reduce(
        1, labels.suppresses.expand_as(negative), negative, "amax"
    )
    heard = own.isfinite() & ~(strongest > own)
    return torch.where(heard, own.sigmoid(), 0.0)
