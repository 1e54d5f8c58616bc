"""What is told of an engine that gives no answer."""

from __future__ import annotations

import pytest

from pe_stream.serving.outage import QUIET_S, Outage
from pe_stream.serving.route import EngineAway

A, B = EngineAway("https://a", "refused"), EngineAway("https://b", "no answer")


def lines(caplog: pytest.LogCaptureFixture) -> list[str]:
    told = [record.getMessage().removeprefix("engine: ") for record in caplog.records]
    caplog.clear()
    return told


def test_engines_that_fail_in_turn_are_each_told_once(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO")
    outage = Outage()
    assert outage.failed(A, 1.0) == "https://a: refused"
    for second in range(2, 200, 2):
        assert outage.failed(B, second) == "https://a: refused; https://b: no answer"
        assert outage.failed(A, second + 1) == "https://a: refused; https://b: no answer"
    assert outage.failures == 199
    on = "; listening goes on, and asks again"
    assert lines(caplog) == [f"https://a: refused{on}", f"https://b: no answer{on}"]
    assert outage.failed(EngineAway("https://a", "token"), 200.0).startswith("https://a: token; ")
    assert lines(caplog) == [f"https://a: token{on}"]
    outage.answered(201.0)
    outage.answered(202.0)
    assert lines(caplog) == ["answers again after 200.0 s"]
    assert outage.failures == 0
    assert outage.failed(B, 300.0) == "https://b: no answer", "what was before is over"


def test_what_is_over_with_the_next_request_is_told_once_a_minute(
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level("INFO")
    outage = Outage()
    for second in range(0, 2 * round(QUIET_S), 10):
        assert outage.failed(A, second) == "https://a: refused"
        outage.answered(second + 1)
    assert len(lines(caplog)) == 4
    outage.failed(A, 2 * QUIET_S - 9)
    assert lines(caplog) == []
    outage.failed(A, 2 * QUIET_S - 8)
    assert lines(caplog) == ["https://a: refused; listening goes on, and asks again"]
