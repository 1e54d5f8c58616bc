"""An engine that is away while sound goes on: the real listening, client, wire and engine.

Sound is given as fast as it is taken, so that nothing waits for the clock.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import pytest
from pipeline.test_live import Told, listening
from ports import HOST, free_port
from serving.engines import asking, serving
from stand_ins import ScriptedSource, chunk, eventually

from pe_stream.config import LabelSettings
from pe_stream.core.types import FRAME
from pe_stream.core.windows import Framing
from pe_stream.daemon.watchdog import Watchdog
from pe_stream.labels.prepare import prepare_labels
from pe_stream.model.checkpoint import Checkpoint, load
from pe_stream.pipeline import channel
from pe_stream.pipeline.live import Live
from pe_stream.pipeline.scorer import Scorer

HOP = 12


@pytest.fixture(autouse=True)
def patient(monkeypatch: pytest.MonkeyPatch) -> None:
    """An engine is away where it says so, not where a busy machine takes its time."""
    monkeypatch.setattr(channel, "SLOW_S", 3600.0)


class Home:
    """A source, and an engine that comes and goes."""

    def __init__(self, checkpoint: Checkpoint, live: Live, told: Told, source: Any) -> None:
        self.live, self.told, self._source, self.frames = live, told, source, 0
        self._checkpoint = checkpoint
        self.port = free_port()

    @property
    def status(self) -> Any:
        return self.live.statuses["a"]

    def plays(self, seconds: float, level: float) -> None:
        """Give sound, a hop at a time."""
        for _ in range(round(seconds * 25 / HOP)):
            anchor = None if self.frames else 0
            self._source.give(chunk(self.frames, HOP, level, anchor_ns=anchor))
            self.frames += HOP

    def heard(self, seconds: float, level: float) -> None:
        """Give sound, and wait for its scores from an engine that answers."""
        for _ in range(round(seconds / 0.96)):
            self.plays(0.96, level)
            self.scored()

    def scored(self) -> None:
        """Wait until all is scored that can be: a new stretch has hops of its own."""
        until = self.frames - 2 * HOP
        assert eventually(
            lambda: self.status.scored_frames + self.status.account.lost // FRAME >= until, 60
        )

    def away(self, seconds: float, level: float) -> None:
        """Let so much sound pass while no engine answers."""
        self.plays(seconds, level)
        assert eventually(lambda: self.status.engine_reason is not None, 60)
        waits = self.status.waits
        assert eventually(lambda: self.status.waits > waits + 2, 60)

    def end(self) -> None:
        self._source.give(None)
        assert eventually(lambda: self.told.end == [None], 60)
        account = self.status.account
        assert account.heard + account.lost == self.frames * FRAME
        assert self.told.frames["a"] * FRAME == account.heard


@pytest.fixture(scope="module")
def checkpoint(level: Path) -> Checkpoint:
    return load(str(level), device="cpu", dtype="float32", threads=1)


@contextmanager
def home(checkpoint: Checkpoint, port: int) -> Iterator[Home]:
    labels = prepare_labels(checkpoint, {"loud": LabelSettings(prompts=("a sound",), max_s=600.0)})
    hears = Scorer(checkpoint, None, Framing(250, HOP, HOP), labels)  # type: ignore[arg-type]  # not asked
    source = ScriptedSource()
    with ExitStack() as stack:
        engine = stack.enter_context(
            asking(checkpoint, labels.embeddings, engine=f"http://{HOST}:{port}")
        )
        live, told = stack.enter_context(listening({"a": [source]}, hears, engine=engine))
        yield Home(checkpoint, live, told, source)
        assert told.failures == []


def test_away_for_eight_seconds_nothing_is_lost(checkpoint: Checkpoint) -> None:
    port = free_port()
    with home(checkpoint, port) as house:
        with serving(checkpoint, port=port):
            house.heard(12, 0.001)
        house.away(8, 0.3)
        with serving(checkpoint, port=port):
            house.scored()
            assert house.status.engine_reason is None
            house.heard(4.8, 0.001)
            house.end()
    assert house.status.account.lost == 0
    assert house.status.stretched > 0
    start, *_, end = house.told.said
    assert start.onset_s == pytest.approx(12, abs=0.6)
    assert end.offset_s == pytest.approx(20, abs=0.6)
    assert end.reason is None


def test_away_for_fourteen_seconds_one_gap_is_lost_and_counted(checkpoint: Checkpoint) -> None:
    port = free_port()
    with home(checkpoint, port) as house:
        with serving(checkpoint, port=port):
            house.heard(12, 0.3)
        house.away(14, 0.3)
        with serving(checkpoint, port=port):
            house.scored()
            house.end()
    lost_s = house.status.account.lost / 48_000
    assert 3 < lost_s < 6
    ends = [event.reason for event in house.told.said if event.phase == "end"]
    assert ends[0] == "gap"
    assert len(ends) == 2


def test_away_for_forty_seconds_the_watchdog_is_fed(checkpoint: Checkpoint) -> None:
    watchdog = Watchdog()
    port = free_port()
    with home(checkpoint, port) as house:
        with serving(checkpoint, port=port):
            house.heard(12, 0.001)
        for _ in range(5):
            house.away(8, 0.001)
            assert watchdog.check({"a": house.status})
        assert house.status.engine_reason == f"http://{HOST}:{port}: Connection refused"
        with serving(checkpoint, port=port):
            house.scored()
            house.end()
    assert 25 < house.status.account.lost / 48_000 < 40
