"""Labels that no model hears, whose score is the level: their columns, and a daemon of them alone.

Where every label is such a one, nothing is loaded: `NoCheckpoint` and `NoEngine` stand where a
checkpoint and its engine would be. The core fills the columns; see `core.frame_levels`.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence

import numpy as np
import torch

from pe_stream.core.types import (
    NO_CHECKPOINT,
    FrameEmbeddings,
    FrameScores,
    Recommended,
    Window,
)
from pe_stream.errors import ConfigError
from pe_stream.model.checkpoint import Checkpoint
from pe_stream.model.codec import Stream
from pe_stream.model.prompts import LabelEmbeddings


class NoCheckpoint:
    """In the place of a checkpoint, where no label needs one."""

    name = NO_CHECKPOINT
    identity = NO_CHECKPOINT
    words_known = False

    def __init__(self) -> None:
        """Nothing is loaded."""
        self.recommended: Mapping[str, Recommended] = {}

    def describe(self) -> str:
        """For people."""
        return "none is loaded: every label is loud"

    def columns(self, names: Iterable[str], needed_for: Collection[str] = ()) -> LabelEmbeddings:
        """The labels without any words. Raises ConfigError where some need a model."""
        if needed_for:
            one = next(iter(needed_for))
            raise ConfigError(
                f"labels.{one}: it needs the model, which was not loaded, as every label was loud: "
                "restart the daemon with it in the configuration file"
            )
        return with_columns(no_words(None), names)


class NoEngine:
    """In the place of an engine: scores are 0.

    labels: in the order of the columns; may be set to others between two calls.
    """

    most_together = 64
    """How many windows are best scored in one call: it makes no difference."""

    def __init__(self, labels: LabelEmbeddings) -> None:
        """Take the labels' names."""
        self.labels = labels

    def hear(self, streams: Sequence[Stream], windows: Sequence[Window]) -> list[FrameScores]:
        """Scores of each window, (frames, labels); see `Engine.hear`."""
        return [scores for scores, _ in self.hear_and_embed(streams, windows)]

    def hear_and_embed(
        self,
        streams: Sequence[Stream],  # noqa: ARG002 - as of Engine
        windows: Sequence[Window],
        *,
        embed: bool = False,  # noqa: ARG002 - as of Engine; there is nothing to compare texts with
    ) -> list[tuple[FrameScores, FrameEmbeddings | None]]:
        """The same, with no embeddings."""
        labels = len(self.labels.names)
        return [
            (np.zeros((window.frames - window.done, labels), np.float32), None)
            for window in windows
        ]


def no_words(checkpoint: Checkpoint | None) -> LabelEmbeddings:
    """No label at all, for the engine of a checkpoint, or for none."""
    device = checkpoint.device if checkpoint else torch.device("cpu")
    width = checkpoint.width if checkpoint else 0
    return LabelEmbeddings(
        names=(),
        rows=torch.zeros(0, width, device=device),
        suppresses=torch.zeros(0, dtype=torch.int64, device=device),
        offsets=torch.zeros(0, device=device),
    )


def with_columns(embeddings: LabelEmbeddings, names: Iterable[str]) -> LabelEmbeddings:
    """The same labels among others, in the order of `names`; the others score 0."""
    names = tuple(names)
    if names == embeddings.names:
        return embeddings
    at = torch.tensor([names.index(name) for name in embeddings.names], dtype=torch.int64)
    at = at.to(embeddings.rows.device)
    count = len(embeddings.names)
    rows = embeddings.rows.new_zeros(len(names), embeddings.rows.shape[1])
    rows[at] = embeddings.rows[:count]
    offsets = embeddings.offsets.new_full((len(names),), -torch.inf)
    offsets[at] = embeddings.offsets[:count]
    return LabelEmbeddings(
        names=names,
        rows=torch.cat([rows, embeddings.rows[count:]]),
        suppresses=at[embeddings.suppresses],
        offsets=torch.cat([offsets, embeddings.offsets[count:]]),
    )
