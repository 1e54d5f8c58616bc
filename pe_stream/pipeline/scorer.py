"""Settings to what hears: the checkpoint loaded, the labels embedded, the rules of each source."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from platformdirs import user_cache_dir

from pe_stream.config import LabelSettings, ModelSettings
from pe_stream.core.hours import Span
from pe_stream.core.pooling import Probe
from pe_stream.core.types import FrameEmbeddings, LabelRule
from pe_stream.core.windows import Framing
from pe_stream.core.words import has_control_characters
from pe_stream.errors import ConfigError
from pe_stream.labels.fingerprint import fingerprint
from pe_stream.labels.learn import teach
from pe_stream.model.checkpoint import Checkpoint, load
from pe_stream.model.compiled import use_cache
from pe_stream.model.engine import Engine
from pe_stream.model.prompts import LabelEmbeddings, LabelPrompts, compare, embed_labels, probe

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Labels:
    """Labels ready for use: what the engine multiplies with, and when a score makes an event.

    rules: one for each column of the engine, in its order.
    keys: by label, a fingerprint of what makes its scores: only scores of the same can be compared.
    """

    embeddings: LabelEmbeddings
    rules: tuple[LabelRule, ...]
    keys: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Hearing:
    """What hears: the same for files and live sources."""

    checkpoint: Checkpoint
    engine: Engine
    framing: Framing
    labels: Labels

    def compare(self, embeddings: FrameEmbeddings, text: str) -> NDArray[np.float32]:
        """Scores (frames,) of frame embeddings for any text; raises ConfigError."""
        return compare(self.checkpoint, embeddings, text)

    def probe(self, text: str) -> Probe:
        """A text to search with in what was heard; raises ConfigError."""
        return probe(self.checkpoint, text)


Holds = Callable[[Span], bool]
"""Whether it is the time of a span."""


def never(_: Span) -> bool:
    """No schedule counts, as for files: they have no local time."""
    return False


def prepare(
    model: ModelSettings,
    labels: Mapping[str, LabelSettings],
    *,
    streams: int = 1,
    holds: Holds = never,
) -> Hearing:
    """Load the checkpoint and embed the labels; raises UnavailableError or ConfigError.

    streams: how many there will be at once, to be ready for. holds: for the labels' schedules.
    """
    checkpoint = load(
        model.checkpoint,
        revision=model.revision,
        cache=Path(model.cache) if model.cache else None,
        device=model.device,
        dtype=model.dtype,
        threads=model.threads,
    )
    prepared = prepare_labels(checkpoint, labels, holds)
    framing = Framing(model.window_frames, model.hop_frames, model.lookahead_frames)
    engine = Engine(checkpoint, prepared.embeddings, exact=model.exact)
    if model.compile:
        log.info("compiling the model: minutes the first time, seconds later")
        use_cache(Path(user_cache_dir("pe-stream")) / "compiled")
        engine.warm(framing, streams)
    return Hearing(checkpoint, engine, framing, prepared)


def labels_from_prompts(
    prompts: Sequence[str], threshold: float | None = None
) -> dict[str, LabelSettings]:
    """Each text a label of its own, in the order given.

    Raises ConfigError on a text that is empty, given twice, or has control characters.
    """
    for text in prompts:
        if not text.strip():
            raise ConfigError("a prompt is empty; describe the sound in words")
        if has_control_characters(text):
            raise ConfigError(f"the prompt {text!r} has a control character: words only")
        if prompts.count(text) > 1:
            raise ConfigError(f"the prompt {text!r} is given more than once")
    return {text: LabelSettings(prompts=(text,), threshold=threshold) for text in prompts}


def prepare_labels(
    checkpoint: Checkpoint, labels: Mapping[str, LabelSettings], holds: Holds = never
) -> Labels:
    """Embed the labels' prompts, learn from their examples and settle their thresholds.

    Raises ConfigError, and UnavailableError naming an example that cannot be used.
    """
    recommended = checkpoint.recommended
    rules = (label.rule(name, recommended.get(name), holds) for name, label in labels.items())
    embeddings = teach(checkpoint, embed_labels(checkpoint, label_prompts(labels)), labels)
    keys = {name: fingerprint(checkpoint.identity, label) for name, label in labels.items()}
    return Labels(embeddings, tuple(rules), keys)


def label_prompts(labels: Mapping[str, LabelSettings]) -> dict[str, LabelPrompts]:
    """What the labels sound like in words."""
    return {
        name: LabelPrompts(tuple(label.prompts), tuple(label.negatives))
        for name, label in labels.items()
    }
