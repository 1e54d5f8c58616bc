"""The table, and the JSON."""

from __future__ import annotations

import json
from typing import Any

import pytest

from pe_stream.workbench.evaluation.report import ahead as who_is_ahead
from pe_stream.workbench.evaluation.report import as_json, as_table


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
        "| label | clips | AP: ours | YAMNet | top-1: ours | YAMNet |  ahead |",
        "| ----- | ----: | -------: | -----: | ----------: | -----: | -----: |",
        "| dog   |    12 |    0.700 |  0.700 |       1.000 |  0.500 |      = |",
        r"| a\|b  |     0 |        - |      - |           - |      - |        |",
        "| cat   |     3 |    0.200 |  0.300 |       0.250 |  0.500 | YAMNet |",
        "",
        "No clip of: a|b.",
        "",
        "YAMNet is ahead of ours for 1 of 2 labels (AP): cat.",
    ]


def strong(*, peer: bool) -> dict[str, Any]:
    row = {
        **dict.fromkeys(("auroc", "psds1", "best_f1", "recall_at_1_per_hour"), 0.5),
        **dict.fromkeys(("threshold", "f1", "recall", "false_alarms_per_hour"), 0.5),
        "onset_error_median_s": 0.5,
        "events": 3,
    }
    summary = {
        "auroc": 0.5,
        "psds1": 0.5,
        "best_f1": 0.5,
        "recall_at_1_per_hour": 0.5,
        "f1": 0.5,
        "frame_f1": 0.5,
        "recall": 0.5,
        "false_alarms_per_hour": 0.5,
        "background_false_alarms_per_hour": 0.5,
        "onset_error_median_s": 0.5,
        "onset_error_p90_s": 0.5,
    }
    ours = {"summary": summary, "labels": {"dog": row, "cat": row | {"events": 0}}}
    theirs = {"summary": dict.fromkeys(summary, 0.25), "labels": ours["labels"]}
    systems = {"pe_stream": ours, **({"yamnet": theirs} if peer else {})}
    return weak(peer=peer) | {"labels": "strong", "systems": systems}


def ahead(text: str) -> dict[str, str]:
    """The last column of the summary, by row."""
    table = text.split("\n\n")[1].splitlines()[2:]
    cells = [[cell.strip() for cell in line.strip("|").split("|")] for line in table]
    return {row[0]: row[-1] for row in cells}


def test_rows_that_depend_on_a_threshold_name_no_winner() -> None:
    text = as_table(strong(peer=True))
    assert ahead(text) == {
        "AUROC, mean of labels": "ours",
        "PSDS1": "ours",
        "event F1, best threshold per label": "ours",
        "event F1, frames above the threshold": "",
        "event F1, events as detected": "",
        "recall": "",
        "recall at 1 false alarm/h per label": "ours",
        "false alarms/h, all labels": "",
        "false alarms/h on background": "",
        "onset error, median (s)": "",
        "onset error, 90th percentile (s)": "",
    }
    said = "Rows that depend on a threshold name no winner: "
    assert text.split("\n\n")[2].startswith(said)
    assert said not in as_table(strong(peer=False))
    assert said not in as_table(weak(peer=True))


def test_labels_that_nothing_is_of_are_named() -> None:
    assert "\n\nNo event of: cat.\n\n" in as_table(strong(peer=True))
    everything = strong(peer=False)
    everything["systems"]["pe_stream"]["labels"].pop("cat")
    assert "No event of" not in as_table(everything)


def test_a_peer_without_some_classes_is_compared_over_the_labels_that_both_know() -> None:
    report = weak(peer=True)
    report["systems"]["pe_stream"]["both_know"] = {
        "labels": ["a|b", "cat"],
        "summary": {"top1": 0.25, "map": 0.2, "auroc": None},
    }
    report["systems"]["yamnet"]["deaf"] = ["dog"]
    assert as_table(report).split("\n\n")[1:3] == [
        (
            "| figure |  ours | ours (1) | YAMNet (1) |  ahead |\n"
            "| ------ | ----: | -------: | ---------: | -----: |\n"
            "| top-1  | 0.500 |    0.250 |      0.250 |      = |\n"
            "| mAP    | 0.610 |    0.200 |      0.620 | YAMNet |"
        ),
        "(1): over the labels that both know; YAMNet has no class for dog.",
    ]


def test_the_backgrounds_of_the_empty_files_are_named() -> None:
    report = weak(peer=False) | {"background_hours": 0.01, "backgrounds": {"hiss": 1, "rain": 2}}
    assert "(0.6 min without events over hiss, rain)." in as_table(report)


