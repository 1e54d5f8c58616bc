"""Heads of what is said between a daemon and an engine elsewhere, and how large it may be."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field

from pe_stream.core.types import FRAME

VERSION = 1
"""Of what is said; fields are only ever added."""

BYTES = "application/octet-stream"
"""What a request and its answer are; no page of a browser can send it unasked."""

MOST_ITEMS = 64
"""Windows of a request."""

MOST_FRAMES = 1500
"""Frames of a window (60 s)."""

MOST_CONTEXT = 16
"""Frames that come ahead of a window."""

MOST_ROWS = 4096
"""Labels and negatives of a request."""

MOST_SAMPLES = 1 << 22
"""Samples of a request: 87 s of sound, however small they are coded."""

MOST_VALUES = 1 << 23
"""Scores, and values of embeddings, of an answer to several windows; 32 MiB."""

MOST_HEAD = 256 * 1024
"""Bytes of a head."""

MOST_BODY = 48 * 1024 * 1024
"""Bytes of a request."""

Coding = Literal["pcm16", "flac", "f32", "opus"]
"""How audio is sent."""

_SHA256 = r"^[0-9a-f]{64}$"
_Index = Annotated[int, Field(ge=-(1 << 53), le=1 << 53)]


class WireHead(BaseModel):
    """Part of a head; what a later version has added is left out."""

    model_config = ConfigDict(strict=True, frozen=True, extra="ignore", hide_input_in_errors=True)


class ItemHead(WireHead):
    """A window to score.

    key: the stream's name; epoch: random, another for each beginning of it. start: absolute sample
    of the first frame; begin: of the first sample that is sent. The others as a Window's.
    """

    key: Annotated[str, Field(min_length=1, max_length=300)]
    epoch: Annotated[str, Field(pattern=r"^[0-9a-f]{32}$")]
    start: _Index
    begin: _Index
    frames: Annotated[int, Field(ge=1, le=MOST_FRAMES)]
    done: Annotated[int, Field(ge=0, le=MOST_FRAMES)] = 0
    last: bool = False
    wire: Coding
    length: Annotated[int, Field(ge=1, le=MOST_BODY)]

    @property
    def count(self) -> int:
        """Samples that are sent."""
        return self.start + self.frames * FRAME - self.begin


class RowsHead(WireHead):
    """Sizes of the label set that comes with a request."""

    labels: Annotated[int, Field(ge=1, le=MOST_ROWS)]
    negatives: Annotated[int, Field(ge=0, le=MOST_ROWS)]
    width: Annotated[int, Field(ge=1, le=16_384)]


class RequestHead(WireHead):
    """What is asked.

    identity: of the checkpoint. labels: the label set's SHA-256. embed: embeddings are wanted.
    """

    version: int
    identity: Annotated[str, Field(max_length=200)]
    labels: Annotated[str, Field(pattern=_SHA256)]
    embed: bool = False
    rows: RowsHead | None = None
    items: Annotated[list[ItemHead], Field(min_length=1, max_length=MOST_ITEMS)]


class ResultHead(WireHead):
    """need: "window": all of it is wanted. Else `frames` scores, and from where on it goes on."""

    need: Literal["window"] | None = None
    frames: Annotated[int, Field(ge=0, le=MOST_FRAMES)] = 0
    wants: _Index = 0


class ReplyHead(WireHead):
    """need: "labels": their rows are wanted. context: frames wanted ahead of a whole window."""

    version: int
    need: Literal["labels"] | None = None
    context: Annotated[int, Field(ge=0, le=MOST_CONTEXT)] = 0
    labels: Annotated[int, Field(ge=0, le=MOST_ROWS)] = 0
    width: Annotated[int, Field(ge=0, le=16_384)] = 0
    items: list[ResultHead] = []
