"""All figures of audio with strong labels: frames, events, and the field's standard ones."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pe_stream.workbench.evaluation.clips import mean
from pe_stream.workbench.evaluation.curves import Curve, Truths, curve
from pe_stream.workbench.evaluation.events import Tally, sweep, tally
from pe_stream.workbench.evaluation.scoring import Sounds, System
from pe_stream.workbench.evaluation.standard import PSDS, Standard, frame_mask, standard

ALARMS_PER_HOUR = 1.0
"""False alarms at which recall is told; on less than an hour of audio it means none at all."""

_F1 = ("f1", "frame_f1", "best_f1")


def figures(sounds: Sounds, system: System) -> dict[str, Any]:
    """Figures of every label and their summary; None where there is nothing to tell it from.

    Means are over the labels that truly sound somewhere and that the system knows. Rates are per
    hour of all audio, `background_*` per hour of the empty files.
    """
    curves = frame_curves(sounds, system)
    known = {rule.name for rule in system.rules} - system.deaf
    tallies = {rule.name: tally(sounds, system, i) for i, rule in enumerate(system.rules)}
    rows: dict[str, dict[str, Any]] = {}
    for column, rule in enumerate(system.rules):
        own, counts = curves.get(rule.name), tallies[rule.name]
        told = own is not None and counts.true > 0 and rule.name in known
        rows[rule.name] = {
            "events": counts.true,
            "threshold": rule.threshold,
            "auroc": own.auroc if own and told else None,
            "frame_ap": own.average_precision if own and told else None,
            **_of_tally(counts, sounds, told=told),
            "operating_points": _operating_points(sounds, system, column) if told else [],
        }
        rows[rule.name] |= _best_recall(rows[rule.name]["operating_points"])
    said = standard(sounds, system)
    _add_standard(said, rows)
    return {"summary": _summary(sounds, system, rows, said), "labels": rows}


def summary(
    sounds: Sounds, system: System, rows: Mapping[str, Mapping[str, Any]]
) -> dict[str, float | None]:
    """The summary of `figures`, where the labels' figures `rows` are known.

    `system` may be deaf to more labels than when these were found: it is without them.
    """
    return _summary(sounds, system, rows, standard(sounds, system))


def background(sounds: Sounds, system: System) -> dict[str, Any]:
    """False alarms per hour of the empty files: of all labels that it knows, and by label."""
    hours = sounds.empty_hours
    counts = {
        rule.name: tally(sounds, system, i).false_empty for i, rule in enumerate(system.rules)
    }
    known = sum(count for name, count in counts.items() if name not in system.deaf)
    return {
        "background_false_alarms_per_hour": _rate(known, hours),
        "labels": {name: _rate(count, hours) for name, count in counts.items()},
    }


def frame_curves(sounds: Sounds, system: System) -> dict[str, Curve]:
    """The curve of every label over all frames but those where only something near to it sounds."""
    curves = {}
    for column, rule in enumerate(system.rules):
        scores, truths = asked_frames(sounds, system, column)
        if len(scores):
            curves[rule.name] = curve(scores, truths)
    return curves


def asked_frames(
    sounds: Sounds, system: System, column: int
) -> tuple[NDArray[np.floating], Truths]:
    """Scores (n,) of a label, and whether it sounds: (n,), over the frames of all files.

    Those where something near to the label sounds, and not the label itself, are left out.
    """
    name = system.rules[column].name
    scores, truths = [], []
    for scored, file in zip(system.scored, sounds.files, strict=True):
        frames = len(scored.frames)
        true = frame_mask(file.true.get(name, ()), frames)
        asked = true | ~frame_mask(file.near.get(name, ()), frames)
        scores.append(system.frames(scored, column)[asked])
        truths.append(true[asked])
    return np.concatenate(scores), np.concatenate(truths)


def _summary(
    sounds: Sounds,
    system: System,
    rows: Mapping[str, Mapping[str, Any]],
    said: Standard | None,
) -> dict[str, float | None]:
    known = [rule.name for rule in system.rules if rule.name not in system.deaf]
    means = {
        key: mean(rows[name][key] for name in known)
        for key in ("auroc", "frame_ap", "recall", "recall_at_1_per_hour", *_F1)
    }
    tallies = [
        tally(sounds, system, i)
        for i, rule in enumerate(system.rules)
        if rule.name not in system.deaf
    ]
    psds = {key: said.psds[key] if said else None for key in PSDS}
    return means | psds | _of_all(tallies, sounds)


def _of_tally(counts: Tally, sounds: Sounds, *, told: bool) -> dict[str, Any]:
    return {
        "recall": counts.recall if told else None,
        "false_alarms_per_hour": _rate(counts.false, sounds.hours),
        "background_false_alarms_per_hour": _rate(counts.false_empty, sounds.empty_hours),
        **_onset_error(counts.onset_errors_s),
    }


def _of_all(tallies: Sequence[Tally], sounds: Sounds) -> dict[str, Any]:
    together = [error for counts in tallies for error in counts.onset_errors_s]
    return {
        "false_alarms_per_hour": _rate(sum(t.false for t in tallies), sounds.hours),
        "background_false_alarms_per_hour": _rate(
            sum(t.false_empty for t in tallies), sounds.empty_hours
        ),
        **_onset_error(together),
    }


def _onset_error(errors_s: Sequence[float]) -> dict[str, float | None]:
    if not errors_s:
        return {"onset_error_median_s": None, "onset_error_p90_s": None}
    sizes = np.abs(errors_s)
    return {
        "onset_error_median_s": float(np.median(sizes)),
        "onset_error_p90_s": float(np.percentile(sizes, 90)),
    }


def _rate(count: int, hours: float) -> float | None:
    return count / hours if hours else None


def _operating_points(sounds: Sounds, system: System, column: int) -> list[dict[str, Any]]:
    return [
        {
            "threshold": threshold,
            "recall": counts.recall,
            "false_alarms_per_hour": _rate(counts.false, sounds.hours),
        }
        for threshold, counts in sweep(sounds, system, column)
    ]


def _best_recall(points: Sequence[dict[str, Any]]) -> dict[str, float | None]:
    """The best recall with at most ALARMS_PER_HOUR; at equal recall the highest threshold."""
    allowed = [p for p in points if p["false_alarms_per_hour"] <= ALARMS_PER_HOUR]
    best = max(allowed, key=lambda p: (p["recall"], p["threshold"]), default=None)
    return {
        "recall_at_1_per_hour": best["recall"] if best else None,
        "threshold_at_1_per_hour": best["threshold"] if best else None,
    }


def _add_standard(said: Standard | None, rows: dict[str, dict[str, Any]]) -> None:
    """Put the library's figures into `rows`."""
    per_label = {
        "psds1": said.label_psds["psds1"] if said else {},
        "psds2": said.label_psds["psds2"] if said else {},
        "f1": said.f1 if said else {},
        "frame_f1": said.frame_f1 if said else {},
        "best_f1": said.best_f1 if said else {},
        "best_f1_threshold": said.best_threshold if said else {},
    }
    for name, row in rows.items():
        row |= {key: values.get(name) for key, values in per_label.items()}
