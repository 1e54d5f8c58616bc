from __future__ import annotations

import itertools

import pytest

from pe_stream.core.rule_change import RuleChange
from pe_stream.core.types import LabelRule

RULE = LabelRule("dog", 0.5, 0.4)

CHANGES = [
    RuleChange(0.7),
    RuleChange(enabled=False),
    RuleChange(0.3, enabled=True),
    RuleChange(0.6, 0.6, enabled=True),
    RuleChange(0.8, 0.2),
]


def test_the_off_threshold_keeps_its_ratio() -> None:
    changed = RuleChange(0.25).of(RULE)
    assert (changed.threshold, changed.off_threshold, changed.enabled) == (0.25, 0.2, True)
    changed = RuleChange(0.6, 0.3, enabled=False).of(RULE)
    assert (changed.threshold, changed.off_threshold, changed.enabled) == (0.6, 0.3, False)
    assert RuleChange().of(RULE) == RULE


@pytest.mark.parametrize("changes", [*itertools.product(CHANGES, repeat=3)])
def test_several_as_one_do_what_they_do_one_by_one(changes: tuple[RuleChange, ...]) -> None:
    rule, one = RULE, RuleChange()
    for change in changes:
        rule, one = change.of(rule), change.after(one)
    joined = one.of(RULE)
    assert (joined.threshold, joined.enabled) == (rule.threshold, rule.enabled)
    assert joined.off_threshold == pytest.approx(rule.off_threshold)
    assert joined.off_threshold <= joined.threshold
