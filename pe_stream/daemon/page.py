"""The page of a running daemon: what of it the page may see and change."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from pe_stream.config import Settings
from pe_stream.config.edit import ConfigFile
from pe_stream.daemon.active_labels import ActiveLabels
from pe_stream.errors import UnavailableError
from pe_stream.labels.enrolment_report import report
from pe_stream.outputs.mqtt import Publisher
from pe_stream.pipeline.live import Live
from pe_stream.pipeline.scorer import Scorer
from pe_stream.storage import events as events_module
from pe_stream.storage.clips import Clips
from pe_stream.storage.embeddings import EmbeddingStore
from pe_stream.storage.event_queries import EventQueries
from pe_stream.storage.events import EventStore
from pe_stream.storage.scores import ScoreStore
from pe_stream.web.recent_embeddings import RecentEmbeddings

if TYPE_CHECKING:  # an extra may be missing
    from pe_stream.web.server import Server


@dataclass(frozen=True, slots=True)
class PageParts:
    """The parts of a daemon that the page looks into; all may be used from any thread.

    health: of each source, as on MQTT. file: where labels are edited; None where they are in none.
    events: None where none are kept.
    """

    scorer: Scorer
    live: Live
    labels: ActiveLabels
    publisher: Publisher
    health: Callable[[], Mapping[str, Mapping[str, Any]]]
    file: ConfigFile | None
    recent: RecentEmbeddings
    clips: Clips
    events: EventStore | None
    scores: ScoreStore
    embeddings: EmbeddingStore


def page(
    settings: Settings, parts: PageParts, on_failure: Callable[[BaseException], None]
) -> Server:
    """The page, not yet served. on_failure: called with what ended its thread.

    Raises UnavailableError where its packages are not installed, ConfigError where the password or
    token cannot be used.
    """
    try:
        from pe_stream.web.daemon_view import Broker, DaemonView
        from pe_stream.web.server import Server
    except ImportError as error:
        raise UnavailableError(
            f"web: {error.name} is not installed: pip install 'pe-stream[web]', or set "
            "web.enabled: false"
        ) from error
    scorer, live, labels, publisher = parts.scorer, parts.live, parts.labels, parts.publisher
    stored = settings.store.enabled
    view = DaemonView(
        checkpoint=scorer.checkpoint.name,
        settings=lambda: labels.settings,
        health=parts.health,
        rules=lambda: dict(live.in_force),
        rules_as_set=lambda: dict(live.rules),
        recommended=scorer.checkpoint.recommended,
        broker=lambda: Broker(publisher.connected, publisher.queued),
        config=parts.file,
        version=lambda: labels.version,
        change=labels.edit,
        compare=scorer.compare,
        probe=scorer.probe,
        report=lambda name: list(report(scorer.checkpoint, labels.settings.labels, name)),
        recent=parts.recent,
        clips=parts.clips,
        events=parts.events,
        event_queries=EventQueries(events_module.path_of(settings.store)) if stored else None,
        scores=parts.scores if settings.history.enabled else None,
        embeddings=parts.embeddings if settings.search.enabled else None,
    )
    return Server(settings.web, view, on_failure=on_failure)
