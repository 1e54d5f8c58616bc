"""Sound to MQTT through the real chain, with an engine that takes a known time."""

from __future__ import annotations

import threading
import time
from typing import Any

from stand_ins import eventually, scorer
from timing import within

from pe_stream.core.types import FRAME
from pe_stream.core.windows import Framing
from pe_stream.workbench.bench import latency
from pe_stream.workbench.bench.sources import rules

COST_S = 0.05
FRAMING = Framing(window=250, hop=5, lookahead=5)
"""So long that a busy machine is never behind by more, which would lose bursts."""


def test_latency_holds_lookahead_and_scoring_and_every_burst_arrives() -> None:
    heard = scorer(rules(["one", "two"]), framing=FRAMING, before=lambda: time.sleep(COST_S))
    before = set(threading.enumerate())
    told: dict[str, Any] = latency.measure(heard, 2.0)
    assert told["events"] == told["bursts"] == 7
    assert told["latency_ms"]["min"] >= 1000 * (0.24 + COST_S)
    assert told["latency_ms"]["n"] == 7
    assert 0 < told["delivery_ms"]["min"] < within(2000)
    assert (told["hop_s"], told["lookahead_s"]) == (0.12, 0.24)
    assert eventually(lambda: set(threading.enumerate()) <= before)


def test_bursts_fall_on_every_place_between_two_scorings() -> None:
    beacon = latency.Beacon(25, 1.2)
    loud, position = [], 0
    for chunk in beacon:
        assert chunk.start == position
        position = chunk.end
        if len(chunk.samples) == FRAME and float(chunk.samples.std()) > 0.2:
            loud.append(chunk.start // FRAME)
    onsets = [frame for frame in loud if frame - 1 not in loud]
    assert len(onsets) == beacon.bursts == 4
    assert {frame % latency.HOP for frame in onsets} == {0, 1, 2}


def test_a_beacon_ends_when_it_is_closed() -> None:
    beacon = latency.Beacon(25, 600)
    next(beacon)
    beacon.close()
    assert list(beacon) == []
