"""Settings of a source of sound."""

from __future__ import annotations

import re
from typing import Annotated, Self

from pydantic import (
    ConfigDict,
    Field,
    ValidationInfo,
    field_serializer,
    field_validator,
    model_validator,
)

from pe_stream.config.values import MASK, Microphone, PathText, Section


def masked_url(url: str) -> str:
    """`url` fit to be shown: no user, no password, no values of parameters; paths stay.

    Cameras take passwords before an `@`, in the query, or as `password=...` in the path.
    """
    if not _is_network(url):
        return url
    without_user = re.sub(r"^([^:]+://).*@", rf"\1{MASK}@", url)
    return re.sub(r"=[^&;/?#]*", f"={MASK}", without_user)


class SourceSettings(Section):
    """Where sound comes from: exactly one of `microphone` and `url`."""

    model_config = ConfigDict(
        json_schema_extra={"oneOf": [{"required": ["microphone"]}, {"required": ["url"]}]}
    )

    microphone: Microphone = None
    """Name, stable id or index of a microphone as `pe-stream devices` lists them, or `default`."""

    url: PathText | None = None
    """An RTSP or HTTP stream, or the path of a file, which plays in real time."""

    loop: bool = False
    """Play the file again when it has ended."""

    channel: Annotated[int, Field(ge=0, le=63)] | None = None
    """Take this channel alone (0 is the first); default: the mean of all channels."""

    @field_validator("loop")
    @classmethod
    def _loop_of_a_file(cls, value: bool, info: ValidationInfo) -> bool:  # noqa: FBT001 - pydantic's
        url = info.data.get("url", "")
        if value and (url is None or _is_network(url)):
            raise ValueError("loop is for files given as `url`: live sound cannot be repeated")
        return value

    @model_validator(mode="after")
    def _one_origin(self) -> Self:
        given = self.model_fields_set & {"microphone", "url"}
        if len(given) != 1 or getattr(self, given.pop()) is None:
            raise ValueError("give exactly one of `microphone` and `url`")
        return self

    @field_serializer("url", when_used="json-unless-none")
    def _show_url(self, url: str) -> str:
        return masked_url(url)


def _is_network(url: str) -> bool:
    return re.match(r"[a-z][a-z0-9+.-]*://", url, re.IGNORECASE) is not None