def test_without_a_peer() -> None:
    lines = as_table(weak(peer=False)).splitlines()
    assert "| figure |  ours |" in lines
    assert "| label | clips |    AP | top-1 |" in lines
    assert "YAMNet" not in "".join(lines)


@pytest.mark.parametrize(
    ("ours", "yamnet", "mn04", "more", "who"),
    [
        (0.5, 0.4, None, True, "ours"),
        (0.5, 0.4, None, False, "YAMNet"),
        (0.50001, 0.5, None, True, "="),
        (None, 0.5, None, True, ""),
        (0.5, None, None, True, ""),
        (120.0, 3.0, None, False, "YAMNet"),
        (0.5, 0.4, 0.6, True, "mn04"),
        (0.5, 0.6, 0.6, True, "YAMNet, mn04"),
        (0.6, 0.6, 0.6, True, "="),
        (None, 0.4, 0.6, True, "mn04"),
        (0.5, None, 0.5, True, "="),
    ],
)
def test_who_is_ahead(
    ours: float | None,
    yamnet: float | None,
    mn04: float | None,
    more: bool,  # noqa: FBT001
    who: str,
) -> None:
    figures = {"ours": ours, "YAMNet": yamnet, "mn04": mn04}
    assert who_is_ahead(figures, more=more) == who


def three(mode: str) -> dict[str, Any]:
    """A report with two peers more."""
    report = weak(peer=True) if mode == "weak" else strong(peer=True)
    systems = report["systems"]
    best = json.loads(json.dumps(systems["yamnet"]))
    best["labels"]["dog"] |= {"ap": 0.9, "auroc": 0.9, "recall_at_1_per_hour": 0.25}
    systems |= {"mn04": best, "mn04_1s": systems["yamnet"]}
    return report


def test_several_peers_stand_side_by_side_in_one_order() -> None:
    text = as_table(three("strong"))
    heads = [line for line in text.splitlines() if line.startswith(("| figure", "| label"))]
    assert [[cell.strip() for cell in line.strip("|").split("|")] for line in heads] == [
        ["figure", "ours", "YAMNet", "mn04 1 s", "mn04", "ahead"],
        [
            *("label", "events"),
            *("AUROC: ours", "YAMNet", "mn04 1 s", "mn04"),
            *("recall at 1/h: ours", "YAMNet", "mn04 1 s", "mn04"),
            "ahead",
        ],
        [
            *("label", "events", "PSDS1", "best F1", "threshold", "F1", "recall"),
            *("false alarms/h", "onset error (s)"),
        ],
    ]
    dog = next(line for line in text.splitlines() if line.startswith("| dog"))
    assert [cell.strip() for cell in dog.strip("|").split("|")] == [
        *("dog", "3", "0.500", "0.500", "0.500", "0.900", "0.500", "0.500", "0.500", "0.250"),
        "mn04",
    ]
    assert "\n\nOurs alone:\n\n" in text
    assert max(map(len, text.splitlines()[4:])) <= 140
    assert text.endswith(
        "YAMNet is ahead of ours for none of 2 labels (AUROC).\n"
        "mn04 1 s is ahead of ours for none of 2 labels (AUROC).\n"
        "mn04 is ahead of ours for 1 of 2 labels (AUROC): dog."
    )
    assert "Ours alone" not in as_table(three("weak"))


def test_peers_that_know_different_labels_are_compared_over_those_that_all_know() -> None:
    report = three("weak")
    systems = report["systems"]
    for name, deaf in {"yamnet": ["dog"], "mn04_1s": ["dog"], "mn04": ["cat"]}.items():
        systems[name] = systems[name] | {"deaf": deaf}
    shared = {"labels": ["a|b"], "summary": {"top1": 0.125, "map": 0.25, "auroc": None}}
    for name in systems:
        systems[name] = systems[name] | {"both_know": shared}
    table, said = as_table(report).split("\n\n")[1:3]
    assert table.splitlines()[0].split("|")[1:-1] == [
        *(" figure ", "  ours ", " ours (0) ", " YAMNet (0) ", " mn04 1 s (0) ", " mn04 (0) "),
        " ahead ",
    ]
    assert table.splitlines()[2].count("0.125") == 4
    assert said == (
        "(0): over the labels that all know; YAMNet has no class for dog;"
        " mn04 1 s has no class for dog; mn04 has no class for cat."
    )


def test_json_has_no_numbers_that_are_none() -> None:
    text = as_json({"a": float("nan"), "b": [float("inf"), 1.5], "c": ("ü",)})
    assert json.loads(text) == {"a": None, "b": [None, 1.5], "c": ["ü"]}
