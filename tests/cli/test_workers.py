"""Work side by side: in order, and whatever ends one process."""

from __future__ import annotations

import time
from pathlib import Path

from side_work import begin, work
from timing import within

from pe_stream.cli.workers import Died, Workers


def told(result: tuple[str, int] | Died) -> str:
    return str(result) if isinstance(result, Died) else result[0]


def test_results_come_in_order_also_where_the_first_takes_longest(tmp_path: Path) -> None:
    items = ["waits", "a", "b", "done"]
    found = list(Workers(2, begin, (tmp_path,), work).in_order(items))
    assert [told(each) for each in found] == items
    assert len({each[1] for each in found if not isinstance(each, Died)}) == 2
    assert len(list(tmp_path.glob("begun *"))) == 2


def test_what_ends_one_process_ends_no_other(tmp_path: Path) -> None:
    items = ["a", "killed", "b", "ends", "c", "killed"]
    found = list(Workers(2, begin, (tmp_path,), work).in_order(items))
    assert [told(each) for each in found] == [
        "a",
        "the process that read it was ended by SIGKILL",
        "b",
        "the process that read it ended with exit code 3",
        "c",
        "the process that read it was ended by SIGKILL",
    ]


def test_whoever_stops_listening_leaves_no_process(tmp_path: Path) -> None:
    results = Workers(2, begin, (tmp_path,), work).in_order(["a", "waits", "waits"])
    assert told(next(results)) == "a"
    results.close()  # type: ignore[attr-defined]  # a generator's
    pids = [int(path.name.split()[1]) for path in tmp_path.glob("begun *")]
    until_s = time.monotonic() + within(20)
    while any(Path(f"/proc/{pid}/cmdline").exists() and _runs(pid) for pid in pids):
        assert time.monotonic() < until_s
        time.sleep(0.05)


def _runs(pid: int) -> bool:
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except OSError:
        return False
    return state != "Z"
