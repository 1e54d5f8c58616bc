"""Recordings become examples of a label: cut to the sound, and named in the configuration."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from pe_stream import examples
from pe_stream.audio import encode
from pe_stream.config import LabelSettings
from pe_stream.config_edit import ConfigFile, ConflictError, Edit, NotWritableError
from pe_stream.core.messages import slug
from pe_stream.core.types import FRAME, FRAME_S, SAMPLE_RATE, Samples
from pe_stream.database import state_folder
from pe_stream.errors import ConfigError, UnavailableError

MARGIN_S = 0.5
"""What is kept of the room before and after the sound (s)."""

FOLDER = "examples"
"""Each label has its own in it: beside the configuration, or for clips in the state folder."""


@dataclass(frozen=True, slots=True)
class Sound:
    """A sound that is to be an example: an event's id, and its samples (n,)."""

    event_id: str
    samples: Samples


def trimmed(samples: Samples, name: str) -> Samples:
    """From MARGIN_S before the sound to as long after it; what is between stays.

    Raises UnavailableError, calling the recording `name`, where there is no sound in it.
    """
    (active,) = np.nonzero(examples.active_part(samples, name))
    margin = round(MARGIN_S / FRAME_S)
    begin, end = max(0, active[0] - margin), active[-1] + 1 + margin
    return samples[begin * FRAME : end * FRAME]


def keys(
    known: LabelSettings | None,
    name: str,
    paths: Sequence[Path],
    prompts: Sequence[str],
    folder: Path,
) -> dict[str, list[str]]:
    """What becomes of a label, None of which is a new one: these examples besides, and prompts.

    folder: the configuration's; examples below it are named from there.
    """
    there: tuple[str, ...] = () if known is None else known.examples
    named = [_beside(path, folder) for path in (*map(Path, there), *paths)]
    given = _prompts(known, name, prompts)
    return ({"prompts": given} if given else {}) | {"examples": named}


def of_clip(clip: Path, event_id: str, onset_s: float, duration_s: float) -> Sound:
    """The sound of an event in its clip, where it begins at `onset_s`; without what lies around it.

    Raises UnavailableError: unreadable, too long, silent.
    """
    try:
        samples = examples.read(str(clip))
    except UnavailableError as error:
        raise UnavailableError(str(error).replace(str(clip), "the clip")) from error
    begin = max(0, round((onset_s - MARGIN_S) * SAMPLE_RATE))
    end = round((onset_s + duration_s + MARGIN_S) * SAMPLE_RATE)
    return Sound(event_id, trimmed(samples[begin:end], "the clip"))


def enroll(
    file: ConfigFile,
    label: str,
    known: LabelSettings | None,
    sound: Sound,
    *,
    prompts: Sequence[str],
    change: Callable[[Edit], str],
) -> str:
    """Keep the sound where nothing deletes it, and have the label changed; returns its version.

    Nothing stays where `change` refuses it. Raises what that raises, ConfigError where the sound is
    an example already, and NotWritableError where it cannot be kept.
    """
    path = state_folder().resolve() / FOLDER / slug(label) / f"{sound.event_id}.flac"
    if known is not None and str(path) in known.examples:
        raise ConfigError(f"this sound is an example of {label} already")
    was_there = path.exists()  # the file on disk may know it, if the daemon does not
    try:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        encode.write(path, sound.samples)
    except OSError as error:
        with suppress(OSError):
            path.unlink(missing_ok=True)
        raise NotWritableError(f"{path} cannot be written: {error.strerror}") from error
    wanted = keys(known, label, [path], prompts, file.path.parent)
    try:
        return change(Edit(label, wanted, create=known is None))
    except (ConfigError, ConflictError, NotWritableError):
        # Not after others: the change may yet be made, and would then name a file that is gone.
        if not was_there:
            path.unlink(missing_ok=True)
        raise


def _prompts(known: LabelSettings | None, name: str, new: Sequence[str]) -> list[str]:
    """All prompts of the label, if there are new ones; a name that was the prompt is not kept."""
    given = [text.strip() for text in new]
    if known is None or not given or known.prompts == LabelSettings().named(name).prompts:
        return list(dict.fromkeys(given))
    return list(dict.fromkeys((*known.prompts, *given)))


def _beside(path: Path, folder: Path) -> str:
    """From the configuration's folder, if it is below it."""
    return path.relative_to(folder).as_posix() if path.is_relative_to(folder) else str(path)
