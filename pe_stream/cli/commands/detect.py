"""`pe-stream detect`: files to events on stdout, scores and pictures in folders."""

from __future__ import annotations

import logging
import sys
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import numpy as np
from tqdm import tqdm

from pe_stream.assets import EVERYDAY
from pe_stream.audio import media
from pe_stream.audio.spectrogram import Spectrogram
from pe_stream.cli.options import DetectFormat, DetectOptions
from pe_stream.config import Settings
from pe_stream.config.file import find, load
from pe_stream.core.types import FRAME_S, SAMPLE_RATE, Event, FrameScores, Samples
from pe_stream.errors import ConfigError, UnavailableError, UsageError, require_plot, writing
from pe_stream.labels.prepare import labels_from_prompts
from pe_stream.pipeline.offline import detect
from pe_stream.pipeline.scorer import Scorer, prepare

log = logging.getLogger(__name__)


_TSV_HEADER = "file\tonset_s\toffset_s\tlabel\tpeak\tmean"


def run(options: DetectOptions) -> int:
    """Print the events of every file in the order given; returns the exit code.

    A file that cannot be used is named on stderr and the others go on.
    """
    _refuse_clashes(options)
    settings = _settings(options)
    scorer = prepare(settings.model, settings.labels)
    for folder in (options.scores, options.plot):
        if folder is not None:
            _make_folder(folder)
    if options.format == "tsv":
        print(_TSV_HEADER)
    code = 0
    for file in options.files:
        try:
            _detect_file(file, scorer, settings.node, options)
        except UnavailableError as error:
            print(f"pe-stream: {error}", file=sys.stderr)
            code = error.exit_code
    return code


def _refuse_clashes(options: DetectOptions) -> None:
    if options.format == "audacity" and len(options.files) > 1:
        raise UsageError("--format audacity takes one FILE: its labels do not name their file")
    if options.scores is None and options.plot is None:
        return
    if options.plot is not None:
        require_plot()
    for stem, count in Counter(Path(file).stem for file in options.files).items():
        if count > 1:
            raise UsageError(
                f"{count} of the files would be written as {stem}: give --scores and --plot "
                "files of different names"
            )


def _settings(options: DetectOptions) -> Settings:
    """The configuration, with what the options override.

    With prompts it is read only where it was named, and its labels are not used. Without either,
    the labels are the everyday ones that come with the package.
    """
    settings = load(options.config or (EVERYDAY if options.prompts else _found()))
    labels = dict(settings.labels)
    if options.prompts:
        labels = labels_from_prompts(options.prompts)
    if options.threshold is not None:
        changed = {"threshold": options.threshold, "off_threshold": None}
        labels = {name: label.model_copy(update=changed) for name, label in labels.items()}
    model = settings.model
    if options.checkpoint is not None:
        changed_model = {"checkpoint": options.checkpoint, "revision": None}
        model = model.model_copy(update=changed_model)
    return settings.model_copy(update={"labels": labels, "model": model})


def _found() -> Path:
    try:
        return find()
    except ConfigError:
        return EVERYDAY


def _make_folder(folder: Path) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UnavailableError(f"{folder}: no folder to write to: {error.strerror}") from error


def _detect_file(file: str, scorer: Scorer, node: str, options: DetectOptions) -> None:
    recording = media.read(file)
    spectrogram = Spectrogram() if options.plot else None
    scores: list[FrameScores] = []
    events: list[Event] = []
    with tqdm(
        total=recording.duration_s,
        unit="s",
        unit_scale=True,
        desc=Path(file).name,
        disable=None,  # unless stderr is a terminal
        leave=False,
    ) as progress:

        def listen(samples: Samples) -> None:
            progress.update(len(samples) / SAMPLE_RATE)
            if spectrogram is not None:
                spectrogram.add(samples)

        keep = scores.append if options.scores or options.plot else None
        for event in detect(recording, scorer, node=node, on_audio=listen, on_scores=keep):
            with progress.external_write_mode():
                print(_LINES[options.format](file, event), flush=True)
            if spectrogram is not None:
                events.append(event)
    if recording.damaged:
        log.warning("%s: %d damaged packets were left out", file, recording.damaged)
    if recording.nonfinite:
        log.warning("%s: %d samples were NaN or infinite, taken as 0", file, recording.nonfinite)
    stem = Path(file).stem
    if options.scores:
        path = options.scores / f"{stem}.npz"
        with writing(path):
            _write_scores(path, scorer, np.concatenate(scores))
    if options.plot and spectrogram is not None:
        from pe_stream.cli import plot

        path = options.plot / f"{stem}.png"
        with writing(path):
            plot.save(
                path,
                title=Path(file).name,
                spectrogram=spectrogram,
                scores=np.concatenate(scores),
                rules=scorer.labels.rules,
                events=events,
            )


def _write_scores(path: Path, scorer: Scorer, scores: FrameScores) -> None:
    labels = np.array([rule.name for rule in scorer.labels.rules])
    np.savez_compressed(path, labels=labels, scores=scores, frame_s=FRAME_S)


def _jsonl(_: str, event: Event) -> str:
    return event.to_json()


def _tsv(file: str, event: Event) -> str:
    numbers = f"{event.onset_s:.3f}\t{event.offset_s:.3f}\t{event.label}"
    return f"{file}\t{numbers}\t{event.peak:.4f}\t{event.mean:.4f}"


def _audacity(_: str, event: Event) -> str:
    return f"{event.onset_s:.6f}\t{event.offset_s:.6f}\t{event.label}"


_LINES: dict[DetectFormat, Callable[[str, Event], str]] = {
    "jsonl": _jsonl,
    "tsv": _tsv,
    "audacity": _audacity,
}
