"""Settings of a source of sound."""

from __future__ import annotations

from typing import Annotated, Literal, Self
from urllib.parse import unquote, urlsplit

from pydantic import (
    BeforeValidator,
    ConfigDict,
    Field,
    ValidationInfo,
    field_serializer,
    field_validator,
    model_validator,
)

from pe_stream.config.addresses import (
    PERCENT_ENCODE,
    is_ambiguous,
    is_misspelt,
    is_network,
    is_rtsp,
    is_secure_rtsp,
    masked_url,
)
from pe_stream.config.pictures import PictureSettings
from pe_stream.config.values import Matching, Microphone, PathText, Section, none_is_empty

OtherHost = Annotated[
    str,
    Matching(
        r"(\*\.)?[A-Za-z0-9._-]+(:\d{1,5})?|\[[0-9A-Fa-f:.]+\](:\d{1,5})?|[0-9A-Fa-f]*:[0-9A-Fa-f:.]+",
        "the name or address of a server, with a port or without, such as cdn.example.org, or "
        "*.example.org for all below that name",
    ),
]
"""A server that an HTTP stream may lead to."""

Track = Annotated[int, Field(ge=0, le=63)]
"""An audio track, counted from 0."""


class RtspSettings(Section):
    """How a camera is asked for its sound."""

    transport: Literal["auto", "tcp", "udp", "http"] = "auto"
    """What carries the sound: the RTSP connection (tcp), datagrams (udp) or HTTP; auto: tcp, and
    udp where the camera refuses that."""

    streams: Literal["auto", "audio", "all"] = "auto"
    """What the camera is asked for: audio alone, or all, of which the picture is thrown away unless
    `picture` is set; auto: audio, and all where nothing comes of it or the camera hangs up, or
    where the picture is wanted."""

    timeout_s: Annotated[float, Field(ge=1, le=120)] = 10.0
    """How long opening may take, and every silence after it."""

    track: Track | None = None
    """Take this audio track (0 is the first); default: the one that FFmpeg takes for the best."""


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

    track: Track | None = None
    """Files and streams but RTSP: take this audio track (0 is the first); default: the one that
    FFmpeg takes for the best."""

    rtsp: Annotated[
        RtspSettings,
        BeforeValidator(none_is_empty, json_schema_input_type=RtspSettings | None),
    ] = RtspSettings()
    """RTSP only: how the camera is asked."""

    picture: PictureSettings | None = None
    """Live streams only: the camera's picture, for second opinions; default: none is decoded."""

    gain_db: Annotated[float, Field(ge=-60, le=60)] = 0.0
    """How much louder the sound is made, in dB; negative is quieter. What that takes beyond full
    scale is clipped."""

    highpass_hz: Annotated[float, Field(ge=10, le=10_000)] | None = None
    """Take away what is below (12 dB an octave), such as wind, traffic or hum; default: nothing."""

    lowpass_hz: Annotated[float, Field(ge=100, le=20_000)] | None = None
    """Take away what is above, such as hiss; default: nothing."""

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
        if value is not None and is_network(value) and is_ambiguous(value):
            raise ValueError(f"two hosts are in {masked_url(value)!r}: {PERCENT_ENCODE}")
        return value

    @field_validator("loop")
    @classmethod
    def _loop_of_a_file(cls, value: bool, info: ValidationInfo) -> bool:  # noqa: FBT001 - pydantic's
        url = info.data.get("url", "")
        if value and (url is None or is_network(url)):
            raise ValueError("loop is for files given as `url`: live sound cannot be repeated")
        return value

    @field_validator("track")
    @classmethod
    def _track_of_a_url(cls, value: int | None, info: ValidationInfo) -> int | None:
        url = info.data.get("url")
        if value is not None and (url is None or is_rtsp(url)):
            where = "a microphone has channels" if url is None else "set rtsp.track"
            raise ValueError(f"track is for files and for streams but RTSP: {where}")
        return value

    @field_validator("rtsp")
    @classmethod
    def _rtsp_of_a_camera(cls, value: RtspSettings, info: ValidationInfo) -> RtspSettings:
        url = info.data.get("url") or ""
        if value != RtspSettings() and not is_rtsp(url):
            raise ValueError("rtsp is for addresses that begin with rtsp:// or rtsps://")
        if is_secure_rtsp(url) and value.transport in {"udp", "http"}:
            raise ValueError("rtsps goes over TCP alone: leave out rtsp.transport")
        return value

    @field_validator("picture")
    @classmethod
    def _picture_of_a_camera(
        cls, value: PictureSettings | None, info: ValidationInfo
    ) -> PictureSettings | None:
        if value is None:
            return None
        url, asked = info.data.get("url") or "", info.data.get("rtsp")
        if not is_network(url):
            raise ValueError("picture is for live streams, such as a camera's, given as `url`")
        if value.url is None and asked is not None and asked.streams == "audio":
            raise ValueError(
                "rtsp.streams: audio leaves out the picture: set picture.url, or rtsp.streams to "
                "all or auto"
            )
        return value

    @field_validator("lowpass_hz")
    @classmethod
    def _something_is_left(cls, value: float | None, info: ValidationInfo) -> float | None:
        highpass_hz = info.data.get("highpass_hz")
        if value is not None and highpass_hz is not None and value <= highpass_hz:
            raise ValueError(
                f"nothing is left between highpass_hz, {highpass_hz:g}, and lowpass_hz, {value:g}: "
                "set lowpass_hz higher"
            )
        return value

    def filtered_as(self, other: SourceSettings) -> Self:
        """The same source with the gain and the filters of another."""
        keys = ("gain_db", "highpass_hz", "lowpass_hz")
        return self.model_copy(update={key: getattr(other, key) for key in keys})

    @model_validator(mode="after")
    def _one_origin(self) -> Self:
        given = self.model_fields_set & {"microphone", "url"}
        if len(given) != 1 or getattr(self, given.pop()) is None:
            raise ValueError("give exactly one of `microphone` and `url`")
        return self

    @field_serializer("url", when_used="json-unless-none")
    def _show_url(self, url: str) -> str:
        return masked_url(url)
