"""`pe-stream enroll`: recordings of a sound become examples of a label, in the configuration."""

from __future__ import annotations

import logging
import os
from collections.abc import Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from tqdm import tqdm

from pe_stream import examples
from pe_stream.audio import encode
from pe_stream.audio.microphone import Absent
from pe_stream.audio.source import open_source
from pe_stream.config import Settings, SourceSettings
from pe_stream.config_edit import ConfigFile, ConflictError, Draft, Edit, NotWritableError
from pe_stream.config_file import find, parse
from pe_stream.core.messages import slug
from pe_stream.core.types import SAMPLE_RATE, Samples
from pe_stream.enrolling import FOLDER, keys, trimmed
from pe_stream.enrolment_report import report
from pe_stream.errors import PeStreamError, UnavailableError, UsageError
from pe_stream.hearing import prepare

log = logging.getLogger(__name__)

_ABSENT = 10
"""A microphone that is so many times not there is not waited for."""


@dataclass(frozen=True, slots=True)
class EnrollOptions:
    """What the user asked for; see `pe-stream enroll --help`."""

    name: str
    files: tuple[str, ...] = ()
    record: bool = False
    seconds: float = 5.0
    source: str | None = None
    prompts: tuple[str, ...] = ()
    config: Path | None = None


def run(options: EnrollOptions) -> int:
    """Add the examples, then tell what the label hears; returns the exit code.

    Nothing is written unless every example holds a sound, the model takes it, and the
    configuration is right with it.
    """
    if options.record == bool(options.files):
        raise UsageError("give either FILES or --record")
    path = options.config or find()
    file = ConfigFile(path)
    try:
        version = file.version
        text = file.path.read_text("utf-8")
    except NotWritableError as error:
        raise UnavailableError(str(error)) from error
    settings = parse(text, str(path))
    sounds = _recorded(options, settings) if options.record else _read(options.files)
    folder = file.path.parent / FOLDER / slug(options.name)
    paths = _numbered(folder, len(sounds))
    draft = _draft(file, version, settings, options, paths)
    cut = [trimmed(samples, name) for name, samples in sounds.items()]
    _write(file, draft, dict(zip(paths, cut, strict=True)))
    label = draft.settings.labels[options.name]
    print(f"{options.name}: {len(paths)} new examples in {folder}, {len(label.examples)} in all")
    hearing = prepare(
        draft.settings.model.model_copy(update={"compile": False}), draft.settings.labels
    )
    for line in report(hearing.checkpoint, draft.settings.labels, options.name):
        print(line)
    print("a daemon that runs takes it over with SIGHUP, or when it starts again")
    return 0


def _read(files: Sequence[str]) -> dict[str, Samples]:
    """Samples of each file, no two of them the same. Raises UnavailableError."""
    for file in files:
        if files.count(file) > 1:
            raise UsageError(f"{file} is given more than once")
    sounds = {file: examples.read(file) for file in files}
    contents: dict[bytes, str] = {}
    for name, samples in sounds.items():
        first = contents.setdefault(samples.tobytes(), name)
        if first != name:
            raise UnavailableError(f"{name}: the same recording as {first}")
    return sounds


def _recorded(options: EnrollOptions, settings: Settings) -> dict[str, Samples]:
    name, spec = _microphone(options, settings)
    wanted = round(options.seconds * SAMPLE_RATE)
    pieces: list[Samples] = []
    absent = heard = 0
    source = open_source(spec)
    with (
        closing(source),
        tqdm(
            total=options.seconds,
            desc=f"recording from {name}",
            unit="s",
            disable=None,  # unless stderr is a terminal
            leave=False,
        ) as progress,
    ):
        log.info("recording %g s from %s: let it be heard now", options.seconds, name)
        for chunk in source:
            if isinstance(chunk, Absent):
                absent += 1
                if absent >= _ABSENT:
                    raise UnavailableError(f"{source.describe}: {chunk.reason}")
                continue
            pieces.append(chunk.samples)
            heard += len(chunk.samples)
            progress.update(len(chunk.samples) / SAMPLE_RATE)
            if heard >= wanted:
                break
    if not pieces:
        raise UnavailableError(f"{name}: it has ended without a sound")
    samples = np.concatenate(pieces)[:wanted]
    return {"the recording": samples}


def _microphone(options: EnrollOptions, settings: Settings) -> tuple[str, SourceSettings]:
    """The source asked for; else the first microphone that is configured; else the default one."""
    if options.source is not None:
        if options.source not in settings.sources:
            known = ", ".join(settings.sources) or "none"
            raise UsageError(f"there is no source {options.source!r}; sources: {known}")
        return options.source, settings.sources[options.source]
    for name, spec in settings.sources.items():
        if spec.microphone is not None:
            return name, spec
    return "the default microphone", SourceSettings(microphone="default")


def _numbered(folder: Path, count: int) -> list[Path]:
    """Paths of files to come, counted on from those that are there."""
    taken = [int(path.stem) for path in folder.glob("*.flac") if path.stem.isdecimal()]
    first = max(taken, default=0) + 1
    return [folder / f"{number:03d}.flac" for number in range(first, first + count)]


def _draft(
    file: ConfigFile,
    version: str,
    settings: Settings,
    options: EnrollOptions,
    paths: Sequence[Path],
) -> Draft:
    """The configuration with the examples, and the prompts that are new."""
    known = settings.labels.get(options.name)
    wanted = keys(known, options.name, paths, options.prompts, file.path.parent)
    try:
        return file.draft(Edit(options.name, wanted, create=known is None), version)
    except (NotWritableError, ConflictError) as error:
        raise UnavailableError(str(error)) from error


def _write(file: ConfigFile, draft: Draft, sounds: dict[Path, Samples]) -> None:
    """The examples, then the configuration; no example stays where that fails."""
    written: list[Path] = []
    try:
        for path, samples in sounds.items():
            _make_folder(path.parent, like=file.path)
            written.append(path)
            encode.write(path, samples)
        # What the daemon would refuse at its next start is refused here.
        prepare(draft.settings.model.model_copy(update={"compile": False}), draft.settings.labels)
        file.write(draft)
    except BaseException as error:
        for path in written:
            path.unlink(missing_ok=True)
        _remove_empty(file.path.parent / FOLDER, {path.parent for path in written})
        if isinstance(error, OSError):
            raise UnavailableError(f"{path}: cannot be written: {error.strerror}") from error
        if isinstance(error, PeStreamError) and not isinstance(error, NotWritableError):
            raise
        if isinstance(error, NotWritableError):
            raise UnavailableError(str(error)) from error
        raise


def _make_folder(folder: Path, like: Path) -> None:
    """With the rights that the configuration has, so that who reads one reads the other."""
    if folder.is_dir():
        return
    folder.mkdir(parents=True, exist_ok=True)
    mode = like.stat().st_mode & 0o777
    for each in (folder, folder.parent):
        each.chmod(mode | 0o700 | ((mode & 0o444) >> 2))


def _remove_empty(top: Path, folders: set[Path]) -> None:
    for folder in (*folders, top):
        if folder.is_dir() and not os.listdir(folder):  # noqa: PTH208 - nothing is done with them
            folder.rmdir()
