"""Settings of a label: the prompts that describe a sound, and what makes it an event."""

from __future__ import annotations

import re
from math import floor
from typing import Annotated

from pydantic import Field, ValidationInfo, field_validator

from pe_stream.config.values import Negatives, Prompts, Section, frames
from pe_stream.core.types import LabelRule
from pe_stream.errors import ConfigError

DEFAULT_THRESHOLD = 0.5
"""Where neither the configuration nor the checkpoint has one."""

OFF_RATIO = 0.8
"""Off threshold as a part of the threshold, where the configuration has none."""

Probability = Annotated[float, Field(gt=0, lt=1)]
"""Score strictly between 0 and 1."""


class LabelSettings(Section):
    """A sound to listen for, and when its scores make an event. Without keys: the defaults."""

    prompts: Prompts = Field(default=(), json_schema_extra={"default": "the name in words"})
    """Descriptions of the sound, averaged; default: the label's name, `_` and `-` as spaces."""

    negatives: Negatives = Field(default=(), alias="not")
    """Descriptions that suppress the label while one of them scores higher."""

    threshold: Probability | None = None
    """Score (0 to 1, exclusive) that starts an event; default: what the checkpoint recommends
    for this label, else 0.5."""

    off_threshold: Probability | None = None
    """Score (0 to 1, exclusive) below which an event ends; at most `threshold`; default: 0.8
    times `threshold`."""

    min_on_s: Annotated[float, Field(ge=0, le=60)] = 0.2
    """Seconds; shorter sounds are no event."""

    min_off_s: Annotated[float, Field(ge=0, le=3600)] = 0.4
    """Seconds; shorter gaps within an event are bridged."""

    max_s: Annotated[float, Field(gt=0, le=86400)] = 60.0
    """Seconds; an event that gets longer is closed there and a new one may begin."""

    cooldown_s: Annotated[float, Field(ge=0, le=86400)] = 0.0
    """Seconds after an event in which no new one begins."""

    update_s: Annotated[float, Field(ge=0, le=86400)] = 1.0
    """Seconds of sound between two update messages of an event; 0: none."""

    sources: Annotated[tuple[str, ...], Field(strict=False, min_length=1)] | None = None
    """Names of the sources to listen to; default: all."""

    enabled: bool = True
    """Whether the label makes events when the daemon starts; MQTT can switch it."""

    def named(self, name: str) -> LabelSettings:
        """These settings for a label of this name: it is the prompt where none was given."""
        if self.prompts:
            return self
        return self.model_copy(update={"prompts": (re.sub(r"[_-]+", " ", name).strip(),)})

    def rule(self, name: str, recommended: float | None = None) -> LabelRule:
        """What the tracker goes by: durations in frames, rounded half up, max_length at least 1.

        recommended: the checkpoint's threshold for this label. Raises ConfigError where the
        threshold arrived at is below `off_threshold`.
        """
        threshold = self.threshold or recommended or DEFAULT_THRESHOLD
        off_threshold = self.off_threshold or OFF_RATIO * threshold
        if off_threshold > threshold:
            origin = "the default" if recommended is None else "the checkpoint's recommendation"
            raise ConfigError(
                f"labels.{name}.off_threshold: {off_threshold:g} is above the threshold "
                f"{threshold:g} ({origin}); set threshold too, or lower off_threshold"
            )
        return LabelRule(
            name=name,
            threshold=threshold,
            off_threshold=off_threshold,
            min_on=_nearest_frame(self.min_on_s),
            min_off=_nearest_frame(self.min_off_s),
            max_length=max(1, _nearest_frame(self.max_s)),
            cooldown=_nearest_frame(self.cooldown_s),
            update_every=max(1, _nearest_frame(self.update_s)) if self.update_s else 0,
            enabled=self.enabled,
        )

    @field_validator("off_threshold")
    @classmethod
    def _at_most_the_threshold(cls, value: float | None, info: ValidationInfo) -> float | None:
        threshold = info.data.get("threshold")
        if value is not None and threshold is not None and value > threshold:
            raise ValueError(
                f"off_threshold ({value:g}) is above threshold ({threshold:g}): "
                "an event would end as it begins"
            )
        return value

    @field_validator("max_s")
    @classmethod
    def _at_least_the_shortest(cls, value: float, info: ValidationInfo) -> float:
        shortest = info.data.get("min_on_s")
        if shortest is not None and value < shortest:
            raise ValueError(f"Input should be at least min_on_s ({shortest:g})")
        return value

    @field_validator("negatives")
    @classmethod
    def _no_prompt_of_its_own(cls, value: tuple[str, ...], info: ValidationInfo) -> tuple[str, ...]:
        for text in value:
            if text in info.data.get("prompts", ()):
                raise ValueError(f"{text!r} is among the label's own prompts")
        return value


def _nearest_frame(seconds: float) -> int:
    return floor(frames(seconds) + 0.5)
