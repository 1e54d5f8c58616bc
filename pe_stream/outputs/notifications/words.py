"""An event in words for people."""

from __future__ import annotations

import re
from datetime import datetime, timedelta

from pe_stream.config.local_time import LocalTime
from pe_stream.core.opinion import in_words
from pe_stream.core.types import Event, Phase

LATE = timedelta(minutes=2)
"""A notification later than this after the event's start, or end, says that it is late."""


def title(event: Event) -> str:
    """Label and source: "Smoke alarm in kitchen"."""
    label, source = (re.sub(r"[_-]+", " ", name).strip() for name in (event.label, event.source))
    return f"{label[:1].upper()}{label[1:]} in {source}"


def body(event: Event, local: LocalTime, now: datetime) -> str:
    """When, for how long if it has ended, and how sure: "at 14:03:12, for 3.2 s, peak 0.93".

    With a second opinion, that, too.
    """
    onset, today = local.at(datetime.fromisoformat(event.onset)), local.at(now)
    day = "" if onset.date() == today.date() else f"{onset.date()} "
    said = [f"at {day}{onset:%H:%M:%S}"]
    if is_late(event, now):
        said[0] += f" ({_ago(now - onset)})"
    if event.phase is Phase.END:
        said.append(f"for {_length(event.duration_s)}")
    said.append(f"peak {event.peak:.2f}")
    if event.second_opinion is not None:
        said.append(f"second opinion: {in_words(event.second_opinion)}")
    return ", ".join(said)


def is_late(event: Event, now: datetime) -> bool:
    """Whether the event is no news any more."""
    return now - datetime.fromisoformat(event.offset or event.onset) > LATE


def _length(seconds: float) -> str:
    if seconds < 60:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes} min {rest} s"


def _ago(span: timedelta) -> str:
    minutes = round(span.total_seconds() / 60)
    return f"{minutes} minutes ago" if minutes < 120 else f"{minutes // 60} hours ago"
