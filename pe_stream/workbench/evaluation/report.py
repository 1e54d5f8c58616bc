"""Figures to JSON, and to a table that can be pasted into a model card."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from pe_stream.workbench.evaluation import peers

OURS = "pe_stream"
"""Name of our system in the report."""

_TITLES = {OURS: "ours", **peers.TITLES}

_MAIN = {"weak": "ap", "strong": "auroc"}
"""Figure that decides which system is ahead for a label: it needs no threshold."""

_COLUMNS: dict[str, dict[str, str]] = {
    "weak": {"ap": "AP", "top1": "top-1"},
    "strong": {"auroc": "AUROC", "recall_at_1_per_hour": "recall at 1/h"},
}
"""Shown for all systems, side by side."""

_OWN_COLUMNS: dict[str, dict[str, str]] = {
    "weak": {},
    "strong": {
        "psds1": "PSDS1",
        "best_f1": "best F1",
        "threshold": "threshold",
        "f1": "F1",
        "recall": "recall",
        "false_alarms_per_hour": "false alarms/h",
        "onset_error_median_s": "onset error (s)",
    },
}
"""Shown of our system only, in a table of their own where there are peers."""

_SUMMARY: dict[str, tuple[str, bool | None]] = {
    "top1": ("top-1", True),
    "map": ("mAP", True),
    "auroc": ("AUROC, mean of labels", True),
    "frame_ap": ("frame AP, mean of labels", True),
    "psds1": ("PSDS1", True),
    "psds2": ("PSDS2", True),
    "best_f1": ("event F1, best threshold per label", True),
    "frame_f1": ("event F1, frames above the threshold", None),
    "f1": ("event F1, events as detected", None),
    "recall": ("recall", None),
    "recall_at_1_per_hour": ("recall at 1 false alarm/h per label", True),
    "false_alarms_per_hour": ("false alarms/h, all labels", None),
    "background_false_alarms_per_hour": ("false alarms/h on background", None),
    "onset_error_median_s": ("onset error, median (s)", None),
    "onset_error_p90_s": ("onset error, 90th percentile (s)", None),
}
"""Title of a figure of the summary, and whether more of it is better.

