"""The parts of a daemon, put together."""

from __future__ import annotations

from contextlib import ExitStack
from pathlib import Path

import httpx
import pytest
from ports import HOST, free_port
from processes import level_config
from sounds import noise, write_float_wav
from timing import within

from pe_stream.config.file import parse
from pe_stream.core.ledger import Ledger
from pe_stream.core.source_status import SourceStatus
from pe_stream.core.types import SAMPLE_RATE
from pe_stream.daemon.running import Running
from pe_stream.daemon.service import Daemon
from pe_stream.daemon.watchdog import ALIVE_S, STUCK_S
from pe_stream.pipeline.live import Live

PARTS = "store: {{enabled: false}}\nhistory: {{enabled: false}}\nweb: {{enabled: true, port: {}}}"


def test_the_page_says_so_where_a_source_is_stuck(
    tmp_path: Path, level: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    port, wav = free_port(), write_float_wav(tmp_path / "sound.wav", noise((0.5, 0)))
    text = level_config(level, free_port(), wav, PARTS.format(port))
    settings = parse(text.replace(f"host: {HOST}", "embedded: true"))
    given = Daemon(settings, lambda: settings)._load()
    delivered_s, frames = [0.0], [0]

    def statuses(_: Live) -> dict[str, SourceStatus]:
        delivered = round(delivered_s[0] * SAMPLE_RATE)
        account = Ledger().account
        return {
            "kitchen": SourceStatus(account, delivered, frames[0], waiting=0, stretched=0, rtf=None)
        }

    def asked() -> int:
        answer = httpx.get(f"http://{HOST}:{port}/api/v1/health", timeout=within(10))
        return answer.status_code

    monkeypatch.setattr(Live, "statuses", property(statuses))
    with ExitStack() as stack:
        running = Running(stack, given)
        assert asked() == 503, "nobody has looked yet"
        running.tick(0.0)
        assert asked() == 200
        delivered_s[0] += STUCK_S + 1
        assert running._watchdog._well_s is not None
        running._watchdog._well_s -= ALIVE_S
        running.tick(ALIVE_S)
        assert asked() == 503
        frames[0] += 1
        running.tick(ALIVE_S + 1)
        assert asked() == 200
