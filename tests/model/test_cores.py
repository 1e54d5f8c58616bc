"""How many cores may be used: affinity, and quotas of control groups of both versions."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

import pytest

from pe_stream.model import cores


@pytest.fixture(autouse=True)
def _bound_to_eight(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(8)), raising=False)


def available(tmp_path: Path, membership: str, files: Mapping[str, str]) -> float:
    (tmp_path / "cgroup").write_text(membership)
    for name, text in files.items():
        path = tmp_path / "groups" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return cores.available(tmp_path / "cgroup", tmp_path / "groups")


@pytest.mark.parametrize(
    ("membership", "files", "expected"),
    [
        ("0::/\n", {"cpu.max": "150000 100000\n"}, 1.5),
        ("0::/\n", {"cpu.max": "max 100000\n"}, 8),
        ("0::/a/b\n", {"a/cpu.max": "200000 100000", "a/b/cpu.max": "max 100000"}, 2),
        ("0::/a/b\n", {"a/cpu.max": "400000 100000", "a/b/cpu.max": "100000 50000"}, 2),
        ("0::/../host\n", {"cpu.max": "300000 100000", "host/cpu.max": "100000 100000"}, 3),
        ("0::/a\n", {"a/cpu.max": "1600000 100000"}, 8),
        (
            "3:cpuset:/x\n2:cpu,cpuacct:/docker/1\n0::/\n",
            {"cpu/cpu.cfs_quota_us": "250000\n", "cpu/cpu.cfs_period_us": "100000\n"},
            2.5,
        ),
        (
            "2:cpuacct,cpu:/d\n",
            {"cpu/d/cpu.cfs_quota_us": "-1\n", "cpu/d/cpu.cfs_period_us": "100000\n"},
            8,
        ),
        ("", {}, 8),
        ("no colons\n:\n", {"cpu.max": ""}, 8),
        ("0::/\n", {"cpu.max": "100000 0\n"}, 8),
        ("0::/\n", {"cpu.max": "0 100000\n"}, 8),
        ("0::/\n", {"cpu.max": "one 100000\n"}, 8),
    ],
)
def test_quotas_of_all_groups_count(
    membership: str, files: Mapping[str, str], expected: float, tmp_path: Path
) -> None:
    assert available(tmp_path, membership, files) == expected


def test_what_cannot_be_read_limits_nothing(tmp_path: Path) -> None:
    assert cores.available(tmp_path / "none", tmp_path / "none") == 8
    (tmp_path / "cgroup").write_bytes(b"0::/\xff\n")
    assert cores.available(tmp_path / "cgroup", tmp_path) == 8


@pytest.mark.parametrize(
    ("usable", "threads"), [(0.5, 1), (1, 1), (2, 1), (3.9, 1), (4, 2), (16, 8)]
)
def test_half_of_them_get_a_thread(
    usable: float, threads: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cores, "available", lambda: usable)
    assert cores.default_threads() == threads


def test_a_process_bound_to_one_core_has_one() -> None:
    code = "import os; os.sched_setaffinity(0, {min(os.sched_getaffinity(0))});"
    code += "from pe_stream.model import cores; print(cores.available() <= 1)"
    said = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert said.stdout == "True\n"
