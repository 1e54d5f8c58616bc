"""`pe-stream eval`: a folder with a manifest, or marked events, to figures, a table, plots."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from pydantic import ValidationError
from tqdm import tqdm

from pe_stream.config import LabelSettings, ModelSettings
from pe_stream.config.second_opinion import texts_of
from pe_stream.core.types import FRAME_S
from pe_stream.errors import UnavailableError, UsageError, require_plot, writing
from pe_stream.pipeline.scorer import Scorer, prepare
from pe_stream.pipeline.second_opinion import SecondOpinions, prepare_second_opinions
from pe_stream.workbench import manifest
from pe_stream.workbench.evaluation import (
    clips,
    hours,
    judged_events,
    marks,
    opinions_table,
    output,
    peers,
    promptset,
    report,
    strong,
    thresholds,
    thresholds_table,
    truth,
)
from pe_stream.workbench.evaluation.options import EvalOptions, command_line, given_beside
from pe_stream.workbench.evaluation.promptset import Label
from pe_stream.workbench.evaluation.scoring import Peer, Scored, Sounds, System, score
from pe_stream.workbench.evaluation.standard import require
from pe_stream.workbench.evaluation.truth import Truth
from pe_stream.workbench.soundscapes.folder import background_of

log = logging.getLogger(__name__)


def run(options: EvalOptions) -> int:
    """Print the figures; returns the exit code, 69 where a file could not be read.

    Raises UnavailableError without the extra `eval`, a manifest or anything to evaluate,
    ConfigError on a wrong prompts file, UsageError on a phrasing that a label lacks.
    """
    _refuse_clashes(options)
    if options.folder is None:
        return marks.run(options)
    require()
    labels = (
        promptset.from_file(options.prompts) if options.prompts else promptset.shipped(options.set)
    )
    settings = {
        label.name: LabelSettings(
            prompts=label.prompts(options.phrasing), see=label.see, threshold=options.threshold
        )
        for label in labels
    }
    rows = manifest.read(options.folder)
    if options.calibration is not None:
        return _judge_calibration(options, rows, options.calibration, labels, settings)
    chosen = _chosen(options, rows)
    found = truth.find(chosen, labels, options.datasets)
    _say_left_out(found)
    others = _peers(options, labels, settings)
    output.refuse_unwritable(options)
    model = _model(options)
    opinions = _opinions(options, model, settings)
    scorer = prepare(model, settings)
    ours = System(report.OURS, scorer.labels.rules)
    sounds = score(found, scorer, ours, others)
    systems = [ours, *(system for _, system in others)]
    made = _report(options, found, sounds, systems, scorer)
    made["backgrounds"] = _backgrounds(chosen, sounds)
    if found.strong and sounds.made:
        made["made"] = _of_made(found, sounds, systems)
    if opinions is not None:
        judged = judged_events.of_folder(sounds, ours, opinions)
        made["second_opinion"] = judged_events.figures(judged, opinions.checkpoint)
    table = report.as_table if opinions is None else opinions_table.of_folder
    output.tell(options, made, table)
    if options.plot:
        with writing(options.plot):
            _draw(options.plot, sounds, systems, made)
    return UnavailableError.exit_code if sounds.unreadable else 0


def _refuse_clashes(options: EvalOptions) -> None:
    if options.plot is not None:
        require_plot()
    if options.folder is None:
        if needing := given_beside(options, marks.OPTIONS):
            raise UsageError(f"{needing[0]} needs a FOLDER")
    elif options.config is not None:
        raise UsageError("--config is about marked events: leave FOLDER out")
    if options.calibration is None:
        if options.seed:
            raise UsageError("--seed is about --calibration")
        return
    for flag, given in (
        ("--threshold", options.threshold),
        ("--plot", options.plot),
        ("--peer", options.peer),
        ("--dataset", options.datasets or None),
        ("--second-opinion", options.second_opinion),
    ):
        if given is not None:
            raise UsageError(f"{flag} does not go with --calibration")


def _opinions(
    options: EvalOptions, model: ModelSettings, labels: Mapping[str, LabelSettings]
) -> SecondOpinions | None:
    if options.second_opinion is None:
        return None
    texts = {name: texts_of(label) for name, label in labels.items()}
    return prepare_second_opinions(options.second_opinion, model, texts)


def _judge_calibration(
    options: EvalOptions,
    rows: Sequence[manifest.Clip],
    count: int,
    labels: Sequence[Label],
    settings: dict[str, LabelSettings],
) -> int:
    house = hours.made(rows, options.folds, count, options.seed)
    output.refuse_unwritable(options)
    scorer = prepare(_model(options), settings)
    scored = hours.score(house, count, scorer)
    rules = [thresholds.at(rule, thresholds.DEFAULT) for rule in scorer.labels.rules]
    with tqdm(total=len(labels), unit="label", disable=None, leave=False) as progress:
        tracks = [
            [hours.heard(scenes, label, column) for scenes in scored]
            for column, label in enumerate(labels)
        ]
        figures = thresholds.judge(rules, tracks, progress.update)
    made = _heading(options, scorer) | {"hours": count, "seed": options.seed} | figures
    output.tell(options, made, thresholds_table.as_table)
    return 0


def _model(options: EvalOptions) -> ModelSettings:
    hop: dict[str, Any] = {} if options.hop_s is None else {"hop_s": options.hop_s}
    try:
        return ModelSettings(
            checkpoint=options.checkpoint or "embedded", threads=options.threads, **hop
        )
    except ValidationError as error:
        reasons = "; ".join(detail["msg"] for detail in error.errors())
        raise UsageError(f"--hop {options.hop_s:g}: {reasons}") from error


def _chosen(options: EvalOptions, rows: Sequence[manifest.Clip]) -> list[manifest.Clip]:
    chosen = list(rows)
    if options.datasets:
        there = {clip.dataset for clip in chosen}
        missing = sorted(set(options.datasets) - there)
        if missing:
            raise UnavailableError(
                f"no clip of data set {', '.join(missing)}; there are {', '.join(sorted(there))}"
            )
        order = list(options.datasets)
        chosen = [clip for clip in chosen if clip.dataset in order]
        chosen.sort(key=lambda clip: order.index(clip.dataset))
    return manifest.of_folds(chosen, options.folds)


def _say_left_out(found: Truth) -> None:
    if found.unknown:
        most = sorted(found.unknown.items(), key=lambda item: -item[1])
        named = ", ".join(f"{label} ({count})" for label, count in most[:5])
        more = f" and {len(most) - 5} more labels" if len(most) > 5 else ""
        rows = sum(found.unknown.values())
        log.warning("%d rows left out, the set has no such label: %s%s", rows, named, more)
    if found.doubles:
        log.warning("%d rows left out: another data set has the same clip", found.doubles)


def _peers(
    options: EvalOptions, labels: Sequence[Label], settings: dict[str, LabelSettings]
) -> list[tuple[Peer, System]]:
    if options.peer is None:
        return []
    found = peers.load(options.peer, labels, options.threads)
    rules = tuple(label.rule(name) for name, label in settings.items())
    return [(peer, System(name, rules, deaf=peer.deaf)) for name, peer in found.items()]


def _report(
    options: EvalOptions,
    found: Truth,
    sounds: Sounds,
    systems: Sequence[System],
    scorer: Scorer,
) -> dict[str, Any]:
    return _heading(options, scorer) | {
        "datasets": list(options.datasets),
        "labels": "strong" if found.strong else "weak",
        "files": len(sounds.files),
        "hours": sounds.hours,
        "background_hours": sounds.empty_hours,
        "left_out": {
            "unknown_labels": dict(found.unknown),
            "doubles": found.doubles,
            "unreadable": list(sounds.unreadable),
        },
        "systems": _of_systems(found, sounds, systems),
    }


def _heading(options: EvalOptions, scorer: Scorer) -> dict[str, Any]:
    """The evaluated data and the checkpoint, for the report's head."""
    return {
        "command": command_line(options),
        "checkpoint": scorer.checkpoint.name,
        "checkpoint_description": scorer.checkpoint.describe(),
        "folder": str(options.folder),
        "set": str(options.prompts) if options.prompts else options.set,
        "phrasing": options.phrasing,
        "folds": list(options.folds),
        "window_s": scorer.framing.window * FRAME_S,
        "hop_s": scorer.framing.hop * FRAME_S,
        "versions": output.versions(),
    }


