"""Settings of second opinions on events of live sources."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import AfterValidator, Field

from pe_stream.config.labels import LabelSettings
from pe_stream.config.values import CheckpointName, Device, PathText, Section, Text
from pe_stream.core.opinion import OpinionTexts

Around = Annotated[float, Field(ge=1, le=15)]
"""Seconds before or after an event's peak."""


def _another(checkpoint: str) -> str:
    if checkpoint == "embedded":
        raise ValueError(
            "the embedded checkpoint hears moments, and has no opinion on what surrounds them: "
            "name a PE-AV checkpoint, such as facebook/pe-av-small-16-frame, or a folder"
        )
    return checkpoint


class SecondOpinionSettings(Section):
    """Another model listens again to what made an event, and tells what it makes of it."""

    checkpoint: Annotated[CheckpointName, AfterValidator(_another)]
    """Name of a PE-AV checkpoint on the Hugging Face hub, or a folder."""

    revision: Text | None = None
    """Branch, tag or commit of a checkpoint from the hub; a commit pins it."""

    cache: PathText | None = None
    """Folder for downloaded checkpoints; default: where Hugging Face's libraries keep them."""

    device: Device = "auto"
    """`auto` (a GPU if there is one), `cpu`, `cuda` or `cuda:N`."""

    dtype: Literal["auto", "float32", "bfloat16"] = "auto"
    """Number format; `auto` is bfloat16 where it is fast, else float32."""

    threads: Annotated[int, Field(ge=1, le=1024)] = 1
    """CPU threads of its process, which has the lowest priority."""

    before_s: Around = 4.0
    """Seconds before an event's peak that are listened to."""

    after_s: Around = 4.0
    """Seconds after it."""

    pictures: Annotated[int, Field(ge=1, le=16)] = 8
    """Pictures of them that are looked at, at most, where a source has a `picture`."""

    wait_s: Annotated[float, Field(ge=1, le=3600)] = 60.0
    """Seconds after which an opinion that is not there yet is given up."""

    labels: Annotated[tuple[str, ...], Field(strict=False, min_length=1)] | None = None
    """Labels whose events get one; default: all."""

    def wants(self, label: str) -> bool:
        """Whether events of a label get an opinion."""
        return self.labels is None or label in self.labels


def texts_of(label: LabelSettings) -> OpinionTexts:
    """What of a label a second opinion compares with."""
    seen = label.see or label.prompts
    return OpinionTexts(tuple(label.prompts), tuple(seen), tuple(label.negatives))
