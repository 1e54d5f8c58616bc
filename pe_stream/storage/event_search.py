"""Events whose sound or picture is like a text, by the vectors of second opinions on them."""

from __future__ import annotations

import heapq
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice

import numpy as np
from numpy.typing import NDArray

from pe_stream.core.opinion_vectors import STORED, VECTOR_KINDS, OpinionProbe, VectorKind
from pe_stream.storage.event_queries import EventFilter, EventQueries, EventRecord, StoredVectors

TURN_ON = "set second_opinion.checkpoint in the configuration, and restart pe-stream"
"""Advice on how to have events that can be searched."""

_TOGETHER = 500
"""Events that are compared at once: 3 MB."""


@dataclass(frozen=True, slots=True)
class FoundEvent:
    """An event, and how well it goes with a text: of its scores, the best.

    scores: sigmoids, which are not calibrated, by what was compared; None of what there was not.
    """

    record: EventRecord
    score: float
    scores: Mapping[VectorKind, float | None]

    @property
    def rounded(self) -> dict[str, float | None]:
        """The scores as they are told."""
        return {
            kind: None if score is None else round(score, 4) for kind, score in self.scores.items()
        }


@dataclass(frozen=True, slots=True)
class EventSearchResult:
    """Result of a search in events.

    events: the best first. searched: how many were compared. others: by name of a checkpoint, how
    many were left out as it made their vectors, which do not compare with this text.
    """

    events: list[FoundEvent]
    searched: int
    others: Mapping[str, int]


def search_events(
    queries: EventQueries, asked: EventFilter, probe: OpinionProbe, limit: int
) -> EventSearchResult:
    """The `limit` events that go best with a text, by the best of their vectors.

    Raises UnavailableError where events cannot be read.
    """
    best: list[tuple[float, str, list[float]]] = []
    others: Counter[str] = Counter()
    searched = 0
    for rows in _batches(queries.vectors(asked)):
        same = [row for row in rows if row.identity == probe.identity]
        others.update(row.checkpoint for row in rows if row.identity != probe.identity)
        found = [
            (max(logits), row.event_id, logits)
            for row, logits in zip(same, _logits(same, probe).tolist(), strict=True)
            if max(logits) > -np.inf  # else it is damaged
        ]
        searched += len(found)
        best = heapq.nlargest(limit, [*best, *found])
    events = [
        FoundEvent(record, _score(most), _scores(logits))
        for most, event_id, logits in best
        if (record := queries.one(event_id)) is not None  # it may have gone meanwhile
    ]
    return EventSearchResult(events, searched, dict(others))


def _batches(rows: Iterable[StoredVectors]) -> Iterator[list[StoredVectors]]:
    left = iter(rows)
    while batch := list(islice(left, _TOGETHER)):
        yield batch


def _logits(rows: Sequence[StoredVectors], probe: OpinionProbe) -> NDArray[np.float64]:
    """(rows, kinds); -inf of what there is not, or is damaged."""
    logits = np.full((len(rows), len(VECTOR_KINDS)), -np.inf)
    for column, kind in enumerate(VECTOR_KINDS):
        if kind not in probe.rows:
            continue
        length = len(probe.rows[kind]) * STORED.itemsize
        stored = [row.vectors[column] for row in rows]
        whole = [i for i, each in enumerate(stored) if each is not None and len(each) == length]
        if whole:
            joined = b"".join(stored[i] or b"" for i in whole)
            vectors = np.frombuffer(joined, STORED).reshape(len(whole), -1)
            logits[whole, column] = probe.logits(kind, vectors)
    return logits


def _scores(logits: Sequence[float]) -> dict[VectorKind, float | None]:
    return {
        kind: None if logit == -np.inf else _score(logit)
        for kind, logit in zip(VECTOR_KINDS, logits, strict=True)
    }


def _score(logit: float) -> float:
    return float(1 / (1 + np.exp(-np.clip(logit, -50, 50))))
