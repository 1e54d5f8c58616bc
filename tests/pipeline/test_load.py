"""More sources than can be scored: hops stretch, then the oldest audio goes, then it passes.

Twelve sources and an engine of known speed, in a time of their own; the real threads, queues and
detectors.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any, Self

import numpy as np
from pipeline.test_live import listening
from stand_ins import LevelEngine, ScriptedSource, chunk, eventually, scorer

from pe_stream.core.types import FRAME, FRAME_S, FrameScores, LabelRule, Window
from pe_stream.model.codec import Stream
from pe_stream.pipeline.live import Live

SOURCES = 12
HOP = 5
HOP_S = HOP * FRAME_S
WINDOW_S = 50 * FRAME_S


class Laboured(LevelEngine):
    """An engine that needs `cost_s` for each window, which `passes` lets go by."""

    cost_s = 0.0
    passes: Callable[[float], None]

    def hear(self, streams: Sequence[Stream], windows: Sequence[Window]) -> list[FrameScores]:
        self.passes(self.cost_s * len(windows))
        return super().hear(streams, windows)


class Street:
    """Sources that deliver a frame every 40 ms, all at once, until told to stop.

    Time goes by where the engine needs some, and while nothing is left to score: however slow the
    machine is, as many frames come to a scoring as on an idle one.
    """

    def __init__(self, sources: Mapping[str, ScriptedSource], live: Live) -> None:
        self._sources, self._live = sources, live
        self.stands_still = threading.Lock()
        self._now_s = 0.0
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._idle_away)
        self.frames = 0
        self.idle_frames = 0
        """Of those, which came while nothing was left to score."""

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._thread.join()
        for source in self._sources.values():
            source.give(None)

    def passes(self, seconds: float) -> None:
        """Return once all has come that comes in so much time."""
        with self.stands_still:
            self._now_s += seconds
            while self.frames < int(self._now_s / FRAME_S + 1e-6):
                for source in self._sources.values():
                    anchor = 0 if self.frames == 0 else None
                    source.give(chunk(self.frames, 1, 0.1, anchor_ns=anchor))
                self.frames += 1
            while not self._over.is_set() and not all(
                status.delivered == self.frames * FRAME for status in self._live.statuses.values()
            ):
                time.sleep(0.001)

    def _idle_away(self) -> None:
        while not self._over.is_set():
            if self._is_idle():
                self.passes(FRAME_S)
                self.idle_frames += 1
            else:
                time.sleep(0.001)

    def _is_idle(self) -> bool:
        """Whether all that has come was taken, and no window of it is due."""
        came = self.frames * FRAME
        return all(
            status.account.heard + status.account.lost == came and status.waiting < HOP * FRAME
            for status in self._live.statuses.values()
        )


def test_overload_stretches_hops_then_drops_the_oldest_and_passes() -> None:
    rule = LabelRule("loud", 0.5, 0.4, update_every=0)
    engine: Any = Laboured([rule.name])
    engine.most_together = 4
    hears = replace(scorer([rule]), engine=engine)
    sources = {f"s{i:02}": ScriptedSource() for i in range(SOURCES)}

    with listening({name: [each] for name, each in sources.items()}, hears) as (live, told):
        street = Street(sources, live)
        engine.passes = street.passes
        with street:

            def lost() -> list[int]:
                return [status.account.lost for status in live.statuses.values()]

            def stretched() -> list[int]:
                return [status.stretched for status in live.statuses.values()]

            def behind_s() -> float:
                """Of the source that is furthest behind."""
                with street.stands_still:
                    statuses = live.statuses.values()
                    scored = min(v.scored_frames + v.account.lost / FRAME for v in statuses)
                    return float(street.frames - scored) * FRAME_S

            # Three times more than it carries: every source is scored a third as often.
            engine.cost_s = 3 * HOP_S / SOURCES
            assert eventually(lambda: min(stretched()) >= 4, 30)
            found = stretched()
            assert max(found) <= 3 * min(found)  # nobody pays for the others
            assert lost() == [0] * SOURCES

            # So slow that a window's length goes by between two scorings of a source.
            engine.cost_s = 2 * WINDOW_S / SOURCES
            assert eventually(lambda: min(lost()) > 0, 60)
            assert behind_s() <= 6 * WINDOW_S  # bounded: what is dropped is not waited for

            engine.cost_s = 0.0
            idle = street.idle_frames
            assert eventually(lambda: street.idle_frames > idle, 10)
            assert behind_s() <= 3 * HOP_S
            before, until = (stretched(), lost()), street.frames + 50
            assert eventually(lambda: street.frames >= until, 10)
            assert (stretched(), lost()) == before
        assert eventually(lambda: told.end == [None])
        statuses = live.statuses
    for name, status in statuses.items():
        assert status.account.heard + status.account.lost == street.frames * FRAME
        assert told.frames[name] * FRAME == status.account.heard
    assert np.isfinite([status.rtf or 0 for status in statuses.values()]).all()
