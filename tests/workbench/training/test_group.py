"""Processes that train together: what they average, and how they end when one of them does."""

from __future__ import annotations

import multiprocessing
import os
import subprocess
import sys
from pathlib import Path

import forked
import group_work
import pytest
import torch
from stand_ins import eventually
from timing import within

from pe_stream.workbench.training import group
from pe_stream.workbench.training.group import EVERY, Group, run

pytestmark = pytest.mark.heavy

SIZE = 2


@pytest.fixture(autouse=True)
def forked_group(monkeypatch: pytest.MonkeyPatch) -> None:
    """The other processes need not import torch; those of a killed one, and of `train`, do."""
    monkeypatch.setattr(group, "spawn", forked.spawn)
    monkeypatch.setattr(group, "_PARTING_S", within(60))  # on a busy machine an end takes long


def test_two_processes_get_the_mean_of_both(tmp_path: Path) -> None:
    threads = torch.get_num_threads()
    run(SIZE, tmp_path / "meet", group_work.average, tmp_path)
    for rank in range(SIZE):
        kept = torch.load(tmp_path / f"{rank}.pt")
        first, second = kept["tensors"]
        assert torch.equal(first, torch.full((2, 3), 0.5))
        assert torch.equal(second, torch.arange(4, dtype=torch.float64) * 1.5)
        assert kept["threads"] == 1
    assert torch.get_num_threads() == threads
    assert not torch.distributed.is_initialized()
    assert not multiprocessing.active_children()


@pytest.mark.parametrize(
    ("how", "message"),
    [("raises", "the second gave up"), ("killed", "SIGKILL"), ("leaves", "(?i)connection")],
)
def test_one_that_ends_early_ends_all_with_an_error(how: str, message: str, tmp_path: Path) -> None:
    with pytest.raises(RuntimeError, match=message):
        run(SIZE, tmp_path / "meet", group_work.wait_for_one_that_dies, how)
    assert not torch.distributed.is_initialized()
    assert not multiprocessing.active_children()


def test_one_that_dies_before_all_have_met_is_not_waited_for(tmp_path: Path) -> None:
    with pytest.raises(RuntimeError, match="exit code 3"):
        run(SIZE, tmp_path / "meet", group_work.nothing, group_work.DiesOnArrival())
    assert not multiprocessing.active_children()


def test_an_error_of_the_first_is_raised_as_it_is_and_ends_the_others(tmp_path: Path) -> None:
    with pytest.raises(KeyError, match="mine"):
        run(SIZE, tmp_path / "meet", group_work.fail_here)
    assert not multiprocessing.active_children()


def test_one_that_is_killed_leaves_no_other_behind(tmp_path: Path) -> None:
    """Nobody is told: a second training in the folder would meet the first one's process."""
    script = (
        "import sys; from pathlib import Path; import group_work;"
        "from pe_stream.workbench.training.group import run; out = Path(sys.argv[1]);"
        "run(2, out / 'meet', group_work.stay, out)"
    )
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    words = [sys.executable, "-c", script, str(tmp_path)]
    first = subprocess.Popen(words, env=environment)
    files = [tmp_path / f"{rank}.pid" for rank in range(SIZE)]
    try:
        assert eventually(lambda: all(file.exists() and file.read_text() for file in files), 60)
    finally:
        first.kill()
        first.wait()
    second = Path("/proc", files[1].read_text("utf-8"))
    assert eventually(lambda: not second.exists(), 20)


def test_alone_nothing_is_started_or_changed(tmp_path: Path) -> None:
    seen: list[object] = []
    run(1, tmp_path / "no such folder" / "meet", lambda *given: seen.extend(given), "argument")
    alone, argument = seen
    assert isinstance(alone, Group)
    assert argument == "argument"
    assert alone.first
    assert alone.every == 1
    assert Group(1, 2).every == EVERY
    weights = torch.tensor([1.0, 2.0])
    alone.average([weights])
    alone.wait()
    assert weights.tolist() == [1, 2]
