"""Settings of a label: the prompts that describe a sound, and what makes it an event."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import replace
from math import ceil
from typing import Annotated, Self

from pydantic import (
    AfterValidator,
    ConfigDict,
    Field,
    ValidationInfo,
    field_validator,
    model_validator,
)

from pe_stream.config.loud import LeastDb, LoudKey
from pe_stream.config.patterns import RHYTHM_THRESHOLD, FollowKey, PatternKey
from pe_stream.config.times import HoursSettings
from pe_stream.config.values import (
    Backgrounds,
    Examples,
    Negatives,
    Prompts,
    Section,
    frames,
    nearest_frame,
)
from pe_stream.core.hours import WeeklySpan
from pe_stream.core.types import SMOOTHEST_S, LabelRule, Recommended, Rhythm
from pe_stream.errors import ConfigError

DEFAULT_THRESHOLD = 0.5
"""Threshold of a label for which neither the configuration nor the checkpoint has one."""

OFF_RATIO = 0.8
"""Off threshold as a part of the threshold, where the configuration has none."""

Probability = Annotated[float, Field(gt=0, lt=1)]
"""Score strictly between 0 and 1."""


def _at_most_the_threshold(value: float | None, info: ValidationInfo) -> float | None:
    threshold = info.data.get("threshold")
    if value is not None and threshold is not None and value > threshold:
        raise ValueError(
            f"off_threshold ({value:g}) is above threshold ({threshold:g}): "
            "an event would end as it begins"
        )
    return value


OffThreshold = Annotated[Probability | None, AfterValidator(_at_most_the_threshold)]
"""Score below which an event ends, at most the section's `threshold`."""


class ScheduleSettings(HoursSettings):
    """What is other than usual with a label for a time; at least one of the last three keys."""

    model_config = ConfigDict(
        json_schema_extra={
            "anyOf": [{"required": [key]} for key in ("threshold", "off_threshold", "enabled")]
        }
    )

    threshold: Probability | None = None
    """Score (0 to 1, exclusive) that starts an event; default: the label's own."""

    off_threshold: OffThreshold = None
    """Score (0 to 1, exclusive) below which an event ends; default: as the label has it, in
    proportion to `threshold`."""

    enabled: bool | None = None
    """Whether the label makes events; default: the label's own."""

    @model_validator(mode="after")
    def _of_some_use(self) -> Self:
        if self.threshold is None and self.off_threshold is None and self.enabled is None:
            raise ValueError("give at least one of threshold, off_threshold and enabled")
        return self


