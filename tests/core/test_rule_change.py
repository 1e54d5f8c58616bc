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
    RuleChange(5e-324),
]


def test_the_off_threshold_keeps_its_ratio() -> None:
    changed = RuleChange(0.25).of(RULE)
    assert (changed.threshold, changed.off_threshold, changed.enabled) == (0.25, 0.2, True)
    changed = RuleChange(0.6, 0.3, enabled=False).of(RULE)
    assert (changed.threshold, changed.off_threshold, changed.enabled) == (0.6, 0.3, False)
    assert RuleChange().of(RULE) == RULE


def test_the_proportion_is_that_of_what_was_set_not_of_what_is_in_force() -> None:
    rule = LabelRule("dog", 0.5, 0.2)
    for threshold in (5e-324, 1e-300, 0.3, 0.7, 1 / 3, 0.999, 1e-4):
        rule = RuleChange(threshold).of(rule)
        assert 0 <= rule.off_threshold <= rule.threshold
    assert rule.off_threshold == pytest.approx(0.4 * 1e-4)
    rule = RuleChange(0.5).of(RuleChange(enabled=False).of(rule))
    assert rule == LabelRule("dog", 0.5, 0.2, enabled=False), "to the last bit"


def test_what_is_set_anew_is_what_counts() -> None:
    rule = RuleChange(0.8).of(RuleChange(0.6, 0.6).of(RuleChange(0.1).of(RULE)))
    assert (rule.threshold, rule.off_threshold) == (0.8, 0.8)


def test_an_off_threshold_comes_with_its_threshold() -> None:
    with pytest.raises(ValueError, match="with its threshold"):
        RuleChange(off_threshold=0.3)


def test_several_as_one_do_what_they_do_one_by_one() -> None:
    for changes in itertools.product(CHANGES, repeat=3):
        rule, one = RULE, RuleChange()
        for change in changes:
            rule, one = change.of(rule), change.after(one)
        joined = one.of(RULE)
        assert (joined.threshold, joined.enabled) == (rule.threshold, rule.enabled), changes
        assert joined.off_threshold == pytest.approx(rule.off_threshold), changes
        assert joined.off_threshold <= joined.threshold, changes
        assert joined.as_set == rule.as_set, changes
