"""Labelled audio: a folder with a `manifest.csv`.

A row is a clip (weak label: the whole file is an example of its label) or, where the columns
`onset_s` and `offset_s` are filled, one sound event inside a file (strong label; a file with
several events has several rows). A row with an empty label is a file in which nothing happens.
"""

from __future__ import annotations

import csv
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from zlib import crc32

from pe_stream.errors import UnavailableError

NAME = "manifest.csv"
REQUIRED = ("path", "label")
YES = frozenset({"true", "yes", "1"})


@dataclass(frozen=True)
class Clip:
    """One row of a manifest; times in seconds from the start of the file."""

    path: Path
    """The audio file."""
    key: str
    """The file as the manifest names it: relative to the manifest's folder."""
    label: str
    fold: str = ""
    dataset: str = ""
    clip_id: str = ""
    recording: str = ""
    """Of which the clip is a take: its Freesound number, its id, or its path."""
    redistributable: bool = False
    licence: str = ""
    attribution: str = ""
    onset_s: float | None = None
    offset_s: float | None = None


def read(folder: Path) -> list[Clip]:
    """The rows of `folder/manifest.csv`, in its order.

    Raises:
        UnavailableError: there is no manifest, a column or a file is missing, or a time is no
            number.

    """
    table = folder / NAME
    try:
        with table.open(encoding="utf-8", newline="") as lines:
            rows = csv.DictReader(lines)
            missing = [name for name in REQUIRED if name not in (rows.fieldnames or ())]
            if missing:
                raise UnavailableError(f"{table}: no column {' and no column '.join(missing)}")
            clips = [_clip(folder, row, f"{table}:{rows.line_num}") for row in rows]
    except OSError as error:
        raise UnavailableError(f"{table}: {error.strerror}") from error
    except (UnicodeDecodeError, csv.Error) as error:
        raise UnavailableError(f"{table}: not a CSV table in UTF-8: {error}") from error
    if not clips:
        raise UnavailableError(f"{table}: has no rows")
    return clips


def of_folds(clips: Iterable[Clip], folds: Iterable[str]) -> list[Clip]:
    """Those of `clips` whose fold is among `folds`; all of them where `folds` is empty.

    Raises:
        UnavailableError: a fold that no clip has.

    """
    clips, wanted = list(clips), set(folds)
    there = {clip.fold for clip in clips}
    if wanted - there:
        raise UnavailableError(
            f"no clip of fold {', '.join(sorted(wanted - there))};"
            f" there are {', '.join(sorted(there))}"
        )
    return [clip for clip in clips if not wanted or clip.fold in wanted]


def of_part(clips: Iterable[Clip], part: int, parts: int) -> list[Clip]:
    """The `part`th (from 1) of `parts` of about equal size; takes of a recording stay together."""
    return [clip for clip in clips if crc32(clip.recording.encode()) % parts == part - 1]


def _clip(folder: Path, row: dict[str, str], where: str) -> Clip:
    path = folder / row["path"]
    if not row["path"] or not path.is_file():
        raise UnavailableError(f"{where}: no such file: {path}")
    return Clip(
        path=path,
        key=row["path"],
        label=(row["label"] or "").strip(),
        fold=row.get("fold") or "",
        dataset=row.get("dataset") or "",
        clip_id=row.get("clip_id") or "",
        recording=row.get("freesound_id") or row.get("clip_id") or row["path"],
        redistributable=(row.get("redistributable") or "").lower() in YES,
        licence=row.get("licence") or "",
        attribution=row.get("attribution") or "",
        onset_s=_seconds(row.get("onset_s"), where),
        offset_s=_seconds(row.get("offset_s"), where),
    )


def _seconds(text: str | None, where: str) -> float | None:
    if not text:
        return None
    try:
        return float(text)
    except ValueError as error:
        raise UnavailableError(f"{where}: not a time in seconds: {text!r}") from error
