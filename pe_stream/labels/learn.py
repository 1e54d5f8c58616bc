"""Labels' examples and background put to use: the vectors that the engine multiplies with."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from pe_stream.config import LabelSettings
from pe_stream.core.types import FrameEmbeddings
from pe_stream.errors import PeStreamError, UnavailableError
from pe_stream.labels import background, examples
from pe_stream.labels.examples import Embedder, Example
from pe_stream.model.checkpoint import Checkpoint
from pe_stream.model.few_shot import FewShotLabel, learn, space_of, with_learned
from pe_stream.model.prompts import LabelEmbeddings

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, eq=False)
class Lesson:
    """Training material of a label.

    examples: each recording once. repeated: for people, which are not counted, and why.
    against: sounds that are something else, (frames, D) each: the package's, then the user's own.
    """

    examples: tuple[Example, ...]
    repeated: tuple[str, ...]
    against: tuple[FrameEmbeddings, ...]

    @property
    def sounds(self) -> list[FrameEmbeddings]:
        """The examples' active frames, (frames, D) each."""
        return [each.sound for each in self.examples]


def lesson(checkpoint: Checkpoint, name: str, label: LabelSettings) -> Lesson:
    """Load what a label is taught with. Raises UnavailableError naming label, key and file."""
    return _lesson(Embedder(checkpoint), name, label)


def teach(
    checkpoint: Checkpoint, embeddings: LabelEmbeddings, labels: Mapping[str, LabelSettings]
) -> LabelEmbeddings:
    """The labels' embeddings, those with examples learned from them too.

    An example that repeats another counts once, with a warning: the label hears as it should, which
    is no reason for a daemon not to start. Raises UnavailableError naming the label and the file.
    """
    learned: dict[str, FewShotLabel] = {}
    embedder = Embedder(checkpoint)
    for name, label in labels.items():
        if label.examples:
            taught = _lesson(embedder, name, label)
            for line in taught.repeated:
                log.warning("%s", line)
            words, space = words_of(embeddings, name), space_of(checkpoint)
            learned[name] = learn(words, taught.sounds, taught.against, space)
    return with_learned(embeddings, learned) if learned else embeddings


def words_of(embeddings: LabelEmbeddings, name: str) -> NDArray[np.float64]:
    """A label's row (D,)."""
    row: NDArray[np.float64] = embeddings.rows[embeddings.names.index(name)].double().cpu().numpy()
    return row


def _lesson(embedder: Embedder, name: str, label: LabelSettings) -> Lesson:
    try:
        loaded = [examples.load(embedder, path) for path in label.examples]
    except PeStreamError as error:
        raise UnavailableError(f"labels.{name}.examples: {error}") from error
    against = list(background.made(embedder).values())
    try:
        for path in label.background:
            against += background.pieces(background.load(embedder, path))
    except PeStreamError as error:
        raise UnavailableError(f"labels.{name}.background: {error}") from error
    kept, repeated = examples.distinct(loaded)
    told = (
        f"labels.{name}.examples: {each.name} is the same recording as {first.name}: counted once"
        for each, first in repeated
    )
    return Lesson(tuple(kept), tuple(told), tuple(against))
