"""The broker is hostile: whatever it sends ends the connection at most."""

from __future__ import annotations

import json
import signal
from pathlib import Path
from typing import Any

import psutil
import pytest
from attack.hostile_broker import HostileBroker, packets
from mosquitto import wait_until
from processes import Daemon, level_config
from sounds import noise, write_float_wav

AT_ONCE = """
import pe_stream.core.backoff
pe_stream.core.backoff.delay_s = lambda *_, **__: 0.001
"""
"""The daemon connects again without a pause."""


def long(*values: Any) -> Any:
    return pytest.param(*values, marks=[pytest.mark.attack, pytest.mark.timeout(900)])


@pytest.mark.realtime
@pytest.mark.parametrize(
    ("version", "count", "seed"),
    [("5", 600, 1), ("3.1.1", 600, 2), long("5", 60_000, 3), long("3.1.1", 40_000, 4)],
)
def test_whatever_the_broker_sends_the_daemon_goes_on(
    tmp_path: Path, level: Path, version: str, count: int, seed: int
) -> None:
    (tmp_path / "sitecustomize.py").write_text(AT_ONCE, "utf-8")
    broker = HostileBroker(packets(count, seed, v5=version == "5"))
    sound = write_float_wav(tmp_path / "sound.wav", noise(*[(0.5, 0.001), (0.3, 0.2)] * 10))
    config = level_config(level, broker.port, f"{{url: {sound}, loop: true}}")
    config = config.replace("mqtt: {", f"mqtt: {{protocol: '{version}', ")
    environment = {"PYTHONPATH": f"{tmp_path}:{Path.cwd()}"}
    with Daemon(tmp_path, config, environment) as daemon:
        daemon.wait_for_log("kitchen: receiving audio from")
        seen = psutil.Process(daemon.process.pid)
        before = seen.memory_info().rss
        ended = lambda: broker.good.is_set() or daemon.process.poll() is not None  # noqa: E731
        wait_until(ended, "all is sent", 30 + count / 200)
        assert daemon.process.poll() is None, f"packet {broker.sent}: {broker.last.hex()}"
        grown = seen.memory_info().rss - before
        wait_until(lambda: len(broker.events) >= 4, "events, once the broker is good", 60)
        daemon.send(signal.SIGTERM)
        assert daemon.exit_code() == 143
    broker.close()
    print(f"{broker.sent} packets, {broker.ended} of them ended a connection; {grown >> 20} MB")
    assert broker.sent == count
    assert broker.ended < broker.connections
    assert 0.03 * count < broker.ended < 0.9 * count  # neither all rejected nor all ignored
    assert grown < 150 << 20
    for word in ("CRITICAL", "Traceback"):
        assert word not in daemon.log
    events = [json.loads(each) for each in broker.events]
    onsets = [event["onset"] for event in events if event["phase"] == "start"]
    assert onsets == sorted(onsets)
