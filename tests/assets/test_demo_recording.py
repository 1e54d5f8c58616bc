"""What the embedded checkpoint hears of the demo recording: what was put in, and little else."""

from __future__ import annotations

import csv
import json

import pytest
from processes import pe_stream

from pe_stream.assets import DEMO_RECORDING, DEMO_TRUTH, EVERYDAY

pytestmark = pytest.mark.heavy

MISSED = {("door_knock", 45.5), ("telephone", 22.5)}
"""A knock while somebody speaks; and the telephone, which is taken for an alarm clock."""

TAKEN_FOR = {"telephone": "clock_alarm", "clock_alarm": "speech"}
"""What some sounds are taken for, too."""

EARLY_S = 0.1
"""Scores may rise so much before a sound."""

NO_LABEL = "tone"


@pytest.fixture(scope="module")
def heard() -> list[tuple[str, float, float]]:
    done = pe_stream("detect", DEMO_RECORDING, "-c", EVERYDAY)
    assert done.returncode == 0, done.stderr
    events = [json.loads(line) for line in done.stdout.splitlines()]
    return [(event["label"], event["onset_s"], event["offset_s"]) for event in events]


def truth() -> list[tuple[str, float, float]]:
    with DEMO_TRUTH.open(encoding="utf-8", newline="") as lines:
        return [
            (row["label"], float(row["onset_s"]), float(row["offset_s"]))
            for row in csv.DictReader(lines)
        ]


def test_every_sound_is_heard_where_it_is(heard: list[tuple[str, float, float]]) -> None:
    for label, onset_s, offset_s in truth():
        if label == NO_LABEL or (label, onset_s) in MISSED:
            continue
        found = [(a, b) for name, a, b in heard if name == label and a < offset_s and onset_s < b]
        assert found, f"{label} at {onset_s}"
        assert abs(found[0][0] - onset_s) < 1.5, f"{label} at {onset_s}: {found}"
    onsets = [min(a for name, a, _ in heard if name == label) for label, _, _ in truth()[:4]]
    assert onsets == pytest.approx([1.5, 5.5, 9.5, 13.5], abs=0.5)


def test_nothing_else_is_heard(heard: list[tuple[str, float, float]]) -> None:
    sounding = truth()
    sounding += [(TAKEN_FOR[name], a, b) for name, a, b in truth() if name in TAKEN_FOR]
    sounding = [(name, a - EARLY_S, b) for name, a, b in sounding]
    for label, onset_s, offset_s in heard:
        assert any(label == name and onset_s < b and a < offset_s for name, a, b in sounding), (
            f"{label} at {onset_s}"
        )
