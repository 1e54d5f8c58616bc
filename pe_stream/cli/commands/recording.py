"""An example of a sound from a microphone, for `pe-stream enroll --record`."""

from __future__ import annotations

import logging
from contextlib import closing

import numpy as np
from tqdm import tqdm

from pe_stream.audio.microphone import Absent
from pe_stream.audio.source import open_source
from pe_stream.config import Settings, SourceSettings
from pe_stream.core.types import SAMPLE_RATE, Samples
from pe_stream.errors import UnavailableError, UsageError

log = logging.getLogger(__name__)

_ABSENT = 10
"""A microphone that is so many times not there is not waited for."""


def record(settings: Settings, wanted: str | None, seconds: float) -> Samples:
    """Samples (n,) of so many seconds, with a bar on a terminal.

    wanted: a source's name; None is the first microphone that is configured, else the default one.
    Raises UsageError on a source that is not there, UnavailableError on one that does not deliver.
    """
    name, spec = _microphone(settings, wanted)
    most = round(seconds * SAMPLE_RATE)
    pieces: list[Samples] = []
    absent = heard = 0
    source = open_source(spec)
    with (
        closing(source),
        tqdm(
            total=seconds,
            desc=f"recording from {name}",
            unit="s",
            disable=None,  # unless stderr is a terminal
            leave=False,
        ) as progress,
    ):
        log.info("recording %g s from %s: let it be heard now", seconds, name)
        for chunk in source:
            if isinstance(chunk, Absent):
                absent += 1
                if absent >= _ABSENT:
                    raise UnavailableError(f"{source.describe}: {chunk.reason}")
                continue
            pieces.append(chunk.samples)
            heard += len(chunk.samples)
            progress.update(len(chunk.samples) / SAMPLE_RATE)
            if heard >= most:
                break
    if not pieces:
        raise UnavailableError(f"{name}: it has ended without a sound")
    return np.concatenate(pieces)[:most]


def _microphone(settings: Settings, wanted: str | None) -> tuple[str, SourceSettings]:
    if wanted is not None:
        if wanted not in settings.sources:
            known = ", ".join(settings.sources) or "none"
            raise UsageError(f"there is no source {wanted!r}; sources: {known}")
        return wanted, settings.sources[wanted]
    for name, spec in settings.sources.items():
        if spec.microphone is not None:
            return name, spec
    return "the default microphone", SourceSettings(microphone="default")
