"""A picture of what was heard: spectrogram, a score track per label, events as bars."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.image import imsave
from numpy.typing import NDArray

from pe_stream.core.bands import Bands
from pe_stream.core.types import (
    FRAME,
    FRAME_S,
    AudioChunk,
    Event,
    FrameScores,
    LabelRule,
    Reason,
    Samples,
)

MAX_TRACKS = 16
"""Labels drawn: those with events, then those that came highest."""

_BANDS = 96
_RANGE_DB = 70.0
_FINE = FRAME // 4
_MAX_COLUMNS = 3000
_PALETTE = ("#1b6ca8", "#c8553d", "#3a7d44", "#7d4fa0", "#b8860b", "#147d7d")


class Spectrogram:
    """Log-frequency spectrogram of a recording that comes in chunks.

    step: samples from one column to the next; each is of a frame of sound.
    """

    def __init__(self, *, step: int = FRAME) -> None:
        self._rest: Samples = np.empty(0, np.float32)
        self._columns: list[NDArray[np.float16]] = []
        self._bands = Bands(_BANDS)
        self._step = step

    def add(self, samples: Samples) -> None:
        """Take the next (n,) samples at 48 kHz."""
        rest = np.concatenate([self._rest, samples])
        if len(rest) >= FRAME:
            windows = np.lib.stride_tricks.sliding_window_view(rest, FRAME)[:: self._step]
            self._columns += list(self._bands.decibels(windows.ravel()).astype(np.float16))
            rest = rest[len(windows) * self._step :]
        self._rest = rest

    @property
    def decibels(self) -> NDArray[np.float32]:
        """(bands, columns) in dB, loudest of neighbours where there are too many to draw."""
        columns = np.array(self._columns or np.zeros((1, _BANDS)), np.float32)
        pooled = -(-len(columns) // _MAX_COLUMNS)
        starts = np.arange(0, len(columns), pooled)
        return np.maximum.reduceat(columns, starts, axis=0).T

    @property
    def edges_hz(self) -> NDArray[np.float64]:
        """Edges of the bands, (bands + 1,) in Hz."""
        return self._bands.edges_hz


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
    top.set_title(f"{title}   {len(events)} events{note}", loc="left", fontsize=11)
    for row, column in enumerate(shown):
        axes = figure.add_subplot(grid[row + 1], sharex=top)
        mine = [event for event in events if event.label == rules[column].name]
        color = _PALETTE[row % len(_PALETTE)]
        _draw_track(axes, scores[:, column], rules[column], mine, color)
        axes.tick_params(labelbottom=row == rows - 1)
    figure.axes[-1].set_xlabel("seconds")
    top.set_xlim(0, length_s)
    figure.savefig(path, dpi=110)


def save_clip(path: Path, audio: Iterable[AudioChunk], *, fine: bool) -> None:
    """Write a PNG of a recording's spectrogram and nothing else: its edges are those of the sound.

    fine: a column every 10 ms, else every 40; at most 3000 in any case.

    From left to right time, evenly; from bottom to top 50 Hz to 16 kHz, logarithmically.
    """
    step = _FINE if fine else FRAME
    spectrogram = Spectrogram(step=step)
    around = np.zeros((FRAME - step) // 2, np.float32)  # a column is of what is around its middle
    spectrogram.add(around)
    for chunk in audio:
        spectrogram.add(chunk.samples)
    spectrogram.add(around)
    decibels = spectrogram.decibels
    loudest = float(decibels.max())
    imsave(
        path,
        np.repeat(decibels[::-1], 2, axis=0),
        cmap="magma",
        vmin=loudest - _RANGE_DB,
        vmax=loudest,
        format="png",
    )


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
    loudest = float(decibels.max())
    axes.pcolormesh(
        times,
        spectrogram.edges_hz,
        decibels,
        cmap="magma",
        vmin=loudest - _RANGE_DB,
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
    axes.plot(times, scores, color=color, linewidth=1.1)
    axes.axhline(rule.threshold, color="#555555", linewidth=0.8, linestyle=(0, (4, 3)))
    axes.axhline(rule.off_threshold, color="#999999", linewidth=0.7, linestyle=(0, (1, 3)))
    axes.set_ylim(-0.16, 1.05)
    axes.set_yticks([rule.threshold], [f"{rule.threshold:.2g}"], fontsize=7)
    axes.set_ylabel(rule.name, rotation=0, ha="right", va="center", fontsize=9, labelpad=22)
    for side in ("top", "right"):
        axes.spines[side].set_visible(False)
