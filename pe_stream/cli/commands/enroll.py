"""`pe-stream enroll`: recordings of a sound become examples of a label, in the configuration."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from pe_stream.audio import encode
from pe_stream.cli.commands.recording import record
from pe_stream.cli.options import EnrollOptions
from pe_stream.config import LabelSettings, Settings
from pe_stream.config.edit import ConfigFile, ConflictError, Draft, Edit, NotWritableError
from pe_stream.config.file import find, parse
from pe_stream.core.messages import slug
from pe_stream.core.types import Samples
from pe_stream.errors import UnavailableError, UsageError
from pe_stream.labels import background, examples
from pe_stream.labels.duplicate_audio import find_trace, same_recording, trace_of
from pe_stream.labels.enrol import FOLDER, keys, require_new, trimmed
from pe_stream.labels.enrolment_report import report
from pe_stream.pipeline.scorer import prepare

BACKGROUND = "background"
"""In the label's folder."""


def run(options: EnrollOptions) -> int:
    """Add the examples, then tell what the label hears; returns the exit code.

    Nothing is written unless every example holds a sound that is not there yet, the model takes it,
    and the configuration is right with it.
    """
    if options.record and options.files:
        raise UsageError("give either FILES or --record")
    if not (options.record or options.files or options.background):
        raise UsageError("give either FILES or --record, or --background for a label with examples")
    path = options.config or find()
    file = ConfigFile(path)
    try:
        version = file.version
        text = file.path.read_text("utf-8")
    except NotWritableError as error:
        raise UnavailableError(str(error)) from error
    settings = parse(text, str(path))
    known = settings.labels.get(options.name, LabelSettings())
    if not (options.record or options.files or known.examples):
        raise UsageError(f"{options.name} has no examples yet: give FILES or --record too")
    sounds = (
        {"the recording": record(settings, options.source, options.seconds)}
        if options.record
        else _read(options.files)
    )
    traces = require_new(sounds, known)
    _require_background(options.background, known, traces)
    folder = file.path.parent / FOLDER / slug(options.name)
    paths = _numbered(folder, len(sounds))
    others = _numbered(folder / BACKGROUND, len(options.background))
    draft = _draft(file, version, settings, options, paths=paths, others=others)
    cut = ([trimmed(samples, name)] for name, samples in sounds.items())
    content: dict[Path, Iterable[Samples]] = dict(zip(paths, cut, strict=True))
    content |= zip(others, map(background.windows, options.background), strict=True)
    _write(file, draft, content)
    label = draft.settings.labels[options.name]
    if paths:
        print(
            f"{options.name}: {len(paths)} new examples in {folder}, {len(label.examples)} in all"
        )
    if others:
        megabytes = sum(each.stat().st_size for each in others) / 1e6
        print(f"{options.name}: background kept in {folder / BACKGROUND}, {megabytes:.0f} MB")
    scorer = prepare(
        draft.settings.model.model_copy(update={"compile": False}), draft.settings.labels
    )
    for line in report(scorer.loaded, draft.settings.labels, options.name):
        print(line)
    print(f"written to {file.path}; what it was is beside it (.bak)")
    print("a daemon that runs takes it over with SIGHUP, or when it starts again")
    return 0


def _read(files: Sequence[str]) -> dict[str, Samples]:
    """Samples of each file. Raises UnavailableError."""
    for file in files:
        if files.count(file) > 1:
            raise UsageError(f"{file} is given more than once")
    return {file: examples.read(file) for file in files}


def _require_background(
    files: Sequence[str], label: LabelSettings, sounds: Mapping[str, Samples]
) -> None:
    """Raises UnavailableError on a background that is silent, there already, or holds an example.

    sounds: traces of all examples, by name.
    """
    for file in files:
        if files.count(file) > 1:
            raise UsageError(f"--background: {file} is given more than once")
    traces = {
        path: trace_of(background.windows(path)) for path in (label.background if files else ())
    }
    for file in files:
        found = background.look_over(file)
        for other, known in traces.items():
            if same_recording(found, known):
                there = ", which is background already" if other in label.background else ""
                raise UnavailableError(f"{file}: the same recording as {other}{there}")
        traces[file] = found
        held = find_trace(background.windows(file), list(sounds.values()))
        if held is not None:
            raise UnavailableError(
                f"{file}: the example {list(sounds)[held]} is in it: background is what is without "
                "the sound"
            )


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
    *,
    paths: Sequence[Path],
    others: Sequence[Path],
) -> Draft:
    """The configuration with the examples, and the prompts and background that are new."""
    known = settings.labels.get(options.name)
    wanted = keys(
        known,
        options.name,
        prompts=options.prompts,
        paths=paths,
        others=others,
        folder=file.path.parent,
    )
    try:
        return file.draft(Edit(options.name, wanted, create=known is None), version)
    except (NotWritableError, ConflictError) as error:
        raise UnavailableError(str(error)) from error


def _write(file: ConfigFile, draft: Draft, content: Mapping[Path, Iterable[Samples]]) -> None:
    """The recordings, then the configuration; no recording stays where that fails."""
    written: list[Path] = []
    try:
        for path, pieces in content.items():
            _make_folder(path.parent, like=file.path)
            written.append(path)
            with encode.AudioWriter(path) as encoder:
                for samples in pieces:
                    encoder.write(samples)
        # What the daemon would refuse at its next start is refused here.
        prepare(draft.settings.model.model_copy(update={"compile": False}), draft.settings.labels)
        file.write(draft)
    except BaseException as error:
        for path in written:
            path.unlink(missing_ok=True)
        _remove_empty({path.parent for path in written}, file.path.parent)
        if isinstance(error, OSError):
            raise UnavailableError(f"{path}: cannot be written: {error.strerror}") from error
        if isinstance(error, (NotWritableError, ConflictError)):
            raise UnavailableError(str(error)) from error
        raise


def _make_folder(folder: Path, like: Path) -> None:
    """With the rights that the configuration has, so that who reads one reads the other."""
    if folder.is_dir():
        return
    if folder.parent != like.parent:
        _make_folder(folder.parent, like)
    folder.mkdir()
    mode = like.stat().st_mode & 0o777
    folder.chmod(mode | 0o700 | ((mode & 0o444) >> 2))


def _remove_empty(folders: Iterable[Path], top: Path) -> None:
    """Them and what they are in, below `top`, the innermost first."""
    every = {
        each for folder in folders for each in (folder, *folder.parents) if top in each.parents
    }
    for folder in sorted(every, key=lambda each: -len(each.parts)):
        if folder.is_dir() and not any(folder.iterdir()):
            folder.rmdir()
