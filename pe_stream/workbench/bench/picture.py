"""The figures as a picture: time per hop by stage, and how it grows."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from matplotlib.figure import Figure

_COLORS = ("#1b6ca8", "#c8553d", "#3a7d44", "#7d4fa0")
_SMALL = 8


def save(path: Path, made: dict[str, Any]) -> None:
    """Write a PNG of what `command.measure` made."""
    figure = Figure(figsize=(12, 3.2), layout="constrained")
    bars, *panels = figure.subplots(1, 4)
    bottom = 0.0
    for color, (stage, taken_ms) in zip(_COLORS, made["stages_ms"].items(), strict=True):
        said = f"{stage} {taken_ms:.1f} ms"
        bars.bar("a hop", taken_ms, bottom=bottom, color=color, width=0.5, label=said)
        bottom += taken_ms
    bars.set_xlim(-0.4, 1.6)
    bars.legend(loc="upper right", fontsize=_SMALL, reverse=True)
    bars.set_title(f"{made['model']['name']}: 1/{made['ratio_to_plain']:.0f} of plain", fontsize=9)
    titles = {"streams": "streams", "labels": "labels", "window_s": "window (s)"}
    for axes, (name, title) in zip(panels, titles.items(), strict=True):
        points = made["growth"][name]
        axes.plot([float(key) for key in points], list(points.values()), "o-", color=_COLORS[0])
        axes.set_xlabel(title, fontsize=_SMALL)
        axes.set_ylim(0, 1.15 * max(points.values(), default=1.0))
    for axes in figure.axes:
        axes.tick_params(labelsize=_SMALL)
    bars.set_ylabel("ms per hop", fontsize=_SMALL)
    figure.savefig(path, format="png", dpi=110)
