"""A short run of the fault bench: each fault once, in an order of chance."""

from __future__ import annotations

from pathlib import Path

import pytest
import virtual_microphone
from faults.bench import Bench
from timing import within

pytestmark = pytest.mark.realtime


@pytest.mark.timeout(400)
def test_whatever_breaks_nothing_is_lost(tmp_path: Path) -> None:
    if absent := virtual_microphone.missing():
        pytest.skip(absent)
    with Bench(tmp_path, seed=4) as bench:
        outcome = bench.run(10)
    print(outcome.table())
    print(bench.warnings)
    assert outcome.wrong == []
    assert len(outcome.faults) == 10
    assert outcome.events > 20
    assert outcome.late > 0
    back_s = {fault.what: fault.recovered_s for fault in outcome.faults}
    assert back_s["microphone unplugged"] < within(5)  # 2.3 s seen on a quiet machine
    assert back_s["recording process frozen"] < within(10)
