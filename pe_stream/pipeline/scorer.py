"""Settings to what hears: the checkpoint loaded, the labels embedded, the rules of each source."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pe_stream.config import LabelSettings, ModelSettings
from pe_stream.config.paths import cache_folder
from pe_stream.core.pooling import Probe
from pe_stream.core.types import FrameEmbeddings
from pe_stream.core.windows import Framing
from pe_stream.errors import ConfigError
from pe_stream.labels.prepare import (
    Holds,
    PreparedLabels,
    label_prompts,
    never,
    prepare_labels,
)
from pe_stream.model.checkpoint import Checkpoint, load
from pe_stream.model.compiled import use_cache
from pe_stream.model.engine import Engine
from pe_stream.model.live_engine import LiveEngine
from pe_stream.model.live_threads import LiveThreads
from pe_stream.model.no_model import NoCheckpoint, NoEngine
from pe_stream.model.prompts import compare, probe
from pe_stream.pipeline.text_records import known_texts
from pe_stream.serving.client import remote_engine

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Scorer:
    """Checkpoint, labels and engine: the same for files and live sources.

    Without a model where no label needs one; see `model.no_model`.

    threads: that live sources are scored with; None: as many as files are.
    """

    checkpoint: Checkpoint | NoCheckpoint
    engine: Engine | NoEngine
    framing: Framing
    labels: PreparedLabels
    threads: LiveThreads | None = None

    def compare(self, embeddings: FrameEmbeddings, text: str) -> NDArray[np.float32]:
        """Scores (frames,) of frame embeddings for any text; raises ConfigError."""
        return compare(self.loaded, embeddings, text)

    def probe(self, text: str) -> Probe:
        """A text to search with in what was heard; raises ConfigError."""
        return probe(self.loaded, text)

    def scoring_threads(self) -> int | None:
        """CPU threads that score live sources now; None where their number does not change."""
        return None if self.threads is None else self.threads.threads

    def rest(self, now_s: float) -> None:
        """Let go of what is not needed any more, now and then. now_s: monotonic. Never waits."""
        if isinstance(self.checkpoint, Checkpoint):
            self.checkpoint.tower.rest(now_s)

    @property
    def loaded(self) -> Checkpoint:
        """The checkpoint. Raises ConfigError where none is loaded, as every label is loud."""
        if isinstance(self.checkpoint, NoCheckpoint):
            raise ConfigError("there is no model to hear words with: every label is loud")
        return self.checkpoint


def configured_checkpoint(
    model: ModelSettings, texts: Sequence[str] = (), *, lasting: bool = False
) -> Checkpoint:
    """Load what the settings name. Raises UnavailableError where it cannot be had.

    texts: that will be embedded, if nothing else will: where an earlier start has left their
    vectors, the text tower is not read. lasting: whether those that are missing are left for the
    next start.
    """
    return load(
        model.checkpoint,
        revision=model.revision,
        cache=Path(model.cache) if model.cache else None,
        device=model.device,
        dtype=model.dtype,
        threads=model.threads,
        known=known_texts(model.threads, make=lasting) if texts else None,
        texts=texts,
    )


def prepare(
    model: ModelSettings,
    labels: Mapping[str, LabelSettings],
    *,
    streams: int = 1,
    holds: Holds = never,
    embed: bool = False,
    fast: bool = False,
    lasting: bool = False,
) -> Scorer:
    """Load the checkpoint and embed the labels; raises UnavailableError or ConfigError.

    streams: how many there will be at once, to be ready for. holds: for the labels' schedules.
    embed: whether what is heard is kept to be searched: else labels that are all loud need no
    checkpoint, and none is loaded. fast: for recordings in bulk; see `pipeline.bulk`. lasting: as
    of `configured_checkpoint`.
    """
    framing = Framing(model.window_frames, model.hop_frames, model.lookahead_frames)
    if fast:
        framing = framing.in_bulk()
    if not embed and all(label.loud is not None for label in labels.values()):
        none = NoCheckpoint()
        prepared = prepare_labels(none, labels, holds)
        return Scorer(none, NoEngine(prepared.embeddings), framing, prepared)
    words = label_prompts(labels).values()
    texts = [text for each in words for text in each.prompts]
    texts += [text for each in words for text in each.negatives]
    checkpoint = configured_checkpoint(model, texts, lasting=lasting)
    prepared = prepare_labels(checkpoint, labels, holds)
    engine = Engine(checkpoint, prepared.embeddings, exact=model.exact)
    if model.remote:
        return Scorer(checkpoint, engine, framing, prepared)
    engine.build()
    if model.compile:
        log.info("compiling the model: minutes the first time, seconds later")
        use_cache(cache_folder() / "compiled")
        engine.warm(framing, engine.most_together if fast else streams)
    # What is compiled has the number of threads written into it.
    follow = model.threads is None and not model.compile and engine.device.type == "cpu"
    return Scorer(checkpoint, engine, framing, prepared, LiveThreads() if follow else None)


def live_engine(
    model: ModelSettings, scorer: Scorer, node: str, on_failure: Callable[[BaseException], None]
) -> LiveEngine[Any] | None:
    """The engine on another machine that is to score live sources; None: the scorer's own is.

    That is so, too, where no label needs a model.

    node: name of this daemon. on_failure: called with an error of ours that ended a thread. Raises
    ConfigError where its token or authority cannot be read.
    """
    if not model.remote or isinstance(scorer.checkpoint, NoCheckpoint):
        return None
    log.info("engine: %s", ", ".join(model.engine_addresses))
    identity, labels = scorer.checkpoint.identity, scorer.labels.embeddings
    return remote_engine(model, identity, labels, node, on_failure)
