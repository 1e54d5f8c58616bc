"""Trained weights: the checkpoint's own, and those that only training needs."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from pe_stream.workbench.training import encoder, shape
from pe_stream.workbench.training.batches import Batch, Batches
from pe_stream.workbench.training.shards import Shards
from pe_stream.workbench.training.wordings import Head, Wordings


@dataclass(frozen=True)
class Words:
    """The phrasings of the teacher's classes and then of all concepts, and their vectors."""

    wordings: Wordings
    texts: list[str]


class Learned(nn.Module):
    """Head and imitation, which only training needs, and the loss."""

    def __init__(self, model: Any, words: Words, batches: Batches, mixtures: Shards) -> None:
        super().__init__()
        self._model = [model]  # in a list: its weights are not this module's
        width = model.audio_encoder.config.hidden_size
        taught = batches.logits(mixtures.logits()[::4]).flatten(0, 1)
        vectors = words.wordings.vectors
        self.head = Head(vectors.shape[1], len(words.wordings.counts), shape.EMBEDDING)
        self.imitation = encoder.Imitation(width, taught)
        classes = taught.shape[1] - len(batches.taught)
        self._labelled = torch.tensor(batches.labelled) + classes
        columns = [*range(classes), *(classes + i for i in batches.taught)]
        self._taught = torch.tensor(columns, dtype=torch.long)

    @property
    def model(self) -> Any:
        """The checkpoint's model."""
        return self._model[0]

    def encoder_weights(self) -> list[nn.Parameter]:
        """Weights of the encoder, and the bias of the logits."""
        return [*encoder.encoder_weights(self.model), self.model.text_audio_logit_bias]

    def own_weights(self) -> list[nn.Parameter]:
        """Weights of head and imitation."""
        return list(self.parameters())

    def free(self, seconds: Tensor) -> Tensor:
        """The teacher's logits (n, K) by the linear head on means of frames (n, width)."""
        rows: Tensor = self.imitation.free(seconds)
        return rows * self.imitation.spread + self.imitation.centre

    def loss(self, batch: Batch, features: Tensor, texts: Tensor) -> encoder.Losses:
        """The loss of codec features (B, T, 192) and texts (N, D)."""
        model = self.model
        frames = encoder.hear(model, features)
        embeddings = model.audio_head(frames).float()
        logits = encoder.SCALE * (embeddings @ texts.float().T) + model.text_audio_logit_bias
        return encoder.losses(
            frames.float(),
            logits,
            batch,
            self.imitation,
            labelled=self._labelled,
            taught=self._taught,
        )
