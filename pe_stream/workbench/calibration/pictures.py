"""A label's calibration as a picture: its scores, and false alarms a day by threshold."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure

from pe_stream.core.smoothing import smoothed
from pe_stream.core.types import LabelRule, ScoreRun
from pe_stream.errors import writing
from pe_stream.workbench.calibration.propose import Proposal

_BINS = np.linspace(0, 1, 101)


def save(
    path: Path,
    label: str,
    rule: LabelRule,
    found: Proposal,
    *,
    streams: Sequence[Sequence[ScoreRun]],
    a_day: float,
) -> None:
    """Write a PNG, and its folder; raises UnavailableError where that cannot be done."""
    figure = Figure(figsize=(9, 5), layout="constrained")
    top, bottom = figure.subplots(2, 1, sharex=True)
    scores = [smoothed(run.scores, rule.smooth) for runs in streams for run in runs]
    top.hist(np.concatenate(scores), _BINS, log=True, color="#1b6ca8")
    top.set_ylabel("frames")
    top.set_title(f"{label}   {found.hours:.3g} h", loc="left", fontsize=11)
    thresholds, rates = np.array(found.curve).T
    bottom.step(thresholds, rates, where="post", color="#1b6ca8", label="counted")
    bottom.errorbar(
        [found.threshold],
        [found.rate],
        yerr=[[found.rate - found.low], [found.high - found.rate]],
        fmt="o",
        color="#c8553d",
        capsize=4,
        label=f"proposed: {found.threshold:g}",
    )
    bottom.axhline(a_day, color="#555555", linewidth=0.8, linestyle=":", label="wanted")
    bottom.axvline(rule.threshold, color="#555555", linewidth=0.8, label=f"now: {rule.threshold:g}")
    bottom.set_yscale("symlog", linthresh=max(a_day / 10, 1e-3))
    bottom.set_ylim(bottom=0)
    bottom.set_xlim(0, 1)
    bottom.set_xlabel("threshold")
    bottom.set_ylabel("false alarms a day")
    bottom.legend(fontsize=8)
    with writing(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        figure.savefig(path, dpi=110)
