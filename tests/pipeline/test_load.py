"""More sources than can be scored: hops stretch, then the oldest audio goes, then it passes.

Twelve sources in real time, and an engine of known speed; the real threads, queues and detectors.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Sequence
from dataclasses import replace
from typing import Any, Self

import numpy as np
import pytest
from pipeline.test_live import listening
from stand_ins import LevelEngine, ScriptedSource, chunk, eventually, scorer

from pe_stream.core.types import FRAME, FRAME_S, FrameScores, LabelRule, Window
from pe_stream.model.codec import Stream

pytestmark = pytest.mark.realtime

SOURCES = 12
HOP_S = 5 * FRAME_S
WINDOW_S = 50 * FRAME_S


class Laboured(LevelEngine):
    """An engine that needs `cost_s` for each window."""

    cost_s = 0.0

    def hear(self, streams: Sequence[Stream], windows: Sequence[Window]) -> list[FrameScores]:
        time.sleep(self.cost_s * len(windows))
        return super().hear(streams, windows)


class Street:
    """Sources that deliver a frame every 40 ms, all at once, until told to stop."""

    def __init__(self, sources: Sequence[ScriptedSource]) -> None:
        self._sources = sources
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._deliver)
        self.frames = 0

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._thread.join()
        for source in self._sources:
            source.give(None)

    def _deliver(self) -> None:
        begun_s = time.monotonic()
        while not self._over.is_set():
            for source in self._sources:
                anchor = 0 if self.frames == 0 else None
                source.give(chunk(self.frames, 1, 0.1, anchor_ns=anchor))
            self.frames += 1
            time.sleep(max(0.0, begun_s + self.frames * FRAME_S - time.monotonic()))


@pytest.mark.timeout(120)
def test_overload_stretches_hops_then_drops_the_oldest_and_passes() -> None:
    rule = LabelRule("loud", 0.5, 0.4, update_every=0)
    engine: Any = Laboured([rule.name])
    engine.most_together = 4
    hears = replace(scorer([rule]), engine=engine)
    sources = {f"s{i:02}": [ScriptedSource()] for i in range(SOURCES)}

    with listening(sources, hears) as (live, told):
        with Street([each[0] for each in sources.values()]) as street:

            def lost() -> list[int]:
                return [status.account.lost for status in live.statuses.values()]

            def behind_s() -> float:
                """Of the source that is furthest behind."""
                scored = min(
                    v.scored_frames + v.account.lost / FRAME for v in live.statuses.values()
                )
                return float(street.frames - scored) * FRAME_S

            # Three times more than it carries: every source is scored a third as often.
            engine.cost_s = 3 * HOP_S / SOURCES
            assert eventually(
                lambda: min(status.stretched for status in live.statuses.values()) >= 4, 30
            )
            stretched = [status.stretched for status in live.statuses.values()]
            assert max(stretched) <= 3 * min(stretched)  # nobody pays for the others
            assert lost() == [0] * SOURCES

            # So slow that a window's length goes by between two scorings of a source.
            engine.cost_s = 2 * WINDOW_S / SOURCES
            assert eventually(lambda: min(lost()) > 0, 60)
            assert behind_s() <= 6 * WINDOW_S  # bounded: what is dropped is not waited for

            engine.cost_s = 0.0
            assert eventually(lambda: behind_s() <= 3 * HOP_S, 10)
            before = [status.stretched for status in live.statuses.values()], lost()
            time.sleep(2)
            assert ([status.stretched for status in live.statuses.values()], lost()) == before
        assert eventually(lambda: told.end == [None])
        statuses = live.statuses
    for name, status in statuses.items():
        assert status.account.heard + status.account.lost == street.frames * FRAME
        assert told.frames[name] * FRAME == status.account.heard
    assert np.isfinite([status.rtf or 0 for status in statuses.values()]).all()
