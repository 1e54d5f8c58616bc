"""What settings are made of: sections, and the types of single values.

Messages that begin with "Input should" are completed by `pe_stream.config.file` with what
was found; all others stand alone.
"""

from __future__ import annotations

import os
import re
from dataclasses import dataclass
from ipaddress import IPv6Address
from math import floor
from typing import Annotated, Any, Literal

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    GetCoreSchemaHandler,
    GetJsonSchemaHandler,
    PlainValidator,
)
from pydantic_core import CoreSchema, core_schema

from pe_stream.config.addresses import is_misspelt, is_network, masked_text
from pe_stream.core.messages import ANY, slug
from pe_stream.core.types import FRAME_S
from pe_stream.core.words import has_control_characters


class Section(BaseModel):
    """Settings that belong together: frozen, no keys but its own, nothing converted in silence.

    Docstrings below the keys become the descriptions in JSON Schema.
    """

    model_config = ConfigDict(
        extra="forbid",
        frozen=True,
        strict=True,
        allow_inf_nan=False,
        hide_input_in_errors=True,
        use_attribute_docstrings=True,
        field_title_generator=lambda key, field: _title(field.alias or key),
    )


def none_is_empty(value: object) -> object:
    """A section whose keys are all commented out reads as null."""
    return {} if value is None else value


def frames(seconds: float) -> float:
    """`seconds` in frames of 40 ms, rid of the noise of binary fractions."""
    return round(seconds / FRAME_S, 6)


def nearest_frame(seconds: float) -> int:
    """The number of frames nearest to `seconds`; of two, the larger."""
    return floor(frames(seconds) + 0.5)


def _title(key: str) -> str:
    words = key.removesuffix("_s").replace("_", " ").capitalize()
    return f"{words} (s)" if key.endswith("_s") else words


@dataclass(frozen=True, slots=True)
class Matching:
    """Metadata of a `str` type: the whole text matches `pattern`.

    allowed: what that means, for people; completes "should be ...".
    """

    pattern: str
    allowed: str

    def check(self, text: str) -> str:
        """Return `text`; raises ValueError where it does not match."""
        if re.fullmatch(self.pattern, text) is None:
            raise ValueError(f"Input should be {self.allowed}")
        return text

    def __get_pydantic_core_schema__(
        self, source: Any, handler: GetCoreSchemaHandler
    ) -> CoreSchema:
        """Check after pydantic made sure of the text."""
        return core_schema.no_info_after_validator_function(self.check, handler(source))

    def __get_pydantic_json_schema__(
        self, schema: CoreSchema, handler: GetJsonSchemaHandler
    ) -> dict[str, Any]:
        """The pattern, as JSON Schema wants it."""
        return handler(schema) | {"pattern": f"^({self.pattern})$"}


_LINE = Matching(
    r"[^\x00-\x1f\x7f]*[^\x00-\x20\x7f][^\x00-\x1f\x7f]*",
    "text on one line, and not blank",
)


def _path(text: str) -> str:
    path = os.path.expanduser(text)  # noqa: PTH111 - stays as written, a URL too
    if path.startswith("~/") or path == "~":
        raise ValueError(f"{text!r}: this user has no home folder: give a path that begins with /")
    return path


def _name(text: str) -> str:
    if not slug(text):
        raise ValueError(f"the name {text!r} leaves nothing for MQTT topics: use a-z, 0-9, _ and -")
    return text


def _public(text: str) -> str:
    if masked_text(text) != text:
        raise ValueError("a name that has a password in it, as an address may: names are shown")
    return text


def _label_name(text: str) -> str:
    if slug(text) == ANY:
        raise ValueError(f"the name {text!r} is reserved: in MQTT topics it stands for all labels")
    if has_control_characters(text):  # it may become the prompt
        raise ValueError(f"the name {text!r} has a control character: words only")
    return _name(text)


def _host(text: str) -> str:
    """A host's name or address; a colon is part of an IPv6 address alone."""
    inner = text[1:-1] if text.startswith("[") and text.endswith("]") else text
    if inner != text or ":" in text or "[" in text or "]" in text:
        try:
            IPv6Address(inner)
        except ValueError:
            raise ValueError("Input should be a host name or address, without a port") from None
    return inner


def _whole_frames(seconds: float) -> float:
    count = frames(seconds)
    if not count.is_integer():
        below = floor(count)
        raise ValueError(
            f"Input should be a whole multiple of {FRAME_S} (s, a frame of the model); "
            f"the nearest are {below * FRAME_S:g} and {(below + 1) * FRAME_S:g}"
        )
    return seconds


def _no_address(checkpoint: str) -> str:
    if is_network(checkpoint) or is_misspelt(checkpoint):
        raise ValueError(
            "an address: give the checkpoint's name on the hub (OWNER/NAME), or a folder"
        )
    return checkpoint


def listed(value: object) -> object:
    """A single text stands for a list of one."""
    return (value,) if isinstance(value, str) else value


def _prompts(texts: tuple[str, ...]) -> tuple[str, ...]:
    stripped = tuple(text.strip() for text in texts)
    known: set[str] = set()
    for text in stripped:
        if not text:
            raise ValueError('a prompt is empty: describe the sound, as in "a dog barking"')
        if has_control_characters(text):
            raise ValueError(f"the prompt {text!r} has a control character: words only")
        if text in known:
            raise ValueError(f"the prompt {text!r} is given twice")
        known.add(text)
    return stripped


