"""Events as a table."""

from __future__ import annotations

import csv
import json
from collections.abc import Iterable, Sequence
from dataclasses import fields
from typing import IO, Any

from pe_stream.core.types import Event


def write_csv(events: Iterable[dict[str, Any]], to: IO[str], *, judged: bool) -> None:
    """Write events as a table; judged: with their verdicts and notes. As `write_table`."""
    names = ["schema", *(field.name for field in fields(Event))]
    names += ["verdict", "note"] if judged else []
    write_table(events, names, to)


def write_table(rows: Iterable[dict[str, Any]], names: Sequence[str], to: IO[str]) -> None:
    """Write rows as CSV, of each the columns `names`.

    A text that a spreadsheet would take for a formula gets a `'` before it; numbers stay numbers.
    What has parts is JSON.
    """
    table = csv.DictWriter(to, names, extrasaction="ignore", lineterminator="\n")
    table.writeheader()
    for row in rows:
        table.writerow({key: _cell(value) for key, value in row.items()})


_FORMULA = ("=", "+", "-", "@", "\t", "\n", "\uff1d", "\uff0b", "\uff0d", "\uff20")
"""What a formula begins with, or may after spreadsheets have cut it; also at full width."""


def _cell(value: object) -> object:
    if isinstance(value, dict | list):
        return json.dumps(value, ensure_ascii=False)
    if not isinstance(value, str):
        return value
    lines = value.replace("\r\n", "\n").replace("\r", "\n")  # a bare CR would begin another row
    return f"'{lines}" if lines.startswith(_FORMULA) else lines
