"""`pe-stream replay`: which events stored scores would have given, and under another configuration.

stored scores  ->  rules by the clock  ->  the daemon's tracker  ->  events  ->  what differs
"""

from __future__ import annotations

import json
import sys
from bisect import bisect_left
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from pe_stream.cli.options import ReplayOptions
from pe_stream.config import Settings
from pe_stream.config.file import find, load
from pe_stream.config.local_time import LocalTime, moment
from pe_stream.core.replay import Replayed, replay, untold
from pe_stream.core.types import FRAME_NS, FRAME_S
from pe_stream.core.utc import utc_moment, utc_text
from pe_stream.errors import UnavailableError, UsageError
from pe_stream.labels import schedules
from pe_stream.labels.fingerprint import look_up
from pe_stream.storage.events_table import write_table
from pe_stream.workbench.calibration.stored_scores import (
    TimeRange,
    chosen,
    database,
    read_label_scores,
)

NOW, OTHER, BOTH = "now", "other", "both"
"""Names of the two configurations in results, and of the events that both give."""

MOST_LISTED = 50
"""Events that the table lists; the other formats have all."""


@dataclass(frozen=True, slots=True)
class Told:
    """An event that would have been; `where`: now, other, both; None where one cannot be known."""

    where: str | None
    source: str
    label: str
    event: Replayed

    def to_dict(self) -> dict[str, Any]:
        """For JSON and CSV."""
        event = self.event
        return {
            "in": self.where,
            "source": self.source,
            "label": self.label,
            "onset": utc_text(utc_moment(event.onset_ns)),
            "offset": utc_text(utc_moment(event.offset_ns)),
            "duration_s": _duration_s(event),
            "peak": round(event.peak, 4),
        }


@dataclass(slots=True)
class Line:
    """Result of one label: the hours that were replayed, and events by configuration."""

    hours: float = 0.0
    counts: dict[str, int] = field(default_factory=dict)
    lacks: dict[str, str] = field(default_factory=dict)
    """Why a configuration has none, by its name and the source's."""


def run(options: ReplayOptions) -> int:
    """Print the events; returns the exit code.

    Raises UsageError, ConfigError, and UnavailableError where no score can be used.
    """
    config = options.config or find()
    named = {NOW: load(config)}
    if options.against is not None:
        other = load(options.against)
        if not other.sources:  # labels alone: at the same sources
            other = other.model_copy(update={"sources": named[NOW].sources})
        named[OTHER] = other
    stretch = _stretch(options)
    lines, told = _compare(named, database(named[NOW]), stretch, options)
    if not any(line.hours for line in lines.values()):
        raise UnavailableError(
            "nothing to replay: "
            + "; ".join(f"{name}: {lack}" for name, lack in _lacks(lines, list(named)))
        )
    for name, lack in _lacks(lines, list(named)):
        print(f"pe-stream: {name}: {lack}", file=sys.stderr)
    told.sort(key=lambda each: (each.event.onset_ns, each.source, each.label))
    if options.format == "table":
        local = LocalTime(named[NOW].location)
        print("\n".join(_table(lines, told, list(named), local)))
    elif options.format == "csv":
        names = list(Told(NOW, "", "", Replayed(0, 0, 0.0)).to_dict())
        write_table((each.to_dict() for each in told), names, sys.stdout)
    else:
        for each in told:
            print(json.dumps(each.to_dict(), ensure_ascii=False))
    return 0


def _stretch(options: ReplayOptions) -> TimeRange:
    now = datetime.now(UTC)
    since = datetime.fromisoformat(moment(options.since, now))
    until = now
    if options.until is not None:
        until = datetime.fromisoformat(moment(options.until, now, "--until"))
    if since >= until:
        raise UsageError(f"--since {options.since}: that is not before the end")
    return TimeRange(since, until)


