"""The daemon as the page sees it, and nothing more of it.

The daemon makes it, so this module imports nothing of the extra `web`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pe_stream.config import Settings
from pe_stream.config.edit import ConfigFile, Edit
from pe_stream.core.opinion_vectors import OpinionProbe
from pe_stream.core.pooling import Probe
from pe_stream.core.prompt_words import PromptHint
from pe_stream.core.types import FrameEmbeddings, LabelRule, Recommended
from pe_stream.storage.clips import Clips
from pe_stream.storage.embeddings import EmbeddingStore
from pe_stream.storage.event_queries import EventQueries
from pe_stream.storage.events import EventStore
from pe_stream.storage.scores import ScoreStore
from pe_stream.web.calibration_view import CalibrationDesk
from pe_stream.web.recent_embeddings import RecentEmbeddings


@dataclass(frozen=True, slots=True)
class Broker:
    """The way to the broker. waiting: messages it has not acknowledged."""

    connected: bool
    waiting: int


@dataclass(frozen=True, slots=True)
class DaemonView:
    """The daemon as the page sees it; all of it may be used from any thread.

    settings, health, rules, broker: as they are at the moment; changes later are not seen in them.
    shortage: what the daemon has run out of, in words; None where all is well.
    health: of each source, as on MQTT. alive: whether scores advance, as the watchdog sees it.
    rules_as_set: the same before the room raises their thresholds.
    recommended: by the checkpoint, by label.
    config: the file that labels are edited in; None where there is none.
    version: of that file, as its labels are in force.
    change: makes an edit of the file that is at a version, and goes on with it; returns the new
        version once it is in force. Raises ConfigError, ConflictError, NotWritableError,
        UnavailableError where nothing was changed, UnfinishedError where it is not yet in force.
    compare: scores (frames,) of frame embeddings for any text; raises ConfigError.
    probe: a text to search with; raises ConfigError.
    event_probe: a text to search events with, by second opinions on them; waits for their process.
        Raises ConfigError, and UnavailableError where that is not there, or takes too long. None
        where nobody gives them.
    hints: what is odd about prompts.
    report: lines on what a label with examples hears; takes a while; raises UnavailableError.
    calibrations: of the labels, one at a time.
    events, event_queries, scores, embeddings: None where nothing is kept.
    """

    checkpoint: str
    settings: Callable[[], Settings]
    health: Callable[[], Mapping[str, Mapping[str, Any]]]
    alive: Callable[[], bool]
    rules: Callable[[], Mapping[str, Sequence[LabelRule]]]
    rules_as_set: Callable[[], Mapping[str, Sequence[LabelRule]]]
    recommended: Mapping[str, Recommended]
    broker: Callable[[], Broker]
    shortage: Callable[[], str | None]
    config: ConfigFile | None
    version: Callable[[], str]
    change: Callable[[Edit, str], str]
    compare: Callable[[FrameEmbeddings, str], NDArray[np.float32]]
    probe: Callable[[str], Probe]
    event_probe: Callable[[str], OpinionProbe] | None
    hints: Callable[[Sequence[str]], list[PromptHint]]
    report: Callable[[str], list[str]]
    calibrations: CalibrationDesk
    recent: RecentEmbeddings
    clips: Clips
    events: EventStore | None
    event_queries: EventQueries | None
    scores: ScoreStore | None
    embeddings: EmbeddingStore | None

    def sources(self) -> list[dict[str, Any]]:
        """The health of each source, with its name, labels, gain and filters."""
        return [self.shown(source, health) for source, health in self.health().items()]

    def shown(self, source: str, health: Mapping[str, Any]) -> dict[str, Any]:
        """The same of one source."""
        settings = self.settings()
        spec = settings.sources[source]
        return {
            "name": source,
            **health,
            "labels": list(settings.labels_of(source)),
            "gain_db": spec.gain_db,
            "highpass_hz": spec.highpass_hz,
            "lowpass_hz": spec.lowpass_hz,
        }
