"""Openers of the configured sources."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from concurrent.futures import FIRST_EXCEPTION, Future, wait
from contextlib import suppress
from typing import TYPE_CHECKING

from pe_stream.audio.devices import list_devices
from pe_stream.audio.feed import Feed, Opener
from pe_stream.audio.filtering import SoundFilter
from pe_stream.audio.limits import LiveLimits
from pe_stream.audio.source import open_source, ways_of
from pe_stream.config import Settings, SourceSettings
from pe_stream.errors import UnavailableError

if TYPE_CHECKING:  # nothing of pictures is imported where none are wanted
    from pe_stream.audio.camera_pictures import CameraPictures

log = logging.getLogger(__name__)

OPEN_S = 3.0
"""Sources that are not open by then are not waited for at the start."""


def filters_of(settings: Settings) -> dict[str, SoundFilter]:
    """What is done to the sound of each source before anybody hears it."""
    return {name: SoundFilter(name, spec) for name, spec in settings.sources.items()}


def refilter(filters: Mapping[str, SoundFilter], sources: Mapping[str, SourceSettings]) -> None:
    """Set filters as these sources have them; from any thread."""
    for name, each in filters.items():
        if name in sources:
            each.set(sources[name])


def openers(
    settings: Settings,
    filters: Mapping[str, SoundFilter] | None = None,
    pictures: Mapping[str, CameraPictures] | None = None,
) -> dict[str, Opener]:
    """The opener of each source of the settings.

    filters: of each source, where they may be set otherwise later; see `filters_of`. pictures:
    where those of a source are kept; default: none are decoded. An index of a microphone is what
    it is now: once one is open, PortAudio counts again.
    """
    seen = pictures or {}
    sound_filters = filters_of(settings) if filters is None else filters
    ids: dict[int, str] = {}
    if any(isinstance(spec.microphone, int) for spec in settings.sources.values()):
        with suppress(UnavailableError):
            ids = {device.index: device.id for device in list_devices()}

    def opener(name: str, spec: SourceSettings) -> Opener:
        if isinstance(spec.microphone, int):
            known = ids.get(spec.microphone, spec.microphone)
            spec = spec.model_copy(update={"microphone": known})
        kept = seen.get(name)
        beside = kept is not None and spec.picture is not None and spec.picture.url is None
        # They outlive its connections.
        limits, ways = LiveLimits(), ways_of(spec, pictures=beside)
        return lambda sample, at_s: open_source(
            spec,
            first_sample=sample,
            at_s=at_s,
            limits=limits,
            ways=ways,
            sound_filter=sound_filters[name],
            pictures=kept,
        )

    return {name: opener(name, spec) for name, spec in settings.sources.items()}


def open_together(feeds: Mapping[str, Feed]) -> dict[str, str]:
    """Open every source at the same time and begin to read; says what each is.

    None waits for another. One that is not open within OPEN_S, such as a file on a server that
    does not answer, is left to itself. Raises UnavailableError, after stopping all, where one
    cannot be opened.
    """
    opening = {name: feed.open_soon() for name, feed in feeds.items()}
    wait(opening.values(), OPEN_S, FIRST_EXCEPTION)
    try:
        return {name: _what(name, future) for name, future in opening.items()}
    except BaseException:
        for feed in feeds.values():
            feed.stop()
        raise


def _what(name: str, opening: Future[str]) -> str:
    if opening.done():
        return opening.result()
    log.warning("%s: it is still being opened; the others are heard meanwhile", name)
    return "what is still being opened"
