"""Settings of the audio kept with events."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from pe_stream.config.values import PathText, Section, WebAddress


class ClipSettings(Section):
    """Recordings of what made an event."""

    enabled: bool = False
    """Whether the audio of events is kept on disk; without, none ever is."""

    folder: PathText | None = None
    """Where; default: `clips` in the service's or the user's state folder."""

    format: Literal["flac", "opus"] = "flac"
    """flac: lossless, about 150 MB an hour; opus: about 30."""

    before_s: Annotated[float, Field(ge=0, le=30)] = 2.0
    """Seconds kept before the onset."""

    after_s: Annotated[float, Field(ge=0, le=30)] = 2.0
    """Seconds kept after the end."""

    labels: Annotated[tuple[str, ...], Field(strict=False, min_length=1)] | None = None
    """Labels whose events get a clip; default: all."""

    never_when: Annotated[tuple[str, ...], Field(strict=False)] = ()
    """Labels that withhold a clip in which they are heard, such as one for speech."""

    keep_days: Annotated[float, Field(gt=0, le=36500)] = 14.0
    """Days after which a clip is deleted."""

    keep_days_of: dict[str, Annotated[float, Field(gt=0, le=36500)]] = Field(default_factory=dict)
    """The same for single labels."""

    max_gb: Annotated[float, Field(gt=0, le=100_000)] = 5.0
    """Gigabytes of all clips together; beyond, the oldest are deleted."""

    url: WebAddress | None = None
    """Address under which the folder can be reached; events then tell it instead of the path."""
