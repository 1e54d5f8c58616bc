"""Whether second opinions tell right events from false ones: reports in Markdown."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from pe_stream.workbench.evaluation import report
from pe_stream.workbench.evaluation.judged_events import FIGURES
from pe_stream.workbench.evaluation.report import grid, number


def of_folder(made: Mapping[str, Any]) -> str:
    """The report on a folder as `report.as_table` has it, and then on second opinions."""
    return "\n\n".join([report.as_table(made), *_tables(made["second_opinion"])])


def of_marks(made: Mapping[str, Any]) -> str:
    """The report on marked events."""
    left_out = made["left_out"]
    counts = {
        "of labels that are not configured": left_out["unknown_labels"],
        "without a clip": left_out["without_clip"],
        "whose clip cannot be read": len(left_out["unreadable"]),
    }
    said = "; ".join(f"{count} {why}" for why, count in counts.items() if count)
    heading = [f"Marked events left out: {said}."] if said else []
    return "\n\n".join([*heading, *_tables(made["second_opinion"])])


def _tables(found: Mapping[str, Any]) -> Iterator[str]:
    yield (
        f"Second opinions by {found['checkpoint']}: AUROC of right events over false ones, by the"
        " events' own peaks and by each score of an opinion."
    )
    rows = [_by_label(name, row) for name, row in found["labels"].items()]
    yield grid(["label", "right", "false", *FIGURES], [*rows, _by_label("all", found["all"])])
    limits = [
        [figure, number(row["least"]), f"{row['false_below']:.0%}"]
        for figure in FIGURES
        if (row := found["all"][figure])["least"] is not None
    ]
    if limits:
        yield f"A limit for all labels that leaves {found['kept']:.0%} of the right events:"
        yield grid(["score", "limit", "false events below it"], limits)


def _by_label(name: str, row: Mapping[str, Any]) -> list[str]:
    aurocs = [number(row[figure]["auroc"]) for figure in FIGURES]
    return [name, str(row["right"]), str(row["false"]), *aurocs]
