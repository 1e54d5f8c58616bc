"""A change of a label's rule while the daemon runs."""

from __future__ import annotations

from dataclasses import dataclass, replace

from pe_stream.core.types import LabelRule


@dataclass(frozen=True, slots=True)
class RuleChange:
    """A change of a rule; what is None stays.

    Without an off_threshold, that of the rule keeps its ratio to the threshold.
    """

    threshold: float | None = None
    off_threshold: float | None = None
    enabled: bool | None = None

    def of(self, rule: LabelRule) -> LabelRule:
        """The rule with the change made."""
        on = rule.threshold if self.threshold is None else self.threshold
        off = self.off_threshold or rule.off_threshold / rule.threshold * on  # never above
        enabled = rule.enabled if self.enabled is None else self.enabled
        return replace(rule, threshold=on, off_threshold=off, enabled=enabled)

    def after(self, earlier: RuleChange) -> RuleChange:
        """One change that does what the earlier one and then this one would do."""
        enabled = earlier.enabled if self.enabled is None else self.enabled
        if self.threshold is None:
            off = self.off_threshold or earlier.off_threshold
            return RuleChange(earlier.threshold, off, enabled)
        off = self.off_threshold
        if off is None and earlier.off_threshold is not None and earlier.threshold is not None:
            off = earlier.off_threshold / earlier.threshold * self.threshold
        return RuleChange(self.threshold, off, enabled)
