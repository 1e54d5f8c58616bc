"""Events as lines of `pe-stream detect`, in each of its formats."""

from __future__ import annotations

from collections.abc import Callable

from pe_stream.cli.options import DetectFormat
from pe_stream.core.types import Event
from pe_stream.core.words import visible

TSV_HEADER = "file\tonset_s\toffset_s\tlabel\tpeak\tmean"


def _jsonl(_: str, event: Event) -> str:
    return event.to_json()


def _tsv(file: str, event: Event) -> str:
    numbers = f"{event.onset_s:.3f}\t{event.offset_s:.3f}\t{event.label}"
    name = visible(file.replace("\\", "\\\\"))
    return f"{name}\t{numbers}\t{event.peak:.4f}\t{event.mean:.4f}"


def _audacity(_: str, event: Event) -> str:
    return f"{event.onset_s:.6f}\t{event.offset_s:.6f}\t{event.label}"


LINES: dict[DetectFormat, Callable[[str, Event], str]] = {
    "jsonl": _jsonl,
    "tsv": _tsv,
    "audacity": _audacity,
}
"""What makes the line of a file's event, by format."""
