"""A picture of what was heard: spectrogram, a score track per label, events as bars."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import NDArray

from pe_stream.audio.spectrogram import Spectrogram, shown_db
from pe_stream.core.smoothing import smoothed
from pe_stream.core.types import FRAME_S, Event, FrameScores, LabelRule, Reason

MAX_TRACKS = 16
"""Labels drawn: those with events, then those that came highest."""

_PALETTE = ("#1b6ca8", "#c8553d", "#3a7d44", "#7d4fa0", "#b8860b", "#147d7d")


def save(
    path: Path,
    *,
    title: str,
    spectrogram: Spectrogram,
    scores: FrameScores,
    rules: Sequence[LabelRule],
    events: Sequence[Event],
) -> None:
    """Write a PNG. scores: (frames, labels) in the order of `rules`; events: finished ones."""
    shown = _worth_showing(scores, rules, events)
    length_s = len(scores) * FRAME_S
    rows = len(shown)
    figure = Figure(figsize=(12, 2.9 + 0.62 * rows), layout="constrained")
    grid = figure.add_gridspec(rows + 1, 1, height_ratios=[3.2, *[1] * rows], hspace=0.04)
    top = figure.add_subplot(grid[0])
    _draw_spectrogram(top, spectrogram, length_s)
    hidden = len(rules) - rows
    note = f"   ({hidden} more labels not drawn)" if hidden else ""
    told = f"{title}   {len(events)} events{note}"
    top.set_title(told, loc="left", fontsize=11, parse_math=False)  # `$` is `$`
    for row, column in enumerate(shown):
        axes = figure.add_subplot(grid[row + 1], sharex=top)
        mine = [event for event in events if event.label == rules[column].name]
        color = _PALETTE[row % len(_PALETTE)]
        _draw_track(axes, scores[:, column], rules[column], mine, color)
        axes.tick_params(labelbottom=row == rows - 1)
    figure.axes[-1].set_xlabel("seconds")
    top.set_xlim(0, length_s)
    with warnings.catch_warnings():  # a font has no more letters than it has
        warnings.filterwarnings("ignore", "Glyph .* missing from")
        figure.savefig(path, dpi=110)


def _worth_showing(
    scores: FrameScores, rules: Sequence[LabelRule], events: Sequence[Event]
) -> list[int]:
    heard = {event.label for event in events}
    peaks = scores.max(axis=0, initial=0.0)
    order = sorted(range(len(rules)), key=lambda i: (rules[i].name not in heard, -peaks[i]))
    return sorted(order[:MAX_TRACKS])


def _draw_spectrogram(axes: Axes, spectrogram: Spectrogram, length_s: float) -> None:
    decibels = spectrogram.decibels
    times = np.linspace(0, length_s, decibels.shape[1] + 1)
    quietest, loudest = shown_db(decibels)
    axes.pcolormesh(
        times,
        spectrogram.edges_hz,
        decibels,
        cmap="magma",
        vmin=quietest,
        vmax=loudest,
        rasterized=True,
    )
    axes.set_yscale("log")
    axes.set_yticks([100, 1000, 10_000], ["100", "1k", "10k"])
    axes.set_ylabel("Hz")
    axes.tick_params(labelbottom=False)


def _draw_track(
    axes: Axes,
    scores: NDArray[np.float32],
    rule: LabelRule,
    events: Sequence[Event],
    color: str,
) -> None:
    times = (np.arange(len(scores)) + 0.5) * FRAME_S
    for event in events:
        axes.axvspan(event.onset_s, event.offset_s or 0.0, color=color, alpha=0.22, linewidth=0)
        bar = (event.onset_s, event.duration_s)
        axes.broken_barh([bar], (-0.14, 0.12), color=color, linewidth=0)
        if event.reason is Reason.MAX_LENGTH:
            axes.text(event.onset_s + event.duration_s, -0.14, "…", color=color, va="bottom")
    axes.plot(times, smoothed(scores, rule.smooth), color=color, linewidth=1.1)
    axes.axhline(rule.threshold, color="#555555", linewidth=0.8, linestyle=(0, (4, 3)))
    axes.axhline(rule.off_threshold, color="#999999", linewidth=0.7, linestyle=(0, (1, 3)))
    axes.set_ylim(-0.16, 1.05)
    axes.set_yticks([rule.threshold], [f"{rule.threshold:.2g}"], fontsize=7)
    how: dict[str, Any] = {"ha": "right", "va": "center", "fontsize": 9, "labelpad": 22}
    axes.set_ylabel(rule.name, rotation=0, parse_math=False, **how)
    for side in ("top", "right"):
        axes.spines[side].set_visible(False)
