"""Settings of a source of sound."""

from __future__ import annotations

from typing import Annotated, Self
from urllib.parse import unquote, urlsplit

from pydantic import (
    ConfigDict,
    Field,
    ValidationInfo,
    field_serializer,
    field_validator,
    model_validator,
)

from pe_stream.config.addresses import is_misspelt, is_network, masked_url
from pe_stream.config.values import Matching, Microphone, PathText, Section

OtherHost = Annotated[
    str,
    Matching(
        r"(\*\.)?[A-Za-z0-9._-]+(:\d{1,5})?|\[[0-9A-Fa-f:.]+\](:\d{1,5})?|[0-9A-Fa-f]*:[0-9A-Fa-f:.]+",
        "the name or address of a server, with a port or without, such as cdn.example.org, or "
        "*.example.org for all below that name",
    ),
]
"""A server that an HTTP stream may lead to."""


class SourceSettings(Section):
    """Where sound comes from: exactly one of `microphone` and `url`."""

    model_config = ConfigDict(
        json_schema_extra={"oneOf": [{"required": ["microphone"]}, {"required": ["url"]}]}
    )

    microphone: Microphone = None
    """Name, stable id or index of a microphone as `pe-stream devices` lists them, or `default`."""

    url: PathText | None = None
    """An RTSP or HTTP stream, the path of a file, which plays in real time, or of a live pipe."""

    loop: bool = False
    """Play the file again when it has ended."""

    channel: Annotated[int, Field(ge=0, le=63)] | None = None
    """Take this channel alone (0 is the first); default: the mean of all channels."""

    other_hosts: Annotated[tuple[OtherHost, ...], Field(strict=False, max_length=64)] = ()
    """Servers besides its own that an HTTP stream may lead to: names or addresses, with a port or
    without; `*.example.org` is every name below that one."""

    @field_validator("url", mode="before")
    @classmethod
    def _path_of_a_file(cls, value: object) -> object:
        if not isinstance(value, str) or not value.lower().startswith("file://"):
            return value
        address = urlsplit(value)
        if address.netloc not in {"", "localhost"}:
            raise ValueError("a file:// address of another machine: give a path")
        return unquote(address.path)

    @field_validator("url")
    @classmethod
    def _an_address_or_a_path(cls, value: str | None) -> str | None:
        if value is not None and is_misspelt(value):
            raise ValueError(
                f"{masked_url(value)!r} is no address, and looks like one: rtsp://HOST/PATH or "
                "http://HOST/PATH; the path of a file that looks so begins with ./"
            )
        return value

    @field_validator("loop")
    @classmethod
    def _loop_of_a_file(cls, value: bool, info: ValidationInfo) -> bool:  # noqa: FBT001 - pydantic's
        url = info.data.get("url", "")
        if value and (url is None or is_network(url)):
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
