"""Moments of what was heard that sound like a text, and the events and clips that were there.

All stored rows are compared with the text, in one matrix product: 0.1 s for a day of a source.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

import numpy as np

from pe_stream.core.peak_picking import Moment, moments
from pe_stream.core.pooling import Probe, Rows
from pe_stream.core.types import FRAME_S
from pe_stream.core.utc import utc_moment, utc_text
from pe_stream.errors import ConfigError
from pe_stream.storage.clips import Clips
from pe_stream.storage.embedding_files import EmbeddingRows
from pe_stream.storage.event_queries import EventFilter, EventQueries

LONGEST_TEXT = 500
"""Characters of a text."""

MOST = 200
"""Moments of one answer."""

LONGEST_EVENT = timedelta(hours=1)
"""An event that began longer ago is not looked for."""

TURN_ON = "set search.enabled to true in the configuration, and restart pe-stream"
"""Advice on how to turn search on."""


@dataclass(frozen=True, slots=True)
class SearchResult:
    """Result of a search.

    moments: of all sources, the best first. searched_s: how much was compared, of `sources`.
    others: by name of a checkpoint, how much (s) it heard that was left out, as only its own text
    embeddings compare with it.
    """

    moments: list[Moment]
    searched_s: float
    sources: list[str]
    others: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class EventAtMoment:
    """An event that was there at a moment. clip_s: where in its clip that is; None without one."""

    event: dict[str, Any]
    clip_s: float | None


def checked(text: str) -> str:
    """The text without space around it. Raises ConfigError where it is empty or too long."""
    bare = text.strip()
    if not bare:
        raise ConfigError("the text is empty; describe the sound in words")
    if len(bare) > LONGEST_TEXT:
        raise ConfigError(f"the text has {len(bare)} characters, {LONGEST_TEXT} at most")
    return bare


def search(pieces: Iterable[EmbeddingRows], probe: Probe, limit: int) -> SearchResult:
    """The `limit` best moments in what was heard, in any order, with rows twice or not."""
    of: dict[str, list[Rows]] = defaultdict(list)
    others: dict[str, float] = defaultdict(float)
    for piece in pieces:
        same = piece.made.identity == probe.identity and piece.made.width == len(probe.row)
        if same:
            of[piece.made.source].append(piece.rows)
        else:
            others[piece.made.checkpoint] += int(piece.rows["frames"].sum()) * FRAME_S
    found: list[Moment] = []
    searched_s = 0.0
    for source, parts in of.items():
        starts_ns = np.concatenate([rows["start_ns"] for rows in parts])
        frames = np.concatenate([rows["frames"] for rows in parts])
        logits = np.concatenate([probe.logits(rows) for rows in parts])
        starts_ns, once = np.unique(starts_ns, return_index=True)
        searched_s += int(frames[once].sum()) * FRAME_S
        found += moments(source, starts_ns, frames[once], logits[once], limit)
    found.sort(key=lambda moment: (-moment.peak, moment.start_ns))
    searched = sorted(source for source, parts in of.items() if any(map(len, parts)))
    return SearchResult(found[:limit], round(searched_s, 2), searched, dict(others))


def overlap(
    moment: Moment, queries: EventQueries | None, clips: Clips | None
) -> EventAtMoment | None:
    """The event at a moment, of several one with a clip first, then the one that peaked highest.

    Raises UnavailableError where events cannot be read.
    """
    if queries is None:
        return None
    start, end = utc_moment(moment.start_ns), utc_moment(moment.end_ns)
    since = utc_text(start - LONGEST_EVENT)
    asked = EventFilter(since=since, until=utc_text(end), source=moment.source)
    there: list[EventAtMoment] = []
    for entry in queries.events(asked):
        event = entry.event
        onset = datetime.fromisoformat(event["onset"])
        if onset + timedelta(seconds=event["duration_s"]) > start:
            there.append(EventAtMoment(event, _clip_s(moment, event, clips)))
    return max(there, key=lambda each: (each.clip_s is not None, each.event["peak"]), default=None)


def _clip_s(moment: Moment, event: Mapping[str, Any], clips: Clips | None) -> float | None:
    path = None if clips is None else clips.find(event)
    if clips is None or path is None:
        return None
    begun = datetime.fromisoformat(event["onset"]) - timedelta(seconds=clips.before_s(path))
    return round(max(0.0, (utc_moment(moment.start_ns) - begun).total_seconds()), 3)
