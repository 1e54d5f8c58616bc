"""`pe-stream search --events`: events that are like a text, by second opinions on them."""

from __future__ import annotations

import json
import logging
import time
from collections.abc import Sequence
from datetime import datetime
from pathlib import Path
from typing import Any

from pe_stream.cli.columns import print_columns
from pe_stream.cli.options import SearchFormat, SearchOptions
from pe_stream.config import SecondOpinionSettings, StoreSettings
from pe_stream.config.local_time import LocalTime
from pe_stream.core.opinion_vectors import VECTOR_KINDS, OpinionProbe
from pe_stream.errors import ConfigError, UnavailableError, UsageError
from pe_stream.model.second_opinion import load_opinion_model
from pe_stream.storage import events
from pe_stream.storage.clips import Clips
from pe_stream.storage.event_queries import EventFilter, EventQueries
from pe_stream.storage.event_search import TURN_ON, FoundEvent, search_events

log = logging.getLogger(__name__)


def events_like(
    settings: SecondOpinionSettings | None,
    store: StoreSettings,
    asked: EventFilter,
    text: str,
    options: SearchOptions,
) -> list[FoundEvent]:
    """The events that go best with a text, the best first.

    Raises UsageError on a text that cannot be used; UnavailableError where nobody is asked for
    second opinions, no events are stored, or none of them can be compared.
    """
    if settings is None:
        raise UnavailableError(f"events have no second opinions to search them by: {TURN_ON}")
    if not store.enabled:
        raise UnavailableError("no events are stored: store.enabled is false")
    path = events.path_of(store)
    queries = EventQueries(path)
    if next(queries.vectors(asked), None) is None:  # before anything is loaded
        at = "" if options.source is None else f" at {options.source!r}"
        raise UnavailableError(
            f"{path}: no event{at} since {options.since}"
            + ("" if options.until is None else f" until {options.until}")
            + " has a second opinion to search it by"
        )
    begun_s = time.monotonic()
    probe = _probe(settings, text)
    ready_s = time.monotonic()
    found = search_events(queries, asked, probe, options.limit)
    others = ", ".join(f"{count} by {name}" for name, count in found.others.items())
    if not found.searched:
        raise UnavailableError(
            f"{path}: no event of that time can be compared with texts of {settings.checkpoint}"
            + (f", only those of another checkpoint ({others})" if others else "")
        )
    if others:
        log.warning("left out, as another checkpoint gave the second opinion: %s", others)
    log.info(
        "checkpoint and text took %.1f s, %d events %.2f s",
        ready_s - begun_s,
        found.searched,
        time.monotonic() - ready_s,
    )
    return found.events


def print_events(
    found: Sequence[FoundEvent], clips: Clips, local: LocalTime, form: SearchFormat
) -> None:
    """Print them."""
    if form == "jsonl":
        for each in found:
            print(json.dumps(_line(each, clips, local), ensure_ascii=False))
        return
    scores = ("score", *VECTOR_KINDS)
    rows = [(*scores, "local time", "UTC", "length", "source", "event", "clip")]
    for each in found:
        line = _line(each, clips, local)
        onset = datetime.fromisoformat(line["start"])
        row = (
            *(_figure(line[key]) for key in scores),
            f"{local.at(onset):%a %Y-%m-%d %H:%M:%S}",
            f"{onset:%H:%M:%SZ}",
            f"{line['duration_s']:.1f} s",
            line["source"],
            line["label"],
            line["clip"] or "-",
        )
        rows.append(row)
    print_columns(rows)


def _line(found: FoundEvent, clips: Clips, local: LocalTime) -> dict[str, Any]:
    event = found.record.event
    clip = clips.find(event)
    onset = datetime.fromisoformat(event["onset"])
    return {
        "source": event["source"],
        "start": event["onset"],
        "local": local.at(onset).isoformat(timespec="milliseconds"),
        "duration_s": event["duration_s"],
        "score": round(found.score, 4),
        **found.rounded,
        "event": event["id"],
        "label": event["label"],
        "clip": None if clip is None else str(clip.absolute()),
    }


def _figure(score: float | None) -> str:
    return "-" if score is None else f"{score:.2f}"


def _probe(settings: SecondOpinionSettings, text: str) -> OpinionProbe:
    try:
        model = load_opinion_model(
            settings.checkpoint,
            [text],
            revision=settings.revision,
            cache=Path(settings.cache) if settings.cache else None,
            device=settings.device,
            dtype=settings.dtype,
            threads=settings.threads,
        )
        return model.probe(text)
    except ConfigError as error:
        raise UsageError(str(error)) from None
