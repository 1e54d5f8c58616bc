"""The table, and the JSON."""

from __future__ import annotations

import json
from typing import Any

import pytest

from pe_stream.evaluation.report import as_json, as_table, better


def weak(*, peer: bool) -> dict[str, Any]:
    ours = {
        "summary": {"top1": 0.5, "map": 0.61, "auroc": None},
        "labels": {
            "dog": {"clips": 12, "ap": 0.7, "top1": 1.0},
            "a|b": {"clips": 0, "ap": None, "top1": None},
            "cat": {"clips": 3, "ap": 0.2, "top1": 0.25},
        },
    }
    theirs = {
        "summary": {"top1": 0.25, "map": 0.62, "auroc": None},
        "labels": {
            "dog": {"clips": 12, "ap": 0.7000001, "top1": 0.5},
            "a|b": {"clips": 0, "ap": None, "top1": None},
            "cat": {"clips": 3, "ap": 0.3, "top1": 0.5},
        },
    }
    return {
        "checkpoint_description": "embedded (7.2 M parameters) on cpu, float32",
        "set": "esc50",
        "phrasing": "plain",
        "datasets": ["esc50"],
        "folds": ["5"],
        "labels": "weak",
        "files": 15,
        "hours": 0.02,
        "background_hours": 0.0,
        "systems": {"pe_stream": ours, **({"yamnet": theirs} if peer else {})},
    }


def test_the_peer_stands_beside_and_where_it_is_ahead_it_is_said() -> None:
    text = as_table(weak(peer=True))
    assert text.splitlines() == [
        "Checkpoint: embedded (7.2 M parameters) on cpu, float32.",
        (
            "prompts: esc50 (plain); data set esc50; fold 5; 15 files, 1.2 min"
            " (0.0 min without events)."
        ),
        "",
        "| figure |  ours | YAMNet |  ahead |",
        "| ------ | ----: | -----: | -----: |",
        "| top-1  | 0.500 |  0.250 |   ours |",
        "| mAP    | 0.610 |  0.620 | YAMNet |",
        "",
        "| label | clips |    AP | AP YAMNet | top-1 | top-1 YAMNet |  ahead |",
        "| ----- | ----: | ----: | --------: | ----: | -----------: | -----: |",
        "| dog   |    12 | 0.700 |     0.700 | 1.000 |        0.500 |      = |",
        r"| a\|b  |     0 |     - |         - |     - |            - |        |",
        "| cat   |     3 | 0.200 |     0.300 | 0.250 |        0.500 | YAMNet |",
        "",
        "YAMNet is ahead for 1 of 2 labels (AP): cat.",
    ]


def test_without_a_peer() -> None:
    lines = as_table(weak(peer=False)).splitlines()
    assert "| figure |  ours |" in lines
    assert "| label | clips |    AP | top-1 |" in lines
    assert "YAMNet" not in "".join(lines)


@pytest.mark.parametrize(
    ("ours", "theirs", "more", "who"),
    [
        (0.5, 0.4, True, "ours"),
        (0.5, 0.4, False, "YAMNet"),
        (0.50001, 0.5, True, "="),
        (None, 0.5, True, ""),
        (0.5, None, True, ""),
        (120.0, 3.0, False, "YAMNet"),
    ],
)
def test_who_is_ahead(ours: float | None, theirs: float | None, more: bool, who: str) -> None:  # noqa: FBT001
    assert better(ours, theirs, more=more) == who


def test_json_has_no_numbers_that_are_none() -> None:
    text = as_json({"a": float("nan"), "b": [float("inf"), 1.5], "c": ("ü",)})
    assert json.loads(text) == {"a": None, "b": [None, 1.5], "c": ["ü"]}
