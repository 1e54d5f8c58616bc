"""`pe-stream bench --start` as a user runs it, with a real daemon in it."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import pytest
from processes import pe_stream

from pe_stream.errors import UnavailableError
from pe_stream.workbench.bench import start

pytestmark = pytest.mark.heavy

STEPS = [
    "Python, numpy",
    "torch",
    "configuration",
    "what hears: modules",
    "what hears: checkpoint and labels",
    "first hop",
]


@pytest.mark.timeout(600)
@pytest.mark.skipif(sys.platform != "linux", reason="it reads /proc")
def test_steps_of_a_first_start_and_a_later_one(tmp_path: Path) -> None:
    done = pe_stream("bench", "--start", "--json", tmp_path / "start.json")
    assert done.returncode == 0, done.stderr
    made: dict[str, Any] = json.loads((tmp_path / "start.json").read_text("utf-8"))
    assert list(made) == ["first", "later"]
    for told in made.values():
        assert [each["step"] for each in told["steps"]] == STEPS
        memory = [each["resident_mb"] for each in told["steps"]]
        assert memory[-1] > memory[0] > 1
        spent_s = sum(each["cpu_s"] for each in told["steps"])
        assert all(each["wall_s"] > 0 for each in (*told["steps"], told["ready"]))
        assert told["ready"]["cpu_s"] > 0.5 * spent_s
    first, later = (each["steps"][4]["cpu_s"] for each in made.values())
    assert later < 0.5 * first  # the text tower is read at the first start alone
    assert made["later"]["ready"]["cpu_s"] < made["first"]["ready"]["cpu_s"]
    lines = done.stdout.splitlines()
    assert [line.split(" | ")[0].strip("| ") for line in lines[2:]] == [
        *STEPS,
        "a real daemon, to READY",
    ]


def test_a_checkpoint_that_cannot_be_had_is_named() -> None:
    done = pe_stream("bench", "--start", "--checkpoint", "/no/such/folder")
    assert done.returncode == 69
    assert "/no/such/folder" in done.stderr


def test_without_proc_it_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(start, "PROC", tmp_path / "proc")
    with pytest.raises(UnavailableError, match="only Linux has"):
        start.measure("embedded", None)
