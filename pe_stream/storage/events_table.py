"""Events as a table."""

from __future__ import annotations

import csv
from collections.abc import Iterable
from dataclasses import fields
from typing import IO, Any

from pe_stream.core.types import Event


def write_csv(events: Iterable[dict[str, Any]], to: IO[str], *, judged: bool) -> None:
    """Write events as a table; judged: with their verdicts and notes."""
    names = ["schema", *(field.name for field in fields(Event))]
    names += ["verdict", "note"] if judged else []
    table = csv.DictWriter(to, names, extrasaction="ignore", lineterminator="\n")
    table.writeheader()
    table.writerows(events)
