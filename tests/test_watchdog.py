"""The watchdog is fed only while scores advance."""

from __future__ import annotations

from pe_stream.config_file import parse
from pe_stream.core.ledger import Ledger
from pe_stream.core.types import SAMPLE_RATE
from pe_stream.daemon import STUCK_S, Daemon
from pe_stream.live import Vital

SETTINGS = parse("sources: {a: {microphone: default}, b: {microphone: other}}\nlabels: {dog: }")


def vital(scored_frames: int, delivered_s: float) -> Vital:
    delivered = round(delivered_s * SAMPLE_RATE)
    return Vital(Ledger().account, delivered, scored_frames, waiting=0, stretched=0, rtf=None)


def test_the_watchdog_starves_where_audio_comes_and_no_score_advances() -> None:
    daemon = Daemon(SETTINGS, reload=lambda: SETTINGS)
    assert daemon._advancing({"a": vital(0, 0), "b": vital(0, 0)})
    assert daemon._advancing({"a": vital(100, 5), "b": vital(100, 5)})
    # b hears nothing any more: lost, but not stuck
    assert daemon._advancing({"a": vital(900, 5 + STUCK_S), "b": vital(100, 5)})
    # one source that scores does not hide another that does not
    assert not daemon._advancing({"a": vital(999, 6 + STUCK_S), "b": vital(100, 6 + STUCK_S)})
    assert daemon._advancing({"a": vital(999, 7 + STUCK_S), "b": vital(101, 7 + STUCK_S)})