def _compare(
    named: dict[str, Settings], path: Path, stretch: TimeRange, options: ReplayOptions
) -> tuple[dict[str, Line], list[Told]]:
    """Every label of either configuration; events of both that overlap are one, as it is now."""
    labels = {name: None for settings in named.values() for name in settings.labels}
    sources = {name: None for settings in named.values() for name in settings.sources}
    known = {which: look_up(settings) for which, settings in named.items()}
    lines: dict[str, Line] = {}
    told: list[Told] = []
    for name in chosen("label", _one(options.label), labels):
        line = lines[name] = Line()
        for source in chosen("source", _one(options.source), sources):
            made: dict[str, list[Replayed]] = {}
            hours, whole = 0.0, True
            for which, settings in named.items():
                if name not in settings.labels or not _hears(settings, source, name):
                    continue
                label = settings.labels[name]
                found = read_label_scores(
                    path, known[which].identity, stretch, source=source, name=name, label=label
                )
                if found.lack is not None:
                    line.lacks[f"{which}/{source}"] = found.lack
                    whole = False
                    continue
                hours = max(hours, found.hours)
                (_, rule), *rest = schedules.changes(
                    name,
                    label,
                    known[which].recommended.get(name),
                    LocalTime(settings.location),
                    since=stretch.since,
                    until=stretch.until,
                )
                if (why := untold(rule)) is not None:
                    line.lacks[f"{which}/{source}"] = f"stored scores do not tell: {why}"
                    whole = False
                    continue
                changes = [(round(at.timestamp() * 1e9), each) for at, each in rest]
                made[which] = replay(found.runs, rule, changes)
                line.counts[which] = line.counts.get(which, 0) + len(made[which])
            line.hours += hours
            told += _told(source, name, made, compared=len(named) > 1 and whole)
    return lines, told


def _hears(settings: Settings, source: str, label: str) -> bool:
    return source in settings.sources and settings.hears(source, label)


def _told(
    source: str, label: str, made: dict[str, list[Replayed]], *, compared: bool
) -> Iterator[Told]:
    now, other = made.get(NOW, []), made.get(OTHER, [])
    for each in now:
        both = BOTH if _overlaps(each, other) else NOW
        yield Told(both if compared else None, source, label, each)
    for each in other:
        if not compared or not _overlaps(each, now):
            yield Told(OTHER if compared else None, source, label, each)


def _overlaps(event: Replayed, others: Sequence[Replayed]) -> bool:
    """Whether any of them, which are in order and apart, shares a moment with it."""
    at = bisect_left(others, event.onset_ns, key=lambda each: each.offset_ns - 1)
    return at < len(others) and others[at].onset_ns < event.offset_ns


def _lacks(lines: dict[str, Line], named: Sequence[str]) -> Iterator[tuple[str, str]]:
    for name, line in lines.items():
        for where, lack in line.lacks.items():
            which, _, source = where.partition("/")
            with_ = "" if len(named) == 1 else f" (configuration: {which})"
            yield f"{name} at {source}{with_}", lack


def _table(
    lines: dict[str, Line], told: Sequence[Told], named: Sequence[str], local: LocalTime
) -> Iterator[str]:
    wide = max([5, *map(len, lines)])
    both = len(named) > 1
    header = f"{'label':{wide}}  {'hours':>7}  {'events':>7}"
    if both:
        header = f"{'label':{wide}}  {'hours':>7}  {'now':>7}  {'other':>7}  {'only now':>8}"
        header += f"  {'only other':>10}"
    yield header
    for name, line in lines.items():
        counts = [f"{line.counts.get(which, '-'):>7}" for which in named]
        row = f"{name:{wide}}  {line.hours:7.2f}  {'  '.join(counts)}"
        if both:
            only = [sum(t.label == name and t.where == w for t in told) for w in (NOW, OTHER)]
            row += f"  {only[0]:8}  {only[1]:10}"
        yield row
    listed = [each for each in told if not both or each.where in (NOW, OTHER)]
    if not listed:
        return
    yield ""
    yield "only in one of the two (- now, + other):" if both else "events:"
    for each in listed[:MOST_LISTED]:
        mark = ("- " if each.where == NOW else "+ ") if both else ""
        onset = datetime.fromtimestamp(each.event.onset_ns / 1e9, UTC)
        yield (
            f"{mark}{local.at(onset):%Y-%m-%d %H:%M:%S}  {each.source}  {each.label}  "
            f"{_duration_s(each.event):.2f} s  peak {each.event.peak:.2f}"
        )
    if len(listed) > MOST_LISTED:
        yield f"and {len(listed) - MOST_LISTED} more: see --format jsonl"


def _duration_s(event: Replayed) -> float:
    return round((event.offset_ns - event.onset_ns) / FRAME_NS * FRAME_S, 3)


def _one(name: str | None) -> tuple[str, ...]:
    return () if name is None else (name,)
