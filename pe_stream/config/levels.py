"""Settings of the level sensors."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from pe_stream.config.values import Section


class LevelSettings(Section):
    """The level of each source, for MQTT, Home Assistant, the page and metrics."""

    enabled: bool = True
    """Whether levels are measured and told."""

    every_s: Annotated[int, Field(ge=1, le=3600)] = 10
    """Seconds between two messages of a source over MQTT, which are about all of that time; 1: each
    second has its own, and Home Assistant's recorder 86,400 rows a day of each of four sensors."""
