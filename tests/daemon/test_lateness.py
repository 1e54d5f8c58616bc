from __future__ import annotations

from dataclasses import replace
from unittest.mock import Mock

import pytest

from pe_stream.core.ledger import Account, SourceState
from pe_stream.core.source_status import SourceStatus
from pe_stream.daemon.lateness import AGAIN_S, Lateness
from pe_stream.daemon.running import Running


def waiting(*seconds: float) -> dict[str, SourceStatus]:
    account = Account(SourceState.HEARING, 0, 0, 0, 0, None)
    return {
        f"s{number}": SourceStatus(account, 0, 0, round(waits_s * 48_000), 0, None)
        for number, waits_s in enumerate(seconds)
    }


def test_scoring_that_falls_behind_is_said_now_and_then(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO")
    lateness = Lateness(1.0)
    lateness.check(waiting(0.9, 2.9), 0.0)
    assert caplog.text == ""
    for now_s in (0.2, 0.6, 1.0):
        assert caplog.text == ""
        lateness.check(waiting(0.9, 7.5, 3.1), now_s)
    assert "audio waits up to 6.5 s (s1; 2 of 3 sources)" in caplog.text
    for now_s in range(2, 60):
        lateness.check(waiting(0.9, 7.5, 9.1), now_s)
        lateness.check(waiting(0.9, 2.5, 2.5), now_s)  # not over yet
    assert caplog.text.count("falls behind") == 1
    for now_s in (59.0, 60.0, 1.0 + AGAIN_S):
        assert caplog.text.count("falls behind") == 1
        lateness.check(waiting(0.9, 7.5, 9.1), now_s)
    assert caplog.text.count("falls behind") == 2
    lateness.check(waiting(0.9, 1.5, 0.0), 70.0)
    lateness.check(waiting(0.9, 1.5, 0.0), 71.0)
    assert caplog.text.count("scoring keeps up again") == 1
    for now_s in range(72, 180):
        lateness.check(waiting(5.0), now_s)
    assert caplog.text.count("falls behind") == 3


def test_waiting_for_an_engine_that_is_away_is_told_as_that(
    caplog: pytest.LogCaptureFixture,
) -> None:
    lateness = Lateness(1.0)
    statuses = waiting(8.0, 5.0)
    statuses["s0"] = replace(statuses["s0"], engine_reason="refused")
    for now_s in range(5):
        lateness.check(statuses, now_s)
    assert "audio waits up to 4.0 s (s1; 1 of 2 sources)" in caplog.text


def test_lateness_that_comes_and_goes_is_said_once_a_minute(
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level("INFO")
    lateness = Lateness(1.0)
    for now_s in range(170):  # 3 times
        lateness.check(waiting(5.0 if now_s % 10 < 5 else 0.5), now_s)
    assert caplog.text.count("falls behind") == 3
    assert caplog.text.count("keeps up again") == 3


def test_a_burst_is_no_lateness(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO")
    lateness = Lateness(1.0)
    for now_s in range(170):
        lateness.check(waiting(7.0 if now_s % 6 < 2 else 0.5), now_s)
    assert caplog.text == ""


def test_the_daemon_looks_every_second() -> None:
    running = Mock()
    Running.tick(running, 5.0)
    running._lateness.check.assert_called_once_with(running._statuses, 5.0)
