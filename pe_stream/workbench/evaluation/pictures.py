"""Figures to plots: precision against recall, ROC, recall against false alarms, score tracks."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from pe_stream.core.types import FRAME_S
from pe_stream.workbench.evaluation.curves import Curve
from pe_stream.workbench.evaluation.events import detected
from pe_stream.workbench.evaluation.scoring import Sounds, System

MAX_FILES = 16
"""Files whose score tracks are drawn, evenly spread over all."""

MAX_TRACKS = 12
"""Labels drawn of a file: those that truly sound, then those that came highest."""

COLORS = ("#1b6ca8", "#c8553d", "#c9a227", "#6a4c93")
"""Colours of our system and of the peers."""

_TRUE = "#3a7d44"
_ACROSS = 5
_SMALL = 8


def curves(path: Path, found: Mapping[str, Mapping[str, Curve]], *, kind: str) -> None:
    """Write a PNG with a panel for every label.

    found: by system and label. kind: "pr" (precision against recall) or "roc" (recall against
    the part of the negative taken for positive, on a logarithmic axis: few false alarms matter).
    """

    def draw(axes: Axes, name: str) -> None:
        for color, (system, of_label) in zip(COLORS, found.items(), strict=False):
            if name not in of_label or not of_label[name].positive:
                continue
            own = of_label[name]
            if kind == "pr":
                said = f"{system} {own.average_precision:.3f}"
                x = np.concatenate([[0.0], own.recall])
                y = np.concatenate([own.precision[:1], own.precision])
                axes.plot(x, y, color=color, label=said, drawstyle="steps-pre")
            else:
                said = f"{system} {own.auroc:.3f}" if own.auroc is not None else system
                x = np.concatenate([[1e-4], np.maximum(own.fallout, 1e-4)])
                y = np.concatenate([[0.0], own.recall])
                axes.plot(x, y, color=color, label=said, drawstyle="steps-post")
        if kind == "roc":
            axes.set_xscale("log")
        axes.set_xlim(1e-4 if kind == "roc" else -0.02, 1.02)
        axes.set_ylim(-0.02, 1.05)

    names = [n for n in _names(found) if any(n in of and of[n].positive for of in found.values())]
    titles = {"pr": ("recall", "precision"), "roc": ("false positive rate", "recall")}
    _panels(path, names, draw, titles[kind], "lower left" if kind == "pr" else "lower right")


def alarms(path: Path, labels: Mapping[str, Mapping[str, Any]]) -> None:
    """Write a PNG of the best recall with at most so many false alarms per hour.

    labels: the figures of `strong.figures` by system and label.
    """
    names = [n for n in _names(labels) if any(of[n]["operating_points"] for of in labels.values())]

    def draw(axes: Axes, name: str) -> None:
        for color, (system, of_label) in zip(COLORS, labels.items(), strict=False):
            points = of_label[name]["operating_points"]
            if not points:
                continue
            told = sorted((p["false_alarms_per_hour"], p["recall"]) for p in points)
            x = np.maximum([rate for rate, _ in told], 0.1)
            y = np.maximum.accumulate([found for _, found in told])
            recall = of_label[name]["recall_at_1_per_hour"]
            said = system if recall is None else f"{system} {recall:.2f} at 1/h"
            axes.plot(x, y, color=color, label=said, drawstyle="steps-post")
        axes.axvline(1.0, color="#999999", linewidth=0.7)
        axes.set_xscale("log")
        axes.set_xlim(0.1, 1000)
        axes.set_ylim(-0.02, 1.05)

    _panels(path, names, draw, ("false alarms per hour (at most)", "recall"), "lower right")


def tracks(folder: Path, sounds: Sounds, systems: Sequence[System]) -> None:
    """Write a PNG of scores over time for some of the files, what truly sounds behind them."""
    count = min(MAX_FILES, len(sounds.files))
    for index in sorted({int(i) for i in np.linspace(0, len(sounds.files) - 1, count)}):
        name = sounds.files[index].key.replace("/", "_")
        _track(folder / f"scores_{Path(name).stem}.png", index, sounds, systems)


def _track(path: Path, index: int, sounds: Sounds, systems: Sequence[System]) -> None:
    file, duration_s = sounds.files[index], sounds.durations_s[index]
    rules = systems[0].rules
    peaks = systems[0].scored[index].frames.max(axis=0)
    order = sorted(range(len(rules)), key=lambda i: (rules[i].name not in file.true, -peaks[i]))
    shown = sorted(order[:MAX_TRACKS])
    figure = Figure(figsize=(12, 0.8 + 0.7 * len(shown)), layout="constrained")
    rows = figure.subplots(len(shown), 1, sharex=True, squeeze=False)[:, 0]
    for axes, column in zip(rows, shown, strict=True):
        name = rules[column].name
        for span in file.true.get(name, ()):
            axes.axvspan(span.onset_s, span.offset_s, color=_TRUE, alpha=0.25, linewidth=0)
        for span in file.near.get(name, ()):
            axes.axvspan(span.onset_s, span.offset_s, color="#999999", alpha=0.2, linewidth=0)
        for place, (color, system) in enumerate(zip(COLORS, systems, strict=False)):
            scores = system.scored[index].frames[:, column]
            times = (np.arange(len(scores)) + 0.5) * FRAME_S
            compared = system.frames(system.scored[index], column)
            axes.plot(times, compared, color=color, linewidth=1.0, label=system.name)
            bars = detected(scores, system.rules[column], duration_s)
            at = (-0.1 - 0.2 / len(systems) * place, 0.14 / len(systems))
            axes.broken_barh(
                [(bar.onset_s, bar.offset_s - bar.onset_s) for bar in bars], at, color=color
            )
        axes.axhline(rules[column].threshold, color="#555555", linewidth=0.7, linestyle=":")
        axes.set_ylim(-0.24, 1.03)
        axes.set_yticks([0, 1])
        axes.set_ylabel(name, rotation=0, ha="right", va="center", fontsize=_SMALL)
    rows[0].set_title(
        f"{file.key}   green: truly sounds; bars: detected; dots: our threshold",
        loc="left",
        fontsize=9,
    )
    rows[0].legend(loc="upper right", fontsize=_SMALL, ncols=2)
    rows[-1].set_xlabel("seconds")
    rows[-1].set_xlim(0, duration_s)
    figure.savefig(path, dpi=100)


def _names(found: Mapping[str, Mapping[str, Any]]) -> list[str]:
    return list(dict.fromkeys(name for of_label in found.values() for name in of_label))


def _panels(
    path: Path,
    names: Sequence[str],
    draw: Callable[[Axes, str], None],
    axes_names: tuple[str, str],
    legend: str,
) -> None:
    down = max(1, -(-len(names) // _ACROSS))
    figure = Figure(figsize=(2.9 * _ACROSS, 2.5 * down), layout="constrained")
    grid = figure.subplots(down, _ACROSS, squeeze=False).ravel()
    for axes, name in zip(grid, names, strict=False):
        draw(axes, name)
        axes.set_title(name, fontsize=9)
        axes.tick_params(labelsize=6)
        axes.legend(fontsize=6, loc=legend)
    for axes in grid[len(names) :]:
        axes.set_axis_off()
    figure.supxlabel(axes_names[0], fontsize=_SMALL)
    figure.supylabel(axes_names[1], fontsize=_SMALL)
    figure.savefig(path, dpi=100)
