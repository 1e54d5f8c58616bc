"""Openers of the configured sources."""

from __future__ import annotations

from contextlib import suppress

from pe_stream.audio.devices import list_devices
from pe_stream.audio.feed import Opener
from pe_stream.audio.limits import LiveLimits
from pe_stream.audio.source import open_source
from pe_stream.config import Settings, SourceSettings
from pe_stream.errors import UnavailableError


def openers(settings: Settings) -> dict[str, Opener]:
    """The opener of each source of the settings.

    An index of a microphone is what it is now: once one is open, PortAudio counts again.
    """
    ids: dict[int, str] = {}
    if any(isinstance(spec.microphone, int) for spec in settings.sources.values()):
        with suppress(UnavailableError):
            ids = {device.index: device.id for device in list_devices()}

    def opener(spec: SourceSettings) -> Opener:
        if isinstance(spec.microphone, int):
            known = ids.get(spec.microphone, spec.microphone)
            spec = spec.model_copy(update={"microphone": known})
        limits = LiveLimits()  # outlives its connections
        return lambda sample, at_s: open_source(spec, first_sample=sample, at_s=at_s, limits=limits)

    return {name: opener(spec) for name, spec in settings.sources.items()}
