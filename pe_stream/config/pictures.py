"""Settings of a camera's picture."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field, field_serializer, field_validator

from pe_stream.config.addresses import (
    PERCENT_ENCODE,
    is_ambiguous,
    is_misspelt,
    is_network,
    masked_url,
)
from pe_stream.config.values import PathText, Section


class PictureSettings(Section):
    """The picture of a camera, for second opinions: its latest seconds, in memory alone."""

    fps: Annotated[float, Field(ge=0.2, le=5)] = 2.0
    """Pictures that are kept, a second."""

    url: PathText | None = None
    """Another address of the camera, such as its small stream; default: what comes with the sound,
    in the same connection."""

    keep_s: Annotated[float, Field(ge=10, le=120)] = 30.0
    """Seconds of which pictures are kept."""

    keyframes: bool = False
    """Decode only pictures that stand for themselves, one every second to ten, for weak
    machines."""

    @field_validator("url")
    @classmethod
    def _an_address(cls, value: str | None) -> str | None:
        if value is None:
            return None
        if is_misspelt(value) or not is_network(value):
            raise ValueError(f"{masked_url(value)!r} is no address, such as rtsp://HOST/PATH")
        if is_ambiguous(value):
            raise ValueError(f"two hosts are in {masked_url(value)!r}: {PERCENT_ENCODE}")
        return value

    @field_serializer("url", when_used="json-unless-none")
    def _show_url(self, url: str) -> str:
        return masked_url(url)
