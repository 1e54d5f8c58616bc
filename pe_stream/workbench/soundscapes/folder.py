"""A folder of soundscapes: FLAC files and their manifest, one row an event."""

from __future__ import annotations

import csv
from collections.abc import Iterator
from pathlib import Path

from pe_stream.audio import encode
from pe_stream.core.types import SAMPLE_RATE
from pe_stream.workbench import manifest
from pe_stream.workbench.soundscapes.scene import SceneEvent, Soundscape

COLUMNS = (
    "path",
    "dataset",
    "clip_id",
    "label",
    "fold",
    "duration_s",
    "sample_rate",
    "licence",
    "redistributable",
    "attribution",
    "freesound_id",
    "note",
    "onset_s",
    "offset_s",
)
"""Columns of the manifest; the first twelve are those of our manifests of clips."""

DATASET = "soundscapes"

Row = dict[str, str]

_BACKGROUND = "background: "
"""Begins the note of every row; the name follows."""


_OF, _MADE = "of ", "synthesised"
"""End the note of an event: where its sound is from."""


def add(folder: Path, index: int, soundscape: Soundscape, fold: str) -> list[Row]:
    """Write the audio of one soundscape; returns its rows for `write_manifest`.

    A file without events has one row, with an empty label. Raises OSError.
    """
    name = f"soundscape_{index:04d}"
    encode.write(folder / f"{name}.flac", soundscape.samples)
    clips = soundscape.clips
    common = {
        "path": f"{name}.flac",
        "dataset": DATASET,
        "clip_id": name,
        "label": "",
        "fold": fold,
        "duration_s": f"{len(soundscape.samples) / SAMPLE_RATE:.3f}",
        "sample_rate": str(SAMPLE_RATE),
        "licence": "; ".join(sorted({clip.licence for clip in clips if clip.licence})),
        "redistributable": str(all(clip.redistributable for clip in clips)).lower(),
        "attribution": "; ".join(dict.fromkeys(c.attribution for c in clips if c.attribution)),
        "freesound_id": "",
        "note": f"{_BACKGROUND}{soundscape.background}",
        "onset_s": "",
        "offset_s": "",
    }
    return [common | row for row in _events(soundscape)] or [common]


def write_manifest(folder: Path, rows: list[Row]) -> None:
    """Write `manifest.csv` as `pe_stream.workbench.manifest.read` reads it. Raises OSError."""
    with (folder / manifest.NAME).open("w", encoding="utf-8", newline="") as file:
        table = csv.DictWriter(file, COLUMNS, lineterminator="\n")
        table.writeheader()
        table.writerows(rows)


def background_of(note: str) -> str:
    """The background that a row's note names; empty where it names none."""
    name, _, _ = note.partition("; ")
    return name.removeprefix(_BACKGROUND) if name.startswith(_BACKGROUND) else ""


def is_made(note: str) -> bool:
    """Whether the event whose note this is was made from a formula."""
    return note.startswith(_BACKGROUND) and note.rpartition("; ")[2] == f"{_OF}{_MADE}"


def _events(soundscape: Soundscape) -> Iterator[Row]:
    for event in soundscape.events:
        yield {
            "label": event.label,
            "note": f"{_BACKGROUND}{soundscape.background}; {_origin(event)}",
            "onset_s": f"{event.onset_s:.4f}",
            "offset_s": f"{event.offset_s:.4f}",
        }


def _origin(event: SceneEvent) -> str:
    of = event.clip.key if event.clip else "several clips"
    return f"SNR {event.snr_db:.1f} dB; {_OF}{_MADE if event.made else of}"