def _recordings(paths: tuple[str, ...]) -> tuple[str, ...]:
    for number, path in enumerate(paths):
        if path in paths[:number]:
            raise ValueError(f"the recording {path!r} is given twice")
    return paths


def _microphone(value: object) -> str | int:
    if isinstance(value, str) and value.strip():
        return _LINE.check(value)
    if isinstance(value, int) and not isinstance(value, bool) and value >= 0:
        return value
    raise ValueError(
        "Input should be a device's name or id (text) or its index (a whole number from 0), "
        "as `pe-stream devices` lists them"
    )


def _protocol(value: object) -> object:
    return str(value) if type(value) is int else value


Text = Annotated[str, _LINE]
"""Text that is not blank and has no control characters."""

PathText = Annotated[str, _LINE, AfterValidator(_path)]
"""A path (`~` becomes the home folder; else as written) or what may stand in its place."""

CheckpointName = Annotated[PathText, AfterValidator(_no_address)]
"""Name of a checkpoint on the Hugging Face hub, or its folder."""

Name = Annotated[str, Field(max_length=100), AfterValidator(_public), AfterValidator(_name)]
"""Name of a node or source; its slug is a part of MQTT topics."""

LabelName = Annotated[str, Field(max_length=100), AfterValidator(_label_name)]
"""Name of a label; its slug is a part of MQTT topics."""

GridSeconds = Annotated[float, Field(ge=0, le=60), AfterValidator(_whole_frames)]
"""Duration (s) on the model's grid: a whole number of frames, which may be none."""

PositiveGridSeconds = Annotated[float, Field(ge=FRAME_S, le=60), AfterValidator(_whole_frames)]
"""Duration (s) on the model's grid: one frame or more."""

MOST_PROMPTS = 1000
"""Prompts of a label, and as many of its `not`. They are averaged: more of them say no more."""

_DISTINCT = Field(json_schema_extra={"uniqueItems": True})

Prompts = Annotated[
    tuple[str, ...],
    Field(strict=False, min_length=1, max_length=MOST_PROMPTS),
    AfterValidator(_prompts),
    BeforeValidator(
        listed,
        json_schema_input_type=str
        | Annotated[list[str], Field(min_length=1, max_length=MOST_PROMPTS), _DISTINCT],
    ),
]
"""Descriptions of a sound, at least one; a single text is taken for a list of one."""

Negatives = Annotated[
    tuple[str, ...],
    Field(strict=False, max_length=MOST_PROMPTS),
    AfterValidator(_prompts),
    BeforeValidator(
        listed,
        json_schema_input_type=str
        | Annotated[list[str], Field(max_length=MOST_PROMPTS), _DISTINCT],
    ),
]
"""Descriptions of what a sound is not; a single text is taken for a list of one."""

Examples = Annotated[
    tuple[PathText, ...],
    Field(strict=False, max_length=100),
    AfterValidator(_recordings),
    BeforeValidator(
        listed, json_schema_input_type=str | Annotated[list[str], Field(max_length=100), _DISTINCT]
    ),
]
"""Paths of recordings; a single text is taken for a list of one."""

Backgrounds = Annotated[
    tuple[PathText, ...],
    Field(strict=False, max_length=20),
    AfterValidator(_recordings),
    BeforeValidator(
        listed, json_schema_input_type=str | Annotated[list[str], Field(max_length=20), _DISTINCT]
    ),
]
"""Paths of long recordings; a single text is taken for a list of one."""

Microphone = Annotated[
    str | int | None,
    PlainValidator(_microphone, json_schema_input_type=Text | Annotated[int, Field(ge=0)]),
]
"""Name, stable id or index of an input device; None only where the key is not given."""

Device = Annotated[
    str,
    Matching(r"auto|cpu|cuda(:[0-9]{1,3})?", "auto, cpu, cuda or cuda:N (N: number of a GPU)"),
]
"""Where the model runs."""

Host = Annotated[
    str,
    Matching(r"[^\s/@{}\x00-\x1f\x7f]+", "a host name or address, without a port"),
    AfterValidator(_host),
]
"""Host name, IPv4 or IPv6 address; that is without the brackets, which may be given."""

WebAddress = Annotated[
    str,
    Matching(r"https?://[^\s\x00-\x1f\x7f]+", "an address that begins with http:// or https://"),
]
"""Address of something on the web."""

TopicPrefix = Annotated[
    str,
    Matching(
        r"(?!\$)[^\x00-\x1f\x7f+#/]+(/[^\x00-\x1f\x7f+#/]+)*",
        "MQTT topic levels joined by /, none of them empty, without + and #, not beginning with $",
    ),
]
"""What every MQTT topic begins with."""

Protocol = Annotated[
    Literal["auto", "5", "3.1.1"],
    BeforeValidator(_protocol, json_schema_input_type=Literal["auto", "5", "3.1.1", 5]),
]
"""Version of MQTT; an unquoted 5 is a number to YAML and means the same."""