def _of_systems(found: Truth, sounds: Sounds, systems: Sequence[System]) -> dict[str, Any]:
    """The figures of every system, and of each those over the labels that all know."""
    made = {system.name: _figures(found, sounds, system) for system in systems}
    deaf = frozenset[str]().union(*(system.deaf for system in systems))
    for system in systems:
        if system.deaf == deaf:
            continue
        figures, narrowed = made[system.name], replace(system, deaf=deaf)
        figures["both_know"] = {
            "labels": [label for label in found.labels if label not in deaf],
            "summary": (
                strong.summary(sounds, narrowed, figures["labels"])
                if found.strong
                else _figures(found, sounds, narrowed)["summary"]
            ),
        }
    return made


def _of_made(found: Truth, sounds: Sounds, systems: Sequence[System]) -> dict[str, Any]:
    """The figures of events from formulas, which are in no other: of the labels that have any."""
    columns = [i for i, rule in enumerate(systems[0].rules) if rule.name in sounds.made]
    narrowed = [
        replace(
            system,
            rules=tuple(system.rules[i] for i in columns),
            scored=[
                Scored(scored.frames[:, columns], scored.steps[:, columns])
                for scored in system.scored
            ],
            deaf=system.deaf & set(sounds.made),
        )
        for system in systems
    ]
    labels = tuple(rule.name for rule in narrowed[0].rules)
    return {"systems": _of_systems(replace(found, labels=labels), sounds.of_made(), narrowed)}


