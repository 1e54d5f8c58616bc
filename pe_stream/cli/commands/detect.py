"""`pe-stream detect`: files to events on stdout, scores and pictures in folders."""

from __future__ import annotations

import logging
import sys
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from tqdm import tqdm

from pe_stream.assets import EVERYDAY
from pe_stream.audio import media
from pe_stream.audio.spectrogram import Spectrogram
from pe_stream.cli.event_lines import LINES, TSV_HEADER
from pe_stream.cli.journal import Journal
from pe_stream.cli.log_handler import log_to_stderr
from pe_stream.cli.options import DetectOptions
from pe_stream.cli.workers import Died, Workers
from pe_stream.config import Settings
from pe_stream.config.file import find, load
from pe_stream.config.redaction import redacted
from pe_stream.config.second_opinion import texts_of
from pe_stream.core.types import FRAME_S, SAMPLE_RATE, Event, FrameScores, Samples
from pe_stream.core.words import visible
from pe_stream.errors import (
    ConfigError,
    OutputError,
    PeStreamError,
    UnavailableError,
    UsageError,
    require_plot,
    writing,
)
from pe_stream.labels.prepare import labels_from_prompts
from pe_stream.model.cores import default_threads
from pe_stream.pipeline.offline import detect
from pe_stream.pipeline.scorer import Scorer, prepare
from pe_stream.pipeline.second_opinion import (
    SecondOpinions,
    prepare_second_opinions,
    refuse_pipe,
)

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class _FileReader:
    """What reads files. opinions: where a second opinion is asked for."""

    scorer: Scorer
    node: str
    options: DetectOptions
    opinions: SecondOpinions | None


@dataclass(frozen=True, slots=True)
class _Failure:
    """Why a file could not be used: one line, and what it means for the exit code."""

    message: str
    code: int


@dataclass(frozen=True, slots=True)
class _Done:
    """What became of one file: lines that are still to be printed, and why it failed, if so."""

    lines: tuple[str, ...]
    failure: _Failure | None


def run(options: DetectOptions) -> int:
    """Print the events of every file in the order given; returns the exit code.

    A file that cannot be used keeps no other from being read; all that failed are named at the end.
    """
    _refuse_clashes(options)
    settings = _settings(options)
    for folder in (options.scores, options.plot):
        if folder is not None:
            _make_folder(folder)
    files = ["/dev/stdin" if file == "-" else file for file in options.files]
    failures: list[_Failure] = []
    with ExitStack() as stack:
        journal = None
        if options.resume is not None:
            journal = stack.enter_context(Journal(options.resume, _depends_on(settings, options)))
            left = [file for file in files if not journal.has(file)]
            if len(left) < len(files):
                log.info("%d of %d files are done already", len(files) - len(left), len(files))
            files = left
        if options.format == "tsv" and not (journal and journal.begun):
            print(TSV_HEADER)
        stack.callback(_tell, failures, len(files))
        for file, done in zip(files, _read(files, settings, options), strict=True):
            for line in done.lines:
                print(line)
            sys.stdout.flush()
            if done.failure is not None:
                failures.append(done.failure)
            elif journal is not None:
                journal.add(file)
    return min((failure.code for failure in failures), default=0)


def _tell(failures: Sequence[_Failure], total: int) -> None:
    if len(failures) > 1:
        print(f"pe-stream: {len(failures)} of {total} files could not be used:", file=sys.stderr)
    for failure in failures:
        print(f"pe-stream: {failure.message}", file=sys.stderr)


def _depends_on(settings: Settings, options: DetectOptions) -> dict[str, Any]:
    """What the results depend on besides the files."""
    alike = {"cache", "threads", "compile"}
    alike |= {key for key in type(settings.model).model_fields if key.startswith("engine")}  # live
    model = settings.model.model_dump(mode="json", exclude=alike)
    labels = {name: label.model_dump(mode="json") for name, label in settings.labels.items()}
    written = [options.format, str(options.scores), str(options.plot)]
    told = {"labels": labels, "model": model, "node": settings.node, "written": written}
    if options.second_opinion is not None:
        told["second_opinion"] = options.second_opinion
    return told


def _read(files: Sequence[str], settings: Settings, options: DetectOptions) -> Iterator[_Done]:
    """What becomes of each file, in order. Raises PeStreamError where none can be read."""
    jobs = min(options.jobs, len(files))
    if jobs <= 1:
        reader = _begin(settings, options)
        # What goes on later is told when a file is done, so that nothing of it is told twice.
        read = _printed if options.resume is None else _collected
        yield from (read(reader, file) for file in files)
        return
    threads = (settings.model.threads or default_threads()) // jobs
    model = settings.model.model_copy(update={"threads": max(1, threads)})
    level = logging.getLogger("pe_stream").getEffectiveLevel()
    arguments = (settings.model_copy(update={"model": model}), options, level)
    with tqdm(total=len(files), unit="file", disable=None, leave=False) as progress:
        results = Workers(jobs, _begin_beside, arguments, _read_beside).in_order(files)
        for file, done in zip(files, results, strict=True):
            if isinstance(done, PeStreamError):
                raise done
            progress.update()
            with progress.external_write_mode():
                yield (
                    _Done((), _Failure(f"{visible(file)}: {done}", 1))
                    if isinstance(done, Died)
                    else done
                )


