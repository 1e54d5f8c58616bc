"""Whoever holds connections takes nothing away that others need."""

from __future__ import annotations

import sqlite3
import statistics
import time
from pathlib import Path
from typing import Any

import httpx
import pytest
from attack.crowd import Crowd
from mosquitto import Subscriber, wait_until
from paho.mqtt.enums import MQTTProtocolVersion
from ports import HOST, free_port
from processes import Daemon, MosquittoSub, level_config
from sounds import noise, write_float_wav
from timing import within

SOURCES = ("kitchen", "porch", "yard", "hall")
PERIOD_S = 0.8
"""From one sound to the next."""

TOKEN = "t0ken-of-more-than-twenty-characters"
KNOWN = {"authorization": f"Bearer {TOKEN}"}

LIMITS = """
import resource
resource.setrlimit(resource.RLIMIT_NOFILE, (256, 256))
"""


def long(*values: Any) -> Any:
    return pytest.param(*values, marks=[pytest.mark.attack, pytest.mark.timeout(900)])


def starts(ear: MosquittoSub) -> list[dict[str, Any]]:
    return [
        event
        for source in SOURCES
        for event in ear.events(f"pe_stream/test_node/{source}/events")
        if event["phase"] == "start"
    ]


def p99(latencies: list[float]) -> float:
    return statistics.quantiles(latencies, n=100, method="inclusive")[-1]


def served(page: int, figures: int, broker: int) -> bool:
    """Whether each port answers somebody new; for whoever has a token, where that is needed."""
    try:
        for url in (f"http://{HOST}:{page}/api/v1/info", f"http://{HOST}:{figures}/metrics"):
            httpx.get(url, headers=KNOWN, timeout=5).raise_for_status()
        with Subscriber(broker, "none", protocol=MQTTProtocolVersion.MQTTv311):
            return True
    except (OSError, httpx.HTTPError):
        return False


@pytest.mark.realtime
@pytest.mark.timeout(240)
@pytest.mark.parametrize(("size", "seconds"), [pytest.param(2000, 8), long(2000, 300)])
def test_idle_connections_to_every_port_delay_and_lose_nothing(
    tmp_path: Path, level: Path, size: int, seconds: int
) -> None:
    """With 256 descriptors, which is fewer than there are connections to one port."""
    (tmp_path / "sitecustomize.py").write_text(LIMITS, "utf-8")
    bursts = noise(*[(0.5, 0.001), (PERIOD_S - 0.5, 0.2)] * 30)
    sound = write_float_wav(tmp_path / "sound.wav", bursts)
    page, figures, broker = free_port(), free_port(), free_port()
    config = level_config(
        level,
        broker,
        "{microphone: default}",
        f"""
web: {{enabled: true, port: {page}, token: {TOKEN}}}
metrics: {{enabled: true, port: {figures}}}
""",
    )
    sources = "".join(f"  {name}: {{url: {sound}, loop: true}}\n" for name in SOURCES)
    config = config.replace("  kitchen: {microphone: default}\n", sources)
    config = config.replace("mqtt: {host: 127.0.0.1, ", "mqtt: {embedded: true, ")
    environment = {"PYTHONPATH": f"{tmp_path}:{Path.cwd()}"}
    with Daemon(tmp_path, config, environment) as daemon:
        daemon.wait_for_log("hall: loud end")
        with MosquittoSub(broker, "-V", "mqttv311") as ear:
            wait_until(lambda: len(starts(ear)) >= 4, "events", 20)
            time.sleep(min(seconds, 40) - 2)
            before = starts(ear)
            with Crowd([page, figures, broker], size) as crowd:
                time.sleep(seconds)
                during = starts(ear)[len(before) :]
                assert crowd.opened >= 3 * size
                if seconds > 60:  # by then, all have had their turn
                    wait_until(lambda: served(page, figures, broker), "served meanwhile", 20)
            ended_s = time.monotonic()
            wait_until(lambda: served(page, figures, broker), "served again", 10)
            assert time.monotonic() - ended_s < within(10)
            time.sleep(3)
        assert daemon.process.poll() is None
        log = daemon.log
    got = {event["id"] for event in starts(ear)}
    with sqlite3.connect(next((tmp_path / "state").rglob("events.db"))) as database:
        stored = {row[0] for row in database.execute("SELECT id FROM events")}
    heard_since = min(event["id"] for event in starts(ear))
    assert {each for each in stored if each >= heard_since} <= got | {max(stored)}
    usual, then = (p99([event["latency_ms"] for event in part]) for part in (before, during))
    print(f"p99 latency: {usual:.0f} ms of {len(before)}, then {then:.0f} ms of {len(during)}")
    assert len(during) >= 0.8 * seconds / PERIOD_S * len(SOURCES)
    assert then <= 1.2 * usual + 20 * within(1)
    assert "CRITICAL" not in log
    assert len(log.splitlines()) < 60 + len(SOURCES) * 4 * (seconds + 60) / PERIOD_S
