"""`pe-stream calibrate`: a wanted rate of false alarms to thresholds, shown or written.

scores (stored, of recordings, of now)  ->  a proposal for each label  ->  table  ->  diff or file
"""

from __future__ import annotations

import json
import logging
import sys
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path

from tqdm import tqdm

from pe_stream.config import Settings
from pe_stream.config.edit import ConfigFile, ConflictError, Draft, Edit, NotWritableError, edited
from pe_stream.config.file import find, load, parse
from pe_stream.config.local_time import moment
from pe_stream.config.paths import state_folder
from pe_stream.core.replay import untold
from pe_stream.core.types import ScoreRun
from pe_stream.errors import UnavailableError, UsageError, require_plot
from pe_stream.labels.fingerprint import CheckpointFacts, look_up
from pe_stream.workbench.calibration import report
from pe_stream.workbench.calibration.calibrated import Calibrated
from pe_stream.workbench.calibration.examples import recall
from pe_stream.workbench.calibration.gather import Material, stored
from pe_stream.workbench.calibration.options import CalibrateOptions
from pe_stream.workbench.calibration.propose import TooLittleError, propose, without
from pe_stream.workbench.calibration.stored_scores import TimeRange, chosen

log = logging.getLogger(__name__)

Gathered = Callable[[str], Material]
"""Scores of a label, which may be read when they are asked for."""

Examples = Mapping[str, list[list[ScoreRun]]]
"""Scores of each recording of a label, by label."""


def run(options: CalibrateOptions) -> int:
    """Print a line for each label, then what changes in the configuration, or write it; or JSON.

    Returns the exit code: that of UnavailableError where a label could not be calibrated, which
    then stays as it is. Raises UsageError, ConfigError or UnavailableError where none could.
    """
    _refuse_clashes(options)
    config = options.config or find()
    settings = load(config)
    read = ConfigFile(config).version if options.json else None
    version = _version(config) if options.write else None
    named = [*options.labels, *(n for n, _ in options.examples if options.labels)]
    labels = chosen("label", tuple(named), settings.labels)
    known_examples = _examples_of(settings, options.examples_by_label())
    sources = chosen("source", options.sources, settings.sources)
    known = look_up(settings)
    stretch = None if options.recordings or options.listen is not None else _stretch(options)
    material, examples = _gather(
        options, settings, known, stretch, labels=labels, sources=sources, examples=known_examples
    )
    done = [
        _calibrate(
            settings,
            known,
            name,
            material=material(name),
            examples=examples.get(name, []),
            options=options,
        )
        for name in tqdm(labels, unit="label", disable=None, leave=False)
    ]
    for each in done:
        if each.lack is not None:
            print(f"pe-stream: {each.name}: {each.lack}", file=sys.stderr)
    usable = [each for each in done if each.proposal is not None]
    notes = list(report.notes(usable, settings, options.false_alarms)) if usable else []
    if read is not None:
        figures = report.figures(done, settings)
        asked = report.asked(stretch, options.false_alarms)
        print(json.dumps({"version": read, **asked, "labels": figures, "notes": notes}))
    if not usable:
        raise UnavailableError("no label could be calibrated; nothing was changed")
    for line in () if options.json else report.lines(usable):
        print(line)
    for note in notes:
        print(f"pe-stream: {note}", file=sys.stderr)
    if options.plot is not None:
        _plot(options, usable, material)
    if version is not None or not options.json:
        _change(config, settings, known, usable, version)
    return 0 if len(usable) == len(done) else UnavailableError.exit_code


def _refuse_clashes(options: CalibrateOptions) -> None:
    if options.plot is not None:
        require_plot()
    if options.recordings and options.listen is not None:
        raise UsageError("--recordings and --listen: give one of the two")
    if (options.recordings or options.listen is not None) and (options.since or options.until):
        raise UsageError("--since and --until are about stored scores, not what is heard now")
    paths = [Path(file).resolve() for file in options.recordings]
    for file, path in zip(options.recordings, paths, strict=True):
        if paths.count(path) > 1:
            raise UsageError(f"{file} is given more than once: it is no more sound for that")
    if options.recordings and options.sources:
        raise UsageError("--source is about the configured sources, not --recordings")


def _version(config: Path) -> str:
    """Version of the file to change; checked first, as listening takes hours."""
    file = ConfigFile(config)
    if file.unavailable_reason is not None:
        raise UnavailableError(file.unavailable_reason)
    return file.version


def _examples_of(
    settings: Settings, examples: Mapping[str, tuple[str, ...]]
) -> dict[str, tuple[str, ...]]:
    return {chosen("label", (name,), settings.labels)[0]: files for name, files in examples.items()}


