from __future__ import annotations

import pytest

from pe_stream.core.ledger import Account, SourceState
from pe_stream.core.source_status import SourceStatus
from pe_stream.daemon.breaks import AGAIN_S, Breaks


def breaking(*often: float) -> dict[str, SourceStatus]:
    return {
        f"s{number}": SourceStatus(
            Account(SourceState.HEARING, 0, 0, 0, 0, None, 9, each), 0, 0, 0, 0, None
        )
        for number, each in enumerate(often)
    }


def test_a_source_that_breaks_off_often_is_named_now_and_then(
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level("INFO")
    breaks = Breaks()
    breaks.check(breaking(1.0, 0.0), 0.0)
    assert caplog.text == ""
    for now_s in range(1, 100):
        breaks.check(breaking(1.0, 4.2), now_s)
        breaks.check(breaking(1.0, 0.8), now_s)  # not over yet
    assert caplog.text.count("s1: the sound breaks off 4.2 times a minute") == 1
    breaks.check(breaking(3.0, 4.2), 1.0 + AGAIN_S)
    assert caplog.text.count("s1: the sound breaks off 4.2 times a minute") == 2
    assert caplog.text.count("s0: the sound breaks off 3.0 times a minute") == 1
    for now_s in range(3):
        breaks.check(breaking(3.0, 0.4), 2.0 + AGAIN_S + now_s)
    assert caplog.text.count("s1: the sound no longer breaks off") == 1
    assert "s0: the sound no longer" not in caplog.text
