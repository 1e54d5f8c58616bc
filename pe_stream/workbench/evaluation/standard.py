"""PSDS and event-based F1 by the library that the field uses: sed_scores_eval.

PSDS: Bilen et al., ICASSP 2020; all thresholds at once: Ebbers et al., ICASSP 2022 (arXiv
2201.13148). The two scenarios are those of DESED (DCASE 2021 to 2024, task 4).

The library knows no sounds that are neither right nor wrong: where something near to a label
sounds, and not the label itself, the label's scores are set to 0.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from importlib import import_module
from types import ModuleType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pe_stream.core.types import FRAME_S, FrameScores, LabelRule
from pe_stream.errors import UnavailableError
from pe_stream.workbench.evaluation.events import runs
from pe_stream.workbench.evaluation.scoring import Sounds, System
from pe_stream.workbench.evaluation.truth import File, Span

PSDS: Mapping[str, Mapping[str, float | None]] = {
    "psds1": {
        "dtc_threshold": 0.7,
        "gtc_threshold": 0.7,
        "cttc_threshold": None,
        "alpha_ct": 0.0,
        "alpha_st": 1.0,
        "max_efpr": 100.0,
    },
    "psds2": {
        "dtc_threshold": 0.1,
        "gtc_threshold": 0.1,
        "cttc_threshold": 0.3,
        "alpha_ct": 0.5,
        "alpha_st": 1.0,
        "max_efpr": 100.0,
    },
}
"""The first wants exact times, the second right labels. `max_efpr`: false alarms per hour."""

COLLAR = {"onset_collar": 0.2, "offset_collar": 0.2, "offset_collar_rate": 0.2}
"""An event is right within 200 ms of its onset, and of its offset or a fifth of its length."""

_NAME = "sed_scores_eval"

Table = NDArray[np.floating]
"""Scores as they are compared with thresholds, (frames, labels)."""


def require() -> None:
    """Raise UnavailableError, saying what to install, where the library cannot be imported."""
    _library("collar_based")


def _library(part: str) -> ModuleType:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # pkg_resources, deep inside
            return import_module(f"{_NAME}.{part}")
    except ImportError as error:
        raise UnavailableError(
            f'evaluation needs {_NAME}: pip install "pe-stream[eval]" ({error})'
        ) from error


@dataclass(frozen=True, slots=True)
class Standard:
    """The library's figures of a system, over the labels that truly sound somewhere.

    psds: by scenario. label_psds: by scenario and label.
    f1: of the tracker's events at the labels' thresholds; frame_f1: of the frames above these;
    best_f1, best_threshold: of the frames above the threshold that is best for each. By label.
    """

    psds: Mapping[str, float]
    label_psds: Mapping[str, Mapping[str, float]]
    f1: Mapping[str, float]
    frame_f1: Mapping[str, float]
    best_f1: Mapping[str, float]
    best_threshold: Mapping[str, float]


def standard(sounds: Sounds, system: System) -> Standard | None:
    """Ask the library; None where nothing that the system knows sounds anywhere."""
    columns = [
        column
        for column, rule in enumerate(system.rules)
        if rule.name not in system.deaf and any(rule.name in file.true for file in sounds.files)
    ]
    if not columns:
        return None
    names = [system.rules[column].name for column in columns]
    truth = {
        str(i): [
            (span.onset_s, span.offset_s, str(label))
            for label, name in enumerate(names)
            for span in file.true.get(name, ())
        ]
        for i, file in enumerate(sounds.files)
    }
    durations = {str(i): duration_s for i, duration_s in enumerate(sounds.durations_s)}
    frames = _tables(
        _masked(np.stack([system.frames(scored, c) for c in columns], axis=1), file, names)
        for scored, file in zip(system.scored, sounds.files, strict=True)
    )
    events = _tables(
        _events(scored.frames, file, {column: system.rules[column] for column in columns})
        for scored, file in zip(system.scored, sounds.files, strict=True)
    )
    collar = _library("collar_based")
    thresholds = {str(i): system.rules[column].threshold for i, column in enumerate(columns)}
    psds, label_psds = _psds(frames, truth, durations, names)
    best, _, _, best_at, _ = collar.best_fscore(frames, truth, **COLLAR)
    return Standard(
        psds,
        label_psds,
        f1=_named(collar.fscore(events, truth, dict.fromkeys(thresholds, 0.5), **COLLAR)[0], names),
        frame_f1=_named(collar.fscore(frames, truth, thresholds, **COLLAR)[0], names),
        best_f1=_named(best, names),
        best_threshold=_named(best_at, names),
    )


def _psds(
    frames: Any, truth: Any, durations: Any, names: Sequence[str]
) -> tuple[dict[str, float], dict[str, dict[str, float]]]:
    library = _library("intersection_based")
    values, by_label = {}, {}
    for scenario, wanted in PSDS.items():
        parameters = dict(wanted)
        if len(names) == 1:  # one label cannot be taken for another
            parameters |= {"alpha_ct": 0.0, "cttc_threshold": None}
        value, single, _, _ = library.psds(frames, truth, durations, **parameters)
        values[scenario] = float(value)
        by_label[scenario] = _named(single, names)
    return values, by_label


def _named(figures: Any, names: Sequence[str]) -> dict[str, float]:
    """The library's figures, whose labels are numbers: any name is one for us, not for it."""
    return {name: float(figures[str(label)]) for label, name in enumerate(names)}


def _tables(scores: Iterable[Table]) -> dict[str, Any]:
    make = _library("base_modules.scores").create_score_dataframe
    return {
        str(i): make(
            table.astype(np.float64),
            np.arange(len(table) + 1) * FRAME_S,
            [str(label) for label in range(table.shape[1])],
        )
        for i, table in enumerate(scores)
    }


def _masked(scores: Table, file: File, names: Sequence[str]) -> Table:
    masked = scores.copy()
    for column, name in enumerate(names):
        left_out = frame_mask(file.near.get(name, ()), len(scores))
        masked[left_out & ~frame_mask(file.true.get(name, ()), len(scores)), column] = 0.0
    return masked


def _events(scores: FrameScores, file: File, rules: Mapping[int, LabelRule]) -> Table:
    """The tracker's events as scores of 0 and 1, (frames, labels).

    rules: by column of `scores`. Events over something near to the label alone are left out.
    """
    table = np.zeros((len(scores), len(rules)))
    for i, (column, rule) in enumerate(rules.items()):
        true, near = file.true.get(rule.name, ()), file.near.get(rule.name, ())
        for first, end in runs(scores[:, column], rule):
            event = Span(first * FRAME_S, end * FRAME_S)
            if any(map(event.overlaps, true)) or not any(map(event.overlaps, near)):
                table[first:end, i] = 1.0
    return table


def frame_mask(spans: Sequence[Span], frames: int) -> NDArray[np.bool_]:
    """Whether the centre of each of `frames` frames lies within one of `spans`: (frames,)."""
    centres_s = (np.arange(frames) + 0.5) * FRAME_S
    mask = np.zeros(frames, bool)
    for span in spans:
        mask |= (centres_s >= span.onset_s) & (centres_s < span.offset_s)
    return mask
