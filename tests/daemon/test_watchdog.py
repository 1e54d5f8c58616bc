"""The watchdog is fed only while scores advance."""

from __future__ import annotations

from pe_stream.core.ledger import Ledger
from pe_stream.core.source_status import SourceStatus
from pe_stream.core.types import SAMPLE_RATE
from pe_stream.daemon.watchdog import STUCK_S, Watchdog


def status(scored_frames: int, delivered_s: float) -> SourceStatus:
    delivered = round(delivered_s * SAMPLE_RATE)
    return SourceStatus(
        Ledger().account, delivered, scored_frames, waiting=0, stretched=0, rtf=None
    )


def test_the_watchdog_starves_where_audio_comes_and_no_score_advances() -> None:
    watchdog = Watchdog()
    assert watchdog.check({"a": status(0, 0), "b": status(0, 0)})
    assert watchdog.check({"a": status(100, 5), "b": status(100, 5)})
    # b hears nothing any more: lost, but not stuck
    assert watchdog.check({"a": status(900, 5 + STUCK_S), "b": status(100, 5)})
    # one source that scores does not hide another that does not
    assert not watchdog.check({"a": status(999, 6 + STUCK_S), "b": status(100, 6 + STUCK_S)})
    assert watchdog.check({"a": status(999, 7 + STUCK_S), "b": status(101, 7 + STUCK_S)})
