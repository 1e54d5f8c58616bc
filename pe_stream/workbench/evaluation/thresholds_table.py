"""Results of calibrated thresholds: two tables in Markdown."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from pe_stream.workbench.evaluation.report import grid, number

_SYSTEMS = ("calibrated", "default", "one_for_all")


def as_table(made: Mapping[str, Any]) -> str:
    """The report as Markdown: false alarms by what was wanted, then recall by label."""
    return "\n\n".join([_heading(made), _rates(made), _READINGS, _recall(made["recall"])])


_READINGS = """\
Mean: false alarms an hour in the other hour. Predicted: the count there lies where the calibrated
rate, how sure it is, and chance in so short a time allow in 95 of 100 cases. Wanted fits: the
wanted rate lies in the exact interval of that count. Within printed: the count lies in the interval
of the rate that `calibrate` prints, which says nothing of chance in a single hour."""


def _heading(made: Mapping[str, Any]) -> str:
    chosen = [f"prompts: {made['set']} ({made['phrasing']})"]
    if made["folds"]:
        chosen.append(f"fold {', '.join(made['folds'])}")
    chosen.append(f"{made['hours']} hours without a common recording, seed {made['seed']}")
    return f"Checkpoint: {made['checkpoint_description']}.\n{'; '.join(chosen)}."


def _rates(made: Mapping[str, Any]) -> str:
    head = ["calibrated on", "wanted/h", "trials", "mean", "predicted", "wanted fits"]
    rows = [
        [
            row["calibrated_on"],
            f"{row['wanted_per_hour']:g}",
            str(row["trials"]),
            f"{row['mean_per_hour']:.2f}",
            f"{row['count_as_predicted']:.1%}",
            f"{row['wanted_in_interval_of_count']:.1%}",
            f"{row['count_in_interval_of_rate']:.1%}",
        ]
        for row in made["rates"]
    ]
    return grid([*head, "within printed"], rows)


def _recall(recall: Mapping[str, Any]) -> str:
    head = ["label", "events", "threshold"]
    titles = (
        f"at {recall['wanted_per_hour']:g}/h",
        f"{recall['default']:g} for all",
        f"{recall['one_for_all']:.2f} for all",
    )
    for title in titles:
        head += [f"recall {title}", "false alarms/h"]
    rows = [
        [
            name,
            str(row["events"]),
            f"{np.median(row['thresholds']):.3f}",
            *(cell for system in _SYSTEMS for cell in _cells(row[system])),
        ]
        for name, row in recall["labels"].items()
    ]
    means = [cell for system in _SYSTEMS for cell in _cells(recall["mean"][system])]
    return grid(head, [*rows, ["mean of labels with events", "", "", *means]])


def _cells(figures: Mapping[str, float | None]) -> tuple[str, str]:
    rate = figures["false_alarms_per_hour"]
    return number(figures["recall"]), "-" if rate is None else f"{rate:.1f}"
