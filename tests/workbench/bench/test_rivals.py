"""`pe-stream bench --rivals`: busy processes that always end, and a hop beside them."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from functools import partial
from pathlib import Path
from typing import Any

import psutil
import pytest
from checkpoints import make_checkpoint
from processes import pe_stream
from stand_ins import LevelEngine, eventually

from pe_stream.core.windows import Framing
from pe_stream.errors import UnavailableError
from pe_stream.workbench.bench import busy, rivals

pytestmark = pytest.mark.heavy

_HOLDER = """
import time
from pe_stream.workbench.bench.busy import busy
with busy(2, 600) as numbers:
    print(*numbers, flush=True)
    time.sleep(600)
"""


def used_s(process: psutil.Process, least_s: float) -> bool:
    return bool(process.cpu_times().user > least_s)


def gone(numbers: list[int]) -> bool:
    return not any(map(computes, numbers))


def computes(number: int) -> bool:
    try:
        return bool(psutil.Process(number).status() != psutil.STATUS_ZOMBIE)
    except psutil.NoSuchProcess:
        return False


def test_rivals_compute_while_the_block_lasts() -> None:
    def block() -> None:
        with busy.busy(2, 100) as numbers:
            begun.extend(numbers)
            for process in map(psutil.Process, numbers):
                assert process.nice() == psutil.Process().nice()
                least_s = process.cpu_times().user + 0.05
                assert eventually(partial(used_s, process, least_s), 30)
            raise KeyboardInterrupt

    begun: list[int] = []
    with pytest.raises(KeyboardInterrupt):
        block()
    assert len(set(begun)) == 2
    assert gone(begun)


def test_rivals_end_by_themselves() -> None:
    with busy.busy(1, 0.1) as numbers:
        assert eventually(lambda: gone(numbers), 30)


def test_none_begun_is_said_and_none_is_left(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "executable", "/nowhere/python")
    with pytest.raises(UnavailableError, match="no rival can be begun"), busy.busy(1, 1):
        pass


def test_rivals_end_with_whoever_began_them() -> None:
    with subprocess.Popen([sys.executable, "-c", _HOLDER], stdout=subprocess.PIPE) as holder:
        assert holder.stdout is not None
        numbers = [int(each) for each in holder.stdout.readline().split()]
        assert len(numbers) == 2
        assert not gone(numbers)
        holder.kill()
        holder.wait(30)
    assert eventually(lambda: gone(numbers), 30)


def test_a_hop_is_told_beside_each_number_of_them(tmp_path: Path) -> None:
    folder, file = make_checkpoint(tmp_path / "model"), tmp_path / "bench.json"
    begun_s = time.time()
    done = pe_stream(
        *("bench", "--rivals", "--checkpoint", folder, "--seconds", "0.05", "--threads", "1"),
        *("--window", "2", "--labels", "2", "--dtype", "float32", "--json", file),
    )
    assert done.returncode == 0, done.stderr
    made = json.loads(file.read_text("utf-8"))
    assert list(made)[:3] == ["ratio_to_plain", "live_streams", "p99_latency_ms"]
    cores = max(1, int(made["machine"]["usable_cores"]))
    rows = made["rivals"]
    assert [row["rivals_per_core"] for row in rows] == [0, 1, 2, 4]
    assert [row["rivals"] for row in rows] == [0, cores, 2 * cores, 4 * cores]
    for row in rows:
        assert row["threads"] == 1
        assert 1 <= row["hop_ms"]["n"] <= rivals.HOPS
        assert row["hop_ms"]["p50"] <= row["hop_ms"]["p99"] <= row["hop_ms"]["max"]
        expected = row["hop_ms"]["p99"] / rows[0]["hop_ms"]["p50"]
        assert row["p99_to_idle_median"] == pytest.approx(expected)
    table = [line for line in done.stdout.splitlines() if line.startswith("|")]
    assert len(table) == 2 + len(rows)
    assert not [
        each
        for each in psutil.process_iter(["create_time", "cmdline"])
        if each.info["create_time"] > begun_s and busy._LOOP in (each.info["cmdline"] or [])
    ]


class Noted:
    """Threads that note when they are adjusted."""

    threads = 7
    adjusted = 0

    def adjust(self) -> None:
        Noted.adjusted += 1


def test_where_no_number_is_given_threads_follow_the_load(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rivals, "LiveThreads", Noted)
    monkeypatch.setattr(rivals, "UP_S", -0.99)
    monkeypatch.setattr(rivals, "PER_CORE", (0,))
    engine: Any = LevelEngine(["loud"])
    (row,) = rivals.measure(engine, Framing(50, 5, 5), 0.01, follow=True)
    assert row["threads"] == 7
    assert Noted.adjusted > row["hop_ms"]["n"]


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--rivals", "--start"], "--start and --rivals: give one of them"),
        (["--rivals", "--plot", "x.png"], "--plot: there is no picture of --rivals"),
        (["--rivals", "--seconds", "0"], "--seconds"),
    ],
)
def test_what_does_not_go_together_is_refused(arguments: list[str], said: str) -> None:
    done = pe_stream("bench", *arguments)
    assert done.returncode == 2
    assert said in done.stderr