class LabelSettings(Section):
    """A sound to listen for, and when its scores make an event. Without keys: the defaults."""

    prompts: Prompts = Field(default=(), json_schema_extra={"default": "the name in words"})
    """Descriptions of the sound, averaged; default: the label's name, `_` and `-` as spaces."""

    negatives: Negatives = Field(default=(), alias="not")
    """Descriptions that suppress the label while one of them scores higher."""

    threshold: Probability | None = None
    """Score (0 to 1, exclusive) that starts an event; default: what the checkpoint recommends
    for this label, else 0.5."""

    off_threshold: OffThreshold = None
    """Score (0 to 1, exclusive) below which an event ends; at most `threshold`; default:
    where the checkpoint's `threshold` is taken, what it recommends with it; else 0.8 times
    `threshold`."""

    smooth_s: Annotated[float, Field(ge=0, le=SMOOTHEST_S)] | None = None
    """Seconds of which the mean of the scores is what thresholds are compared with, half of them
    after the moment: events start later by so much; 0: the scores as they are; default: what the
    checkpoint recommends for this label, else 0."""

    min_on_s: Annotated[float, Field(ge=0, le=60)] = 0.2
    """Seconds; shorter sounds are no event."""

    min_off_s: Annotated[float, Field(ge=0, le=3600)] = 0.4
    """Seconds; shorter gaps within an event are bridged; those of a pattern's `gap_s` never."""

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

    schedule: Annotated[tuple[ScheduleSettings, ...], Field(strict=False)] = ()
    """What is other than usual at times: the first entry whose time it is counts; default: none."""

    examples: Examples = ()
    """Recordings of the sound, which correct the prompts; paths from the file's own folder."""

    background: Backgrounds = ()
    """Recordings without the sound, from where it is listened for, that the examples are set
    against; paths as of `examples`."""

    pattern: PatternKey = None
    """What such sounds must form to make an event: T3 (smoke alarm), T4 (carbon monoxide alarm),
    so many of them, or another label's event after one; default: each is an event."""

    follow: FollowKey = None
    """Raises the threshold above what the room scores without events, over the last hour; true, or
    how; default: the threshold stays where it is."""

    loud: LoudKey = None
    """Makes the label a loud sound, whatever it is: the level is its score, and no model is asked;
    true, or how loud; default: the prompts say what it is."""

    least_db: LeastDb | None = None
    """Level (dBFS, over 0.5 s) that sounds of the label must have; default: any."""

    see: Negatives = ()
    """Descriptions of what is in view meanwhile, averaged, for a second opinion on a film;
    default: the prompts."""

    def named(self, name: str) -> LabelSettings:
        """These settings for a label of this name: it is the prompt where none was given.

        A label that is loud has none.
        """
        if self.prompts or self.loud is not None:
            return self
        return self.model_copy(update={"prompts": (re.sub(r"[_-]+", " ", name).strip(),)})

    def scheduled(self, holds: Callable[[WeeklySpan], bool]) -> int | None:
        """Which entry of the schedule is in force; None is none.

        holds: whether it is the time of a span.
        """
        entries = enumerate(self.schedule)
        return next((number for number, entry in entries if holds(entry.span)), None)

    def rule(
        self,
        name: str,
        recommended: Recommended | None = None,
        holds: Callable[[WeeklySpan], bool] = lambda _: False,
    ) -> LabelRule:
        """The tracker's rule: durations in frames, rounded half up, max_length at least 1.

        recommended: by the checkpoint, for this label. holds: whether it is the time of a
        span, for the schedule. Raises ConfigError where a threshold arrived at, at any time, is
        below its `off_threshold`.
        """
        usual = self._rule(name, recommended)
        scheduled = [
            self._at_times(entry, usual, f"labels.{name}.schedule[{number}]")
            for number, entry in enumerate(self.schedule)
        ]
        now = self.scheduled(holds)
        return usual if now is None else scheduled[now]

    def _rule(self, name: str, recommended: Recommended | None) -> LabelRule:
        pattern = None if self.pattern is None else self.pattern.core
        usual = DEFAULT_THRESHOLD
        if self.loud is not None:  # what a checkpoint recommends is about its own scores
            recommended = None
        elif isinstance(pattern, Rhythm):
            recommended, usual = None, RHYTHM_THRESHOLD
        if recommended is not None:
            usual = recommended.threshold or DEFAULT_THRESHOLD
        smooth_s = self.smooth_s
        if smooth_s is None:
            smooth_s = recommended.smooth_s if recommended else 0.0
        threshold = self.threshold or usual
        off_threshold = self.off_threshold or OFF_RATIO * threshold
        if recommended and not self.threshold and not self.off_threshold:
            off_threshold = recommended.off_threshold or off_threshold
        if off_threshold > threshold:
            origin = "the default" if recommended is None else "the checkpoint's recommendation"
            raise ConfigError(
                f"labels.{name}.off_threshold: {off_threshold:g} is above the threshold "
                f"{threshold:g} ({origin}); set threshold too, or lower off_threshold"
            )
        follow = None if self.follow is None else self.follow.core
        if follow is not None and follow.highest < threshold:
            raise ConfigError(
                f"labels.{name}.follow.highest: {follow.highest:g} is below the threshold "
                f"{threshold:g}, which is the lowest that it can be"
            )
        return LabelRule(
            name=name,
            threshold=threshold,
            off_threshold=off_threshold,
            min_on=nearest_frame(self.min_on_s),
            min_off=nearest_frame(self._bridged_s),
            max_length=max(1, nearest_frame(self.max_s)),
            cooldown=nearest_frame(self.cooldown_s),
            update_every=max(1, nearest_frame(self.update_s)) if self.update_s else 0,
            enabled=self.enabled,
            pattern=pattern,
            follow=follow,
            smooth=_odd_frames(smooth_s),
            loud=None if self.loud is None else self.loud.core,
            least_db=self.least_db,
        )

    @property
    def _bridged_s(self) -> float:
        """Shorter gaps are bridged: none of those that a pattern asks for."""
        least = self.pattern.gap_s[0] if self.pattern and self.pattern.gap_s else 0.0
        return min(self.min_off_s, least or self.min_off_s)

    def _at_times(self, entry: ScheduleSettings, usual: LabelRule, key: str) -> LabelRule:
        threshold = entry.threshold or usual.threshold
        ratio = usual.off_threshold / usual.threshold
        off_threshold = entry.off_threshold or ratio * threshold
        if off_threshold > threshold:
            raise ConfigError(
                f"{key}.off_threshold: {off_threshold:g} is above the label's threshold "
                f"{threshold:g}; set threshold too, or lower off_threshold"
            )
        enabled = usual.enabled if entry.enabled is None else entry.enabled
        return replace(usual, threshold=threshold, off_threshold=off_threshold, enabled=enabled)

    @field_validator("max_s")
    @classmethod
    def _at_least_the_shortest(cls, value: float, info: ValidationInfo) -> float:
        shortest = info.data.get("min_on_s")
        if shortest is not None and value < shortest:
            raise ValueError(f"Input should be at least min_on_s ({shortest:g})")
        return value

    @model_validator(mode="after")
    def _a_pattern_that_can_be(self) -> Self:
        pattern = self.pattern
        if pattern is None:
            return self
        if pattern.rhythm is not None and self.follow is not None:
            raise ValueError("follow raises a threshold of scores: not with a rhythm")
        if pattern.rhythm is not None and self.smooth_s:
            raise ValueError("smooth_s is a mean of scores: not with a rhythm")
        if pattern.gap_s is not None and pattern.gap_s[1] < self._bridged_s:
            raise ValueError(
                f"pattern.gap_s ends at {pattern.gap_s[1]:g}, but gaps shorter than min_off_s "
                f"({self.min_off_s:g}) are bridged: lower min_off_s"
            )
        if pattern.times is not None and pattern.within_s is not None:
            least = pattern.times * self.min_on_s + (pattern.times - 1) * self._bridged_s
            if round(least - pattern.within_s, 6) > 0:
                raise ValueError(
                    f"pattern.times: {pattern.times} sounds take {least:g} s or more, each of "
                    f"min_on_s ({self.min_on_s:g}) and the gaps of min_off_s "
                    f"({self._bridged_s:g}), and pattern.within_s is {pattern.within_s:g}: what is "
                    "shorter does not count, nearer ones are one: lower them"
                )
        if pattern.length_s is not None and pattern.length_s[1] < self.min_on_s:
            raise ValueError(
                f"pattern.length_s ends at {pattern.length_s[1]:g}, but what is shorter than "
                f"min_on_s ({self.min_on_s:g}) does not count: lower min_on_s"
            )
        if pattern.length_s is not None and pattern.length_s[0] > self.max_s:
            raise ValueError(
                f"pattern.length_s begins at {pattern.length_s[0]:g}, but max_s ({self.max_s:g}) "
                "ends every sound sooner"
            )
        return self

    @model_validator(mode="after")
    def _loud_alone(self) -> Self:
        if self.loud is None:
            return self
        words = {
            "prompts": self.prompts,
            "not": self.negatives,
            "examples": self.examples,
            "background": self.background,
        }
        if given := [key for key, value in words.items() if value]:
            raise ValueError(
                f"loud makes the level alone the score: not with {' and '.join(given)}; "
                "least_db is for sounds of a kind that must be loud"
            )
        if self.follow is not None:
            raise ValueError(
                "follow raises a threshold of a model's scores: not with loud, "
                "which follows the room with `of: background`"
            )
        return self

    @field_validator("background")
    @classmethod
    def _beside_examples(cls, value: tuple[str, ...], info: ValidationInfo) -> tuple[str, ...]:
        examples = info.data.get("examples")
        if value and examples == ():
            raise ValueError("examples are set against it, and there are none")
        for path in value:
            if path in (examples or ()):
                raise ValueError(f"{path!r} is among the label's examples")
        return value

    @field_validator("negatives")
    @classmethod
    def _no_prompt_of_its_own(cls, value: tuple[str, ...], info: ValidationInfo) -> tuple[str, ...]:
        for text in value:
            if text in info.data.get("prompts", ()):
                raise ValueError(f"{text!r} is among the label's own prompts")
        return value


def _odd_frames(seconds: float) -> int:
    """The nearest odd number of frames; of two, the smaller."""
    return 1 + 2 * max(0, ceil((frames(seconds) - 1) / 2 - 0.5))