def _begin(settings: Settings, options: DetectOptions) -> _FileReader:
    opinions = None
    if options.second_opinion is not None:
        texts = {name: texts_of(label) for name, label in settings.labels.items()}
        opinions = prepare_second_opinions(options.second_opinion, settings.model, texts)
    scorer = prepare(settings.model, settings.labels)
    return _FileReader(scorer, settings.node, options, opinions)


def _begin_beside(
    settings: Settings, options: DetectOptions, level: int
) -> _FileReader | PeStreamError:
    """Begin in a process that reads files beside others."""
    log_to_stderr(level)
    try:
        return _begin(settings, options)
    except PeStreamError as error:
        return error


def _read_beside(reader: _FileReader | PeStreamError, file: str) -> _Done | PeStreamError:
    return reader if isinstance(reader, PeStreamError) else _collected(reader, file)


def _printed(reader: _FileReader, file: str) -> _Done:
    """Read a file, and print its lines as they come."""
    return _Done((), _failure(reader, file, partial(print, flush=True)))


def _collected(reader: _FileReader, file: str) -> _Done:
    lines: list[str] = []
    failure = _failure(reader, file, lines.append)
    return _Done(tuple(lines), failure)


def _failure(reader: _FileReader, file: str, tell: Callable[[str], object]) -> _Failure | None:
    """Read a file and tell its lines; returns why it could not be used, if so."""
    try:
        _detect_file(file, reader, tell)
    except (OutputError, BrokenPipeError):
        raise  # of the results, not of the file
    except PeStreamError as error:
        return _Failure(visible(redacted(str(error))), error.exit_code)
    except Exception as error:
        log.exception("a fault of pe_stream")
        return _Failure(f"{visible(file)}: a fault of pe_stream: {error!r}", 1)
    return None


def _refuse_clashes(options: DetectOptions) -> None:
    if options.format == "audacity" and len(options.files) > 1:
        raise UsageError("--format audacity takes one FILE: its labels do not name their file")
    if options.second_opinion is not None and options.format != "jsonl":
        raise UsageError(f"--second-opinion needs --format jsonl: {options.format} has no place")
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


def _detect_file(file: str, reader: _FileReader, tell: Callable[[str], object]) -> None:
    scorer, options = reader.scorer, reader.options
    if reader.opinions is not None:
        refuse_pipe(file)  # before it is heard to its end
    recording = media.read(file)
    spectrogram = Spectrogram() if options.plot else None
    scores: list[FrameScores] = []
    events: list[Event] = []
    with tqdm(
        total=recording.duration_s,
        unit="s",
        unit_scale=True,
        desc=visible(Path(file).name),
        disable=None if options.jobs == 1 else True,  # None: unless stderr is a terminal
        leave=False,
    ) as progress:

        def listen(samples: Samples) -> None:
            progress.update(len(samples) / SAMPLE_RATE)
            if spectrogram is not None:
                spectrogram.add(samples)

        keep = scores.append if options.scores or options.plot else None
        for event in _events(file, recording, reader, listen, keep):
            with progress.external_write_mode():
                tell(LINES[options.format](file, event))
            if spectrogram is not None:
                events.append(event)
    if recording.nonfinite:
        said = visible(file), recording.nonfinite
        log.warning("%s: %d samples were NaN or infinite, taken as 0", *said)
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
                title=visible(Path(file).name),
                spectrogram=spectrogram,
                scores=np.concatenate(scores),
                rules=scorer.labels.rules,
                events=events,
            )


def _events(
    file: str,
    recording: media.Recording,
    reader: _FileReader,
    listen: Callable[[Samples], None],
    keep: Callable[[FrameScores], None] | None,
) -> Iterator[Event]:
    """The events of a file: as they come, or at its end, each with a second opinion."""
    found = detect(recording, reader.scorer, node=reader.node, on_audio=listen, on_scores=keep)
    if reader.opinions is None:
        yield from found
    elif events := list(found):
        yield from reader.opinions.of_events(file, events)


def _write_scores(path: Path, scorer: Scorer, scores: FrameScores) -> None:
    labels = np.array([rule.name for rule in scorer.labels.rules])
    np.savez_compressed(path, labels=labels, scores=scores, frame_s=FRAME_S)
