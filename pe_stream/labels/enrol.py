"""Recordings become examples of a label: cut to the sound, and named in the configuration."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from pe_stream.audio import encode
from pe_stream.config import LabelSettings
from pe_stream.config.edit import ConfigFile, Edit, NotWritableError
from pe_stream.config.paths import state_folder
from pe_stream.core.messages import slug
from pe_stream.core.types import FRAME, FRAME_S, Samples
from pe_stream.errors import ConfigError, PeStreamError, UnavailableError, UnfinishedError
from pe_stream.labels import examples
from pe_stream.labels.duplicate_audio import same_recording, trace

MARGIN_S = 0.5
"""Background that is kept before and after the sound (s)."""

FOLDER = "examples"
"""Each label has its own in it: beside the configuration, or for clips in the state folder."""


@dataclass(frozen=True, slots=True)
class ExampleAudio:
    """A sound that is to be an example: an event's id, and its samples (n,)."""

    event_id: str
    samples: Samples


def trimmed(samples: Samples, name: str) -> Samples:
    """The recording from MARGIN_S before the sound to as long after it, pauses included.

    Raises UnavailableError, calling the recording `name`, where there is no sound in it.
    """
    (active,) = np.nonzero(examples.active_part(samples, name))
    margin = round(MARGIN_S / FRAME_S)
    begin, end = max(0, active[0] - margin), active[-1] + 1 + margin
    return samples[begin * FRAME : end * FRAME]


def require_new(sounds: Mapping[str, Samples], label: LabelSettings) -> dict[str, Samples]:
    """Traces of the label's examples, and of those to come, by name.

    Raises UnavailableError on one without a sound, and on one that is there already.
    """
    traces: dict[str, Samples] = {}
    for path in label.examples:
        traces[path] = trace(examples.read(path))
    for name, samples in sounds.items():
        examples.active_part(samples, name)
        found = trace(samples)
        for other, known in traces.items():
            if same_recording(found, known):
                there = ", which the label has already" if other in label.examples else ""
                raise UnavailableError(f"{name}: the same recording as {other}{there}")
        traces[name] = found
    return traces


def keys(
    known: LabelSettings | None,
    name: str,
    *,
    prompts: Sequence[str],
    paths: Sequence[Path],
    others: Sequence[Path] = (),
    folder: Path,
) -> dict[str, list[str]]:
    """What becomes of a label, None of which is a new one: what is new, with what there was.

    paths: of examples; others: of background. folder: the configuration's; what is below it is
    named from there.
    """
    label = known or LabelSettings()
    new: dict[str, list[str]] = {}
    if given := _prompts(known, name, prompts):
        new["prompts"] = given
    for key, there, more in (
        ("examples", label.examples, paths),
        ("background", label.background, others),
    ):
        if more:
            new[key] = [_beside(path, folder) for path in (*map(Path, there), *more)]
    return new


def of_clip(clip: Path, event_id: str, onset_s: float, duration_s: float) -> ExampleAudio:
    """The sound of an event in its clip, where it begins at `onset_s`; without what lies around it.

    Raises UnavailableError: unreadable, too long, silent.
    """
    begin_s = max(0.0, onset_s - MARGIN_S)
    try:
        samples = examples.read(str(clip), begin_s, onset_s + duration_s + MARGIN_S)
    except UnavailableError as error:
        raise UnavailableError(str(error).replace(str(clip), "the clip")) from error
    return ExampleAudio(event_id, trimmed(samples, "the clip"))


def enroll(
    file: ConfigFile,
    label: str,
    known: LabelSettings | None,
    sound: ExampleAudio,
    *,
    prompts: Sequence[str],
    change: Callable[[Edit], str],
) -> str:
    """Keep the sound where nothing deletes it, and have the label changed; returns its version.

    Nothing stays where `change` did not make it. Raises what that raises, ConfigError where the
    sound is an example already, and NotWritableError where it cannot be kept.
    """
    path = state_folder().resolve() / FOLDER / slug(label) / f"{sound.event_id}.flac"
    if known is not None and str(path) in known.examples:
        raise ConfigError(f"this sound is an example of {label} already")
    try:
        require_new({"the clip": sound.samples}, known or LabelSettings())
    except UnavailableError as error:
        raise ConfigError(str(error)) from error
    was_there = path.exists()  # the file on disk may know it, if the daemon does not
    new = path.with_name(f".new-{path.name}")
    try:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        encode.write(new, sound.samples)
        new.replace(path)
    except OSError as error:
        _forget(new)
        raise NotWritableError(f"{path} cannot be written: {error.strerror}") from error
    wanted = keys(known, label, prompts=prompts, paths=[path], folder=file.path.parent)
    try:
        return change(Edit(label, wanted, create=known is None))
    except UnfinishedError:
        raise  # the change may yet be made, and would then name a file that is gone
    except PeStreamError:
        if not was_there:
            _forget(path)
        raise


def _forget(path: Path) -> None:
    """Delete a file, and the folder that it was alone in."""
    with suppress(OSError):
        path.unlink(missing_ok=True)
        path.parent.rmdir()


def _prompts(known: LabelSettings | None, name: str, new: Sequence[str]) -> list[str]:
    """All prompts of the label, if there are new ones; a name that was the prompt is not kept."""
    given = [text.strip() for text in new]
    if known is None or not given or known.prompts == LabelSettings().named(name).prompts:
        return list(dict.fromkeys(given))
    return list(dict.fromkeys((*known.prompts, *given)))


def _beside(path: Path, folder: Path) -> str:
    """The path relative to the configuration's folder, if it lies below it."""
    return path.relative_to(folder).as_posix() if path.is_relative_to(folder) else str(path)
