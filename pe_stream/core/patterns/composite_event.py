"""Sounds that make an event only together: onset of the first, offset of the last."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Self

from pe_stream.core.tracker import Detection
from pe_stream.core.types import LabelRule, Phase, Reason


@dataclass(slots=True)
class Together:
    """Elements that make an event so far; `weight` is the number of frames that `total` is over."""

    onset: int
    offset: int
    peak: float
    peak_frame: int
    total: float
    weight: int
    threshold: float

    @classmethod
    def of(cls, elements: Iterable[Detection]) -> Self:
        """These together, in their order: at least one; the threshold is that of the last."""
        first, *others = elements
        length = first.offset - first.onset
        together = cls(
            first.onset,
            first.offset,
            first.peak,
            first.peak_frame,
            first.mean * length,
            length,
            first.threshold,
        )
        for element in others:
            together.add(element)
        return together

    def add(self, element: Detection) -> None:
        """Take a further one, which may begin before those so far have ended."""
        length = element.offset - element.onset
        self.offset = element.offset
        self.total += element.mean * length
        self.weight += length
        if element.peak > self.peak:
            self.peak, self.peak_frame = element.peak, element.peak_frame

    def detection(self, phase: Phase, reason: Reason | None = None) -> Detection:
        """The whole event as it is now."""
        return Detection(
            phase,
            self.onset,
            self.offset,
            self.peak,
            self.peak_frame,
            self.total / self.weight,
            self.threshold,
            reason,
        )


def element_rule(rule: LabelRule, update_every: int = 0) -> LabelRule:
    """The rule of one element: the label's own, without the keys of the whole event."""
    return replace(rule, cooldown=0, update_every=update_every, pattern=None)
