"""Labelled audio: a folder with a `manifest.csv`.

A row is a clip (weak label: the whole file is an example of its label) or, where the columns
`onset_s` and `offset_s` are filled, one sound event inside a file (strong label; a file with
several events has several rows). A row with an empty label is a file in which nothing happens.
"""

from __future__ import annotations

import csv
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from math import isfinite
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
    """Recording that the clip is a take of: its Freesound number, its id, or its path."""
    redistributable: bool = False
    licence: str = ""
    attribution: str = ""
    onset_s: float | None = None
    offset_s: float | None = None
    sample_rate: int = 0
    """Sample rate of the file (Hz); 0 where the manifest does not say."""
    note: str = ""
    also: tuple[str, ...] = ()
    """What sounds in it besides its label; see `first_label`."""


def read(folder: Path) -> list[Clip]:
    """The rows of `folder/manifest.csv`, in its order.

    Raises:
        UnavailableError: there is no manifest, a column or a file is missing, or a row has too
            few or too many cells or times that no event can have; such rows are named by line.

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


def first_label(clip: Clip) -> Clip:
    """The clip under the first of its labels, where it has several, separated by ";"."""
    first, *others = (label.strip() for label in clip.label.split(";"))
    return replace(clip, label=first, also=tuple(filter(None, others)))


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
    """The `part`th (from 1) of `parts`, between which every label is shared out evenly.

    The recordings of a label go to the parts by turns; all clips of a recording, whatever their
    data set, go to one part. Which part that is depends on the clips given: choose folds first.
    """
    clips = list(clips)
    by_label: dict[str, set[str]] = {}
    for clip in clips:
        by_label.setdefault(clip.label, set()).add(clip.recording)
    dealt: dict[str, int] = {}
    sizes = [0] * parts
    for label in sorted(by_label):
        held = [0] * parts  # of this label; some of its recordings may have another label too
        for recording in by_label[label] & dealt.keys():
            held[dealt[recording]] += 1
        for recording in sorted(by_label[label] - dealt.keys(), key=_shuffled):
            least = min(range(parts), key=lambda n: (held[n], sizes[n]))
            dealt[recording] = least
            held[least] += 1
            sizes[least] += 1
    return [clip for clip in clips if dealt[clip.recording] == part - 1]


def without_doubles(clips: Iterable[Clip], order: Sequence[str] = ()) -> list[Clip]:
    """Of a clip that several data sets have (by its id, recording and label), one copy.

    That of the data set named first in `order`; else of the highest sample rate; else the first.
    """
    clips = list(clips)
    ranks = {dataset: rank for rank, dataset in enumerate(order)}
    best: dict[tuple[str, str, str], tuple[tuple[int, int], str]] = {}
    for clip in clips:
        found = (ranks.get(clip.dataset, len(ranks)), -clip.sample_rate), clip.dataset
        known = best.setdefault(_same(clip), found)
        if found[0] < known[0]:
            best[_same(clip)] = found
    return [clip for clip in clips if not clip.clip_id or best[_same(clip)][1] == clip.dataset]


def _shuffled(recording: str) -> tuple[int, str]:
    """To sort by: an order that is always the same, and has to do with nothing."""
    return crc32(recording.encode()), recording


def _same(clip: Clip) -> tuple[str, str, str]:
    return clip.clip_id, clip.recording, clip.label


def _clip(folder: Path, row: dict[str, str], where: str) -> Clip:
    if None in row or None in row.values():
        few = "fewer" if None in row.values() else "more"
        raise UnavailableError(f"{where}: {few} cells than columns")
    path = folder / row["path"]
    if not row["path"] or not path.is_file():
        raise UnavailableError(f"{where}: no such file: {path}")
    onset_s, offset_s = _seconds(row.get("onset_s"), where), _seconds(row.get("offset_s"), where)
    if onset_s is not None and offset_s is not None and offset_s <= onset_s:
        raise UnavailableError(f"{where}: offset_s {offset_s:g} is not after onset_s {onset_s:g}")
    return Clip(
        path=path,
        key=row["path"],
        label=row["label"].strip(),
        fold=row.get("fold") or "",
        dataset=row.get("dataset") or "",
        clip_id=row.get("clip_id") or "",
        recording=row.get("freesound_id") or row.get("clip_id") or row["path"],
        redistributable=(row.get("redistributable") or "").lower() in YES,
        licence=row.get("licence") or "",
        attribution=row.get("attribution") or "",
        onset_s=onset_s,
        offset_s=offset_s,
        sample_rate=_rate(row.get("sample_rate"), where),
        note=row.get("note") or "",
    )


def _seconds(text: str | None, where: str) -> float | None:
    if not text:
        return None
    try:
        seconds = float(text)
    except ValueError:
        seconds = -1.0
    if not (isfinite(seconds) and seconds >= 0):
        raise UnavailableError(f"{where}: not a time in seconds, from 0: {text!r}")
    return seconds


def _rate(text: str | None, where: str) -> int:
    if not text:
        return 0
    try:
        return int(text)
    except ValueError as error:
        raise UnavailableError(f"{where}: sample_rate is no whole number: {text!r}") from error