None: it depends on a threshold, which may be tuned for our system and is not for a peer.
"""

_MADE = (
    "Made sounds, apart: events from formulas that training uses too. They are in no figure above,"
    " neither right nor false."
)

_COUNTS = {"weak": "clips", "strong": "events"}


def as_json(report: Mapping[str, Any]) -> str:
    """The report as JSON; what is no finite number is null."""
    return json.dumps(_finite(report), indent=2, ensure_ascii=False)


def as_table(report: Mapping[str, Any]) -> str:
    """The report as Markdown: what was evaluated, the summary, a row for every label."""
    parts = [_heading(report), *_tables(report["systems"], report["labels"])]
    if "made" in report:
        parts += [_MADE, *_tables(report["made"]["systems"], report["labels"])]
    return "\n\n".join(parts)


def ahead(figures: Mapping[str, float | None], *, more: bool) -> str:
    """Who is ahead by what is printed, of the figures by title.

    One title or several, "=" where all that have a figure are level, "" where fewer than two do.
    """
    there = {
        title: float(number(value)) * (1 if more else -1)
        for title, value in figures.items()
        if value is not None
    }
    if len(there) < 2:
        return ""
    best = [title for title, value in there.items() if value == max(there.values())]
    return "=" if len(best) == len(there) else ", ".join(best)


def _tables(systems: Mapping[str, Mapping[str, Any]], mode: str) -> Iterator[str]:
    """Summary and labels of these systems, ours first, and what is to be said beneath them."""
    found = {_TITLES[name]: systems[name] for name in _TITLES if name in systems}
    ours = found[_TITLES[OURS]]
    yield grid(*_summary(found, mode))
    yield from _beneath_summary(found, mode)
    yield from _labels(found, mode)
    if absent := _absent(ours["labels"], mode):
        yield f"No {_COUNTS[mode][:-1]} of: {', '.join(absent)}."
    if losses := list(_losses(found, mode)):
        yield "\n".join(losses)


def _heading(report: Mapping[str, Any]) -> str:
    chosen = [f"prompts: {report['set']} ({report['phrasing']})"]
    if report["datasets"]:
        chosen.append(f"data set {', '.join(report['datasets'])}")
    if report["folds"]:
        chosen.append(f"fold {', '.join(report['folds'])}")
    minutes = f"{report['files']} files, {60 * report['hours']:.1f} min"
    over = f" over {', '.join(named)}" if (named := report.get("backgrounds")) else ""
    chosen.append(f"{minutes} ({60 * report['background_hours']:.1f} min without events{over})")
    return f"Checkpoint: {report['checkpoint_description']}.\n{'; '.join(chosen)}."


def _summary(
    found: Mapping[str, Mapping[str, Any]], mode: str
) -> tuple[list[str], list[list[str]]]:
    """Systems are compared over the labels that all know; ours come first over all labels too."""
    columns = {title: system["summary"] for title, system in found.items()}
    compared = dict(columns)
    if (shared := _shared(found, mode)) is not None:
        ours = next(iter(found))
        compared = {
            f"{title} ({len(shared)})": system.get("both_know", system)["summary"]
            for title, system in found.items()
        }
        columns = {ours: columns[ours], **compared}
    head = ["figure", *columns]
    if len(found) > 1:
        head.append("ahead")
    rows = []
    for key, (title, more) in _SUMMARY.items():
        values = [summary.get(key) for summary in columns.values()]
        if all(value is None for value in values):
            continue
        row = [title, *map(number, values)]
        if len(found) > 1:
            of_all = dict(zip(found, (each.get(key) for each in compared.values()), strict=True))
            row.append("" if more is None else ahead(of_all, more=more))
        rows.append(row)
    return head, rows


def _beneath_summary(found: Mapping[str, Mapping[str, Any]], mode: str) -> Iterator[str]:
    ours = next(iter(found.values()))
    if len(found) > 1 and any(
        more is None and ours["summary"].get(key) is not None for key, (_, more) in _SUMMARY.items()
    ):
        yield (
            "Rows that depend on a threshold name no winner: the checkpoint may recommend its own,"
            " and nobody has tuned a peer's."
        )
    if (shared := _shared(found, mode)) is not None:
        all_of = "both" if len(found) == 2 else "all"
        lacks = [
            f"{title} has no class for {', '.join(system['deaf'])}"
            for title, system in found.items()
            if system.get("deaf")
        ]
        yield f"({len(shared)}): over the labels that {all_of} know; {'; '.join(lacks)}."


def _shared(found: Mapping[str, Mapping[str, Any]], mode: str) -> list[str] | None:
    """The labels that means over what all know are over: those that sound somewhere.

    None where all systems know all labels.
    """
    ours = next(iter(found.values()))
    if "both_know" not in ours:
        return None
    return [name for name in ours["both_know"]["labels"] if ours["labels"][name][_COUNTS[mode]]]


def _absent(labels: Mapping[str, Mapping[str, Any]], mode: str) -> list[str]:
    return [name for name, values in labels.items() if not values[_COUNTS[mode]]]


def _labels(found: Mapping[str, Mapping[str, Any]], mode: str) -> Iterator[str]:
    """A row a label: ours alone in one table; with peers, what is compared in one before it."""
    names = list(next(iter(found.values()))["labels"])
    ours, count = next(iter(found.values()))["labels"], _COUNTS[mode]
    head = ["label", count]
    rows = [[name, str(ours[name][count])] for name in names]
    own = _OWN_COLUMNS[mode]
    if len(found) == 1:
        shown = {**_COLUMNS[mode], **own}
        yield grid([*head, *shown.values()], _with(rows, names, ours, shown))
        return
    compared = [list(row) for row in rows]
    for key, title in _COLUMNS[mode].items():
        head += [f"{title}: {next(iter(found))}", *list(found)[1:]]
        for system in found.values():
            compared = _with(compared, names, system["labels"], {key: title})
    main = _MAIN[mode]
    for row, name in zip(compared, names, strict=True):
        of_all = {title: system["labels"][name][main] for title, system in found.items()}
        row.append(ahead(of_all, more=True))
    yield grid([*head, "ahead"], compared)
    if own:
        yield f"{next(iter(found)).capitalize()} alone:"
        yield grid(["label", count, *own.values()], _with(rows, names, ours, own))


def _with(
    rows: Sequence[Sequence[str]],
    names: Sequence[str],
    labels: Mapping[str, Mapping[str, Any]],
    columns: Mapping[str, str],
) -> list[list[str]]:
    return [
        [*row, *(number(labels[name][key]) for key in columns)]
        for row, name in zip(rows, names, strict=True)
    ]


def _losses(found: Mapping[str, Mapping[str, Any]], mode: str) -> Iterator[str]:
    """Labels for which each peer is ahead of ours."""
    key = _MAIN[mode]
    (mine, ours), *others = found.items()
    for title, system in others:
        pairs = {
            name: {mine: ours["labels"][name][key], title: system["labels"][name][key]}
            for name in ours["labels"]
        }
        who = {name: ahead(pair, more=True) for name, pair in pairs.items()}
        lost = [name for name, first in who.items() if first == title]
        told = sum(bool(first) for first in who.values())
        over = f"of {told} labels ({_COLUMNS[mode][key]})"
        if lost:
            yield f"{title} is ahead of {mine} for {len(lost)} {over}: {', '.join(lost)}."
        else:
            yield f"{title} is ahead of {mine} for none {over}."


def number(value: Any) -> str:
    """Three digits after the point, one from 10 on."""
    if value is None:
        return "-"
    return f"{value:.3f}" if abs(value) < 10 else f"{value:.1f}"


def grid(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A Markdown table whose columns are aligned also where it is not rendered."""
    cells = [[cell.replace("|", r"\|") for cell in row] for row in (head, *rows)]
    widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
    lines = [_line(row, widths) for row in cells]
    rule = ["-" * widths[0], *("-" * (width - 1) + ":" for width in widths[1:])]
    return "\n".join([lines[0], _line(rule, widths), *lines[1:]])


def _line(row: Sequence[str], widths: Sequence[int]) -> str:
    first, *others = zip(row, widths, strict=True)
    cells = [first[0].ljust(first[1]), *(text.rjust(width) for text, width in others)]
    return f"| {' | '.join(cells)} |"


def _finite(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {key: _finite(inner) for key, inner in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(inner) for inner in value]
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value