def _backgrounds(chosen: Sequence[manifest.Clip], sounds: Sounds) -> dict[str, int]:
    """How many of the empty files have which background, where the manifest's notes say so."""
    named = {clip.key: background_of(clip.note) for clip in chosen}
    counts = Counter(named[file.key] for file in sounds.files if file.empty)
    return {name: counts[name] for name in sorted(counts) if name}


def _figures(found: Truth, sounds: Sounds, system: System) -> dict[str, Any]:
    if found.strong:
        figures = strong.figures(sounds, system)
    else:
        figures = clips.figures(sounds, system, found.labels)
        if sounds.empty_hours:
            alarms = strong.background(sounds, system)
            for name, rate in alarms.pop("labels").items():
                figures["labels"][name]["background_false_alarms_per_hour"] = rate
            figures["summary"] |= alarms
    return figures | {"deaf": sorted(system.deaf)}


def _draw(folder: Path, sounds: Sounds, systems: Sequence[System], made: dict[str, Any]) -> None:
    from pe_stream.workbench.evaluation import pictures

    if made["labels"] == "strong":
        found = {system.name: strong.frame_curves(sounds, system) for system in systems}
        figures = {system.name: made["systems"][system.name]["labels"] for system in systems}
        pictures.alarms(folder / "alarms.png", figures)
    else:
        names = [rule.name for rule in systems[0].rules]
        found = {
            system.name: clips.clip_curves(
                sounds.files, clips.clip_scores(system, clips.POOLINGS[0]), names
            )
            for system in systems
        }
    pictures.curves(folder / "precision_recall.png", found, kind="pr")
    pictures.curves(folder / "roc.png", found, kind="roc")
    pictures.tracks(folder, sounds, systems)
