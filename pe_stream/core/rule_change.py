"""A change of a label's rule while the daemon runs."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

from pe_stream.core.types import LabelRule


@dataclass(frozen=True, slots=True)
class RuleChange:
    """A change of a rule; what is None stays.

    An off_threshold comes with its threshold: both are set. Without one, the off threshold is in
    the proportion that it has to the threshold as both were set last, whatever thresholds were in
    force in between. as_set: of a change that stands for several, what both were set to.
    """

    threshold: float | None = None
    off_threshold: float | None = None
    enabled: bool | None = None
    as_set: tuple[float, float] | None = None

    def __post_init__(self) -> None:
        """Raise ValueError where an off threshold comes alone."""
        if self.off_threshold is not None and self.threshold is None:
            raise ValueError("an off_threshold is set with its threshold")

    def of(self, rule: LabelRule) -> LabelRule:
        """The rule with the change made."""
        enabled = rule.enabled if self.enabled is None else self.enabled
        if self.threshold is None:
            return replace(rule, enabled=enabled)
        as_set = rule.as_set or (rule.threshold, rule.off_threshold)
        if self.off_threshold is not None:
            as_set = self.as_set or (self.threshold, self.off_threshold)
        return replace(
            rule,
            threshold=self.threshold,
            off_threshold=_off(self.threshold, as_set),
            enabled=enabled,
            as_set=None if self.threshold == as_set[0] else as_set,
        )

    def after(self, earlier: RuleChange) -> RuleChange:
        """One change that does what the earlier one and then this one would do."""
        enabled = earlier.enabled if self.enabled is None else self.enabled
        if self.threshold is None:
            return replace(earlier, enabled=enabled)
        if self.off_threshold is not None or earlier.off_threshold is None:
            return replace(self, enabled=enabled)
        as_set = earlier.as_set or (earlier.threshold or 0.0, earlier.off_threshold)
        return RuleChange(self.threshold, _off(self.threshold, as_set), enabled, as_set)


def joined(
    earlier: Mapping[str, RuleChange], later: Mapping[str, RuleChange]
) -> Mapping[str, RuleChange]:
    """Changes of a source's labels, one after the other."""
    both = {
        label: change.after(earlier[label]) if label in earlier else change
        for label, change in later.items()
    }
    return {**earlier, **both}


def _off(threshold: float, as_set: tuple[float, float]) -> float:
    """The off threshold of `threshold`, in proportion; never above it."""
    if threshold == as_set[0]:
        return as_set[1]
    return min(threshold, as_set[1] / as_set[0] * threshold)
