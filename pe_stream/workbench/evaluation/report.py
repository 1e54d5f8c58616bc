"""Figures to JSON, and to a table that can be pasted into a model card."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from typing import Any

OURS, PEER = "pe_stream", "yamnet"
"""Names of the systems in the report."""

_TITLES = {OURS: "ours", PEER: "YAMNet"}

_MAIN = {"weak": "ap", "strong": "auroc"}
"""What decides which system is ahead for a label: it needs no threshold."""

_COLUMNS: dict[str, dict[str, str]] = {
    "weak": {"ap": "AP", "top1": "top-1"},
    "strong": {
        "auroc": "AUROC",
        "psds1": "PSDS1",
        "best_f1": "best F1",
        "recall_at_1_per_hour": "recall at 1/h",
    },
}
"""Shown for both systems, side by side."""

_OWN_COLUMNS: dict[str, dict[str, str]] = {
    "weak": {},
    "strong": {
        "threshold": "threshold",
        "f1": "F1",
        "recall": "recall",
        "false_alarms_per_hour": "false alarms/h",
        "onset_error_median_s": "onset error (s)",
    },
}
"""Shown of our system only."""

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

None: it depends on a threshold, which may be tuned for our system and is not for the peer.
"""

_COUNTS = {"weak": "clips", "strong": "events"}


def as_json(report: Mapping[str, Any]) -> str:
    """The report as JSON; what is no finite number is null."""
    return json.dumps(_finite(report), indent=2, ensure_ascii=False)


def as_table(report: Mapping[str, Any]) -> str:
    """The report as Markdown: what was evaluated, the summary, a row for every label."""
    mode = report["labels"]
    systems = [name for name in (OURS, PEER) if name in report["systems"]]
    found = [report["systems"][name] for name in systems]
    parts = [
        _heading(report),
        grid(*_summary(found, systems, mode)),
        *_beneath_summary(found, mode),
        grid(*_labels([system["labels"] for system in found], systems, mode)),
    ]
    absent = _absent(found[0]["labels"], mode)
    if absent:
        parts.append(f"No {_COUNTS[mode][:-1]} of: {', '.join(absent)}.")
    if PEER in systems:
        parts.append(_losses(found[0]["labels"], found[1]["labels"], mode))
    return "\n\n".join(parts)


def better(ours: float | None, theirs: float | None, *, more: bool) -> str:
    """Who is ahead by what is printed: a title of _TITLES, "=" or "" where one has no figure."""
    if ours is None or theirs is None:
        return ""
    a, b = (float(number(value)) * (1 if more else -1) for value in (ours, theirs))
    return "=" if a == b else _TITLES[OURS if a > b else PEER]


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
    found: Sequence[Mapping[str, Any]], systems: Sequence[str], mode: str
) -> tuple[list[str], list[list[str]]]:
    """The peer is compared with `both_know`, our figures over the labels that it knows too."""
    summaries = [system["summary"] for system in found]
    titles = [_TITLES[name] for name in systems]
    if shared := found[0].get("both_know"):
        count = len(_shared(found[0], mode))
        summaries.insert(1, shared["summary"])
        titles[1:] = [f"{title} ({count})" for title in titles]
    head = ["figure", *titles]
    if len(systems) > 1:
        head.append("ahead")
    rows = []
    for key, (title, more) in _SUMMARY.items():
        values = [summary.get(key) for summary in summaries]
        if all(value is None for value in values):
            continue
        row = [title, *map(number, values)]
        if len(systems) > 1:
            row.append("" if more is None else better(values[-2], values[-1], more=more))
        rows.append(row)
    return head, rows


def _beneath_summary(found: Sequence[Mapping[str, Any]], mode: str) -> list[str]:
    lines = []
    if len(found) > 1 and any(
        more is None and found[0]["summary"].get(key) is not None
        for key, (_, more) in _SUMMARY.items()
    ):
        lines.append(
            "Rows that depend on a threshold name no winner: the checkpoint may recommend its own,"
            " and nobody has tuned YAMNet's."
        )
    if "both_know" in found[0]:
        shared = _shared(found[0], mode)
        deaf = [name for name in found[0]["labels"] if name not in found[0]["both_know"]["labels"]]
        lines.append(
            f"({len(shared)}): over the labels that both know;"
            f" YAMNet has no class for {', '.join(deaf)}."
        )
    return lines


def _shared(ours: Mapping[str, Any], mode: str) -> list[str]:
    """The labels that means over what both know are over: those that sound somewhere."""
    return [name for name in ours["both_know"]["labels"] if ours["labels"][name][_COUNTS[mode]]]


def _absent(labels: Mapping[str, Mapping[str, Any]], mode: str) -> list[str]:
    return [name for name, values in labels.items() if not values[_COUNTS[mode]]]


def _labels(
    labels: Sequence[Mapping[str, Any]], systems: Sequence[str], mode: str
) -> tuple[list[str], list[list[str]]]:
    count = _COUNTS[mode]
    head = ["label", count]
    for title in _COLUMNS[mode].values():
        head += [title if name == OURS else f"{title} {_TITLES[name]}" for name in systems]
    head += _OWN_COLUMNS[mode].values()
    if len(systems) > 1:
        head.append("ahead")
    rows = []
    for name in labels[0]:
        mine = [of_system[name] for of_system in labels]
        row = [name, str(mine[0][count])]
        for key in _COLUMNS[mode]:
            row += [number(values[key]) for values in mine]
        row += [number(mine[0][key]) for key in _OWN_COLUMNS[mode]]
        if len(mine) > 1:
            row.append(better(*(values[_MAIN[mode]] for values in mine), more=True))
        rows.append(row)
    return head, rows


def _losses(ours: Mapping[str, Any], theirs: Mapping[str, Any], mode: str) -> str:
    key = _MAIN[mode]
    ahead = [better(ours[name][key], theirs[name][key], more=True) for name in ours]
    lost = [name for name, who in zip(ours, ahead, strict=True) if who == _TITLES[PEER]]
    told = sum(bool(who) for who in ahead)
    if not lost:
        return f"YAMNet is ahead for none of {told} labels ({_COLUMNS[mode][key]})."
    return (
        f"YAMNet is ahead for {len(lost)} of {told} labels ({_COLUMNS[mode][key]}):"
        f" {', '.join(lost)}."
    )


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
