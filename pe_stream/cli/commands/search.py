"""`pe-stream search`: when did it sound like that? From what was kept, without any audio.

For events, see `search_events`.
"""

from __future__ import annotations

import json
import logging
import time
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from pe_stream.cli.columns import print_columns
from pe_stream.cli.commands.search_events import events_like, print_events
from pe_stream.cli.options import SearchOptions
from pe_stream.config import (
    ClipSettings,
    LocationSettings,
    ModelSettings,
    SearchSettings,
    SecondOpinionSettings,
    Settings,
    StoreSettings,
)
from pe_stream.config.file import find, load
from pe_stream.config.local_time import LocalTime
from pe_stream.config.local_time import moment as moment_of
from pe_stream.core.peak_picking import Moment
from pe_stream.core.pooling import Probe
from pe_stream.core.utc import utc_moment, utc_ns, utc_text
from pe_stream.errors import ConfigError, UnavailableError, UsageError
from pe_stream.model.prompts import probe
from pe_stream.pipeline.scorer import configured_checkpoint
from pe_stream.storage import embeddings, events, search
from pe_stream.storage.clips import Clips
from pe_stream.storage.embedding_files import EmbeddingRows, stored
from pe_stream.storage.event_queries import EventFilter, EventQueries
from pe_stream.storage.search import EventAtMoment, SearchResult

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class _Sections:
    """The settings that a search needs."""

    model: ModelSettings
    search: SearchSettings
    store: StoreSettings
    clips: ClipSettings
    location: LocationSettings
    second_opinion: SecondOpinionSettings | None = None


def run(options: SearchOptions) -> int:
    """Print the best moments, or events, the best first; returns the exit code.

    A daemon that runs keeps the last minute of what was heard in memory: that is not seen here.

    Raises UsageError on a time that is none and a text that cannot be used, UnavailableError where
    nothing is kept of that time, or only what another checkpoint heard.
    """
    now = datetime.now(UTC)
    since_ns = _ns(moment_of(options.since, now))
    until_ns = _ns(moment_of(options.until or "0s", now, "--until"))
    try:
        text = search.checked(options.text)
    except ConfigError as error:
        raise UsageError(str(error)) from None
    if since_ns >= until_ns:
        raise UsageError("--until is not after --since")
    sections = _sections(options.config)
    local = LocalTime(sections.location)
    if options.events:
        asked = EventFilter(
            since=utc_text(utc_moment(since_ns)),
            until=utc_text(utc_moment(until_ns)),
            source=options.source,
        )
        found_events = events_like(sections.second_opinion, sections.store, asked, text, options)
        print_events(found_events, Clips(sections.clips), local, options.format)
        return 0
    pieces = _pieces(sections.search, since_ns, until_ns, options)
    found = _search(sections.model, pieces, text, options.limit)
    clips = Clips(sections.clips)
    queries = _queries(sections.store)
    told = [(each, search.overlap(each, queries, clips)) for each in found.moments]
    if options.format == "jsonl":
        for each, there in told:
            print(json.dumps(_line(each, there, clips, local), ensure_ascii=False))
    else:
        _print_table(told, clips, local)
    return 0


def _pieces(
    settings: SearchSettings, since_ns: int, until_ns: int, options: SearchOptions
) -> list[EmbeddingRows]:
    """Stored rows of that time. Raises UnavailableError where there are none."""
    folder = embeddings.folder_of(settings)
    pieces = [
        piece
        for piece in stored(folder, since_ns, until_ns, source=options.source)
        if len(piece.rows)
    ]
    if pieces:
        return pieces
    if not settings.enabled:
        raise UnavailableError(f"nothing that was heard is kept: {search.TURN_ON}")
    at = "" if options.source is None else f" at {options.source!r}"
    raise UnavailableError(
        f"{folder}: nothing is kept of what was heard{at} since {options.since}"
        + ("" if options.until is None else f" until {options.until}")
        + "; the last minute comes with the next"
    )


def _search(
    model: ModelSettings, pieces: list[EmbeddingRows], text: str, limit: int
) -> SearchResult:
    begun_s = time.monotonic()
    asked = _probe(model, text)
    ready_s = time.monotonic()
    found = search.search(pieces, asked, limit)
    others = ", ".join(
        f"{seconds / 3600:.1f} h by {name}" for name, seconds in found.others.items()
    )
    if not found.sources:
        raise UnavailableError(
            f"only what another checkpoint heard is kept of that time ({others}), which cannot be "
            f"compared with texts of {model.checkpoint}: set model.checkpoint to search in it"
        )
    if others:
        log.warning("left out, as another checkpoint heard it: %s", others)
    log.info(
        "model and text took %.1f s, %.1f h at %s %.2f s",
        ready_s - begun_s,
        found.searched_s / 3600,
        ", ".join(found.sources),
        time.monotonic() - ready_s,
    )
    return found


def _probe(model: ModelSettings, text: str) -> Probe:
    checkpoint = configured_checkpoint(model)
    try:
        return probe(checkpoint, text)
    except ConfigError as error:
        raise UsageError(str(error)) from None


def _line(
    moment: Moment, there: EventAtMoment | None, clips: Clips, local: LocalTime
) -> dict[str, Any]:
    event = None if there is None else there.event
    start = utc_moment(moment.start_ns)
    clip = None if event is None else clips.find(event)
    return {
        "source": moment.source,
        "start": utc_text(start),
        "local": local.at(start).isoformat(timespec="milliseconds"),
        "duration_s": round((moment.end_ns - moment.start_ns) / 1e9, 2),
        "score": round(moment.peak, 4),
        "peak_at": utc_text(utc_moment(moment.peak_ns)),
        "event": None if event is None else event["id"],
        "label": None if event is None else event["label"],
        "clip": None if clip is None else str(clip.absolute()),
        "clip_s": None if there is None else there.clip_s,
    }


def _print_table(
    told: Iterable[tuple[Moment, EventAtMoment | None]], clips: Clips, local: LocalTime
) -> None:
    rows: list[tuple[str, ...]] = [
        ("score", "local time", "UTC", "length", "source", "event", "clip")
    ]
    for moment, there in told:
        line = _line(moment, there, clips, local)
        start = utc_moment(moment.start_ns)
        row = (
            f"{moment.peak:.2f}",
            f"{local.at(start):%a %Y-%m-%d %H:%M:%S}",
            f"{start:%H:%M:%SZ}",
            f"{line['duration_s']:.1f} s",
            moment.source,
            line["label"] or "-",
            line["clip"] or "-",
        )
        rows.append(row)
    print_columns(rows)


def _sections(config: Path | None) -> _Sections:
    """Settings of the configuration; the defaults where there is none."""
    try:
        settings: Settings = load(config or find())
    except ConfigError:
        if config is not None:
            raise
        return _Sections(
            ModelSettings(), SearchSettings(), StoreSettings(), ClipSettings(), LocationSettings()
        )
    return _Sections(
        settings.model,
        settings.search,
        settings.store,
        settings.clips,
        settings.location,
        settings.second_opinion,
    )


def _queries(settings: StoreSettings) -> EventQueries | None:
    path = events.path_of(settings)
    return EventQueries(path) if settings.enabled and path.is_file() else None


def _ns(utc: str) -> int:
    return utc_ns(datetime.fromisoformat(utc))