def _gather(
    options: CalibrateOptions,
    settings: Settings,
    known: CheckpointFacts,
    stretch: TimeRange | None,
    *,
    labels: Sequence[str],
    sources: Sequence[str],
    examples: Mapping[str, tuple[str, ...]],
) -> tuple[Gathered, Examples]:
    """Scores of each label, and of its examples; loads the model only where it has to hear.

    stretch: of stored scores; None where they are made now.
    """
    if stretch is not None and not examples:
        return stored(settings, known, sources, stretch), {}
    from pe_stream.pipeline.scorer import prepare
    from pe_stream.workbench.calibration import listening

    if options.listen is not None:
        settings.require_sources()
    scorer = prepare(settings.model, {name: settings.labels[name] for name in labels})
    columns = {rule.name: n for n, rule in enumerate(scorer.labels.rules)}
    heard: dict[str, list[list[ScoreRun]]] = {}
    for name, files in examples.items():
        scores = [listening.scores_of(file, scorer)[:, columns[name]] for file in files]
        heard[name] = [[ScoreRun(0, each)] for each in scores]
    if stretch is not None:
        return stored(settings, known, sources, stretch), heard
    state = options.resume or state_folder() / "calibrate.db"
    if options.afresh:
        listening.forget(state)
    if options.recordings:
        return listening.recordings(labels, options.recordings, state, scorer).__getitem__, heard
    listened = listening.listened(
        settings, labels, sources, seconds=options.listen or 0.0, state=state, scorer=scorer
    )
    return listened.__getitem__, heard


def _stretch(options: CalibrateOptions) -> TimeRange:
    now = datetime.now(UTC)
    since = datetime.fromisoformat(moment(options.since or "24h", now))
    until = now
    if options.until is not None:
        until = datetime.fromisoformat(moment(options.until, now, "--until"))
    if since >= until:
        raise UsageError(f"--since {options.since or '24h'}: that is not before the end")
    return TimeRange(since, until)


def _calibrate(
    settings: Settings,
    known: CheckpointFacts,
    name: str,
    *,
    material: Material,
    examples: list[list[ScoreRun]],
    options: CalibrateOptions,
) -> Calibrated:
    rule = settings.labels[name].rule(name, known.recommended.get(name))
    if (why := untold(rule)) is not None:
        return Calibrated(name, rule, lack=f"scores do not tell: {why}")
    if rule.pattern is not None:  # a lower threshold may give fewer of them
        return Calibrated(name, rule, lack="its events are patterns: their number says too little")
    if not material.streams:
        said = dict.fromkeys(material.lacks.values())
        return Calibrated(name, rule, lack="; ".join(said) or "no source listens for it")
    pairs = zip(material.streams, material.true, strict=True)
    quiet = [without(runs, spans) for runs, spans in pairs]
    try:
        proposal = propose(quiet, rule, options.false_alarms)
    except TooLittleError as error:
        return Calibrated(name, rule, lack=str(error))
    return Calibrated(
        name,
        rule,
        proposal,
        recall=recall(rule, proposal, material, examples),
        right=sum(map(len, material.true)),
    )


def _plot(options: CalibrateOptions, usable: Sequence[Calibrated], material: Gathered) -> None:
    from pe_stream.workbench.calibration import pictures

    folder = options.plot or Path()
    for each in tqdm(usable, unit="picture", disable=None, leave=False):
        if each.proposal is not None:
            path = folder / f"{report.file_name(each.name)}.png"
            streams = material(each.name).streams
            pictures.save(
                path,
                each.name,
                each.rule,
                each.proposal,
                streams=streams,
                a_day=options.false_alarms,
            )


def _change(
    config: Path,
    settings: Settings,
    known: CheckpointFacts,
    usable: Sequence[Calibrated],
    version: str | None,
) -> None:
    """Print the difference, or, where a version is to be replaced, write it."""
    file = ConfigFile(config)
    before = after = file.path.read_text("utf-8")
    for each in usable:
        if each.proposal is not None and each.proposal.threshold != each.rule.threshold:
            keys = {"threshold": each.proposal.threshold}
            if settings.labels[each.name].off_threshold is not None:
                keys["off_threshold"] = each.proposal.off_threshold
            after = edited(after, Edit(each.name, keys), str(config))
    wanted = parse(after, str(config))
    for name, label in wanted.labels.items():
        label.rule(name, known.recommended.get(name))  # a schedule may not go with it
    if version is None:
        print()
        print("\n".join(report.difference(before, after, config.name)))
        return
    try:
        file.write(Draft(after, wanted, version))
    except ConflictError as error:
        raise UnavailableError(
            f"{config} was changed meanwhile: nothing was written; once more"
        ) from error
    except NotWritableError as error:
        raise UnavailableError(str(error)) from error
    if after != before:
        print(
            f"pe-stream: {config}: written; what it was is beside it (.bak); a daemon that runs "
            "takes it up on SIGHUP (systemctl reload pe-stream)",
            file=sys.stderr,
        )
