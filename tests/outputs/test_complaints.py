"""What strangers do too much of is told at once, then now and then, and nothing is left untold."""

from __future__ import annotations

import asyncio
import logging
import time

import pytest
from mosquitto import wait_until
from timing import within

from pe_stream.outputs import complaints
from pe_stream.outputs.complaints import Complaints


@pytest.fixture
def told() -> Complaints:
    return Complaints(logging.getLogger(__name__), "x")


def test_the_first_of_each_kind_is_told_at_once(
    told: Complaints, caplog: pytest.LogCaptureFixture
) -> None:
    for what in ("a", "a", "b", "a", "b"):
        told.tell(what)
    assert caplog.messages == ["x: 1 a", "x: 1 b"]


def test_each_line_waits_for_its_time(
    told: Complaints, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    for now_s in (0.0, 9.0, 10.0, 11.0, 19.0, 20.0):
        monkeypatch.setattr(time, "monotonic", lambda now_s=now_s: now_s)
        told.tell("a")
    assert caplog.messages == ["x: 1 a", "x: 2 a", "x: 3 a"]


def test_what_comes_soon_after_is_told_though_nothing_follows(
    told: Complaints, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(complaints, "TELL_S", within(0.3))

    async def complain() -> None:
        for what in ("a", "b", "a", "a", "b"):
            told.tell(what)
        await asyncio.to_thread(wait_until, lambda: len(caplog.messages) == 4, "all is told")
        monkeypatch.setattr(complaints, "TELL_S", 1e9)
        told.tell("a")

    asyncio.run(complain())
    assert caplog.messages == ["x: 1 a", "x: 1 b", "x: 2 a", "x: 1 b"]
    told.tell_rest()
    told.tell_rest()
    assert caplog.messages[4:] == ["x: 1 a"]


def test_when_it_is_time_again_it_is_told_once(
    told: Complaints, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(complaints, "TELL_S", 1e3)

    async def complain() -> None:
        loop = asyncio.get_running_loop()
        for _ in range(3):
            told.tell("a")
        monkeypatch.setattr(complaints, "TELL_S", 0.0)
        told.tell("a")
        monkeypatch.setattr(complaints, "TELL_S", 1e9)
        told.tell("a")
        timers = [each for each in loop._scheduled if not each.cancelled()]  # type: ignore[attr-defined]
        assert [each.when() - loop.time() > 1e6 for each in timers] == [True]

    asyncio.run(complain())
    assert caplog.messages == ["x: 1 a", "x: 3 a"]
