"""What Prometheus reads from the real daemon, and the dashboard that shows it."""

from __future__ import annotations

import json
import re
import signal
import socket
import threading
import time
import urllib.request
from collections.abc import Iterator
from dataclasses import replace
from importlib.resources import files
from pathlib import Path
from typing import Any

import pytest
from grafana_foundation_sdk.models.dashboard import Dashboard
from mosquitto import Mosquitto, wait_until
from ports import HOST, free_port
from processes import Daemon, level_config
from prometheus_client import Metric
from prometheus_client.parser import text_string_to_metric_families
from sounds import noise, write_float_wav
from timing import within

from pe_stream.config import LocationSettings, MetricsSettings, MqttSettings
from pe_stream.config.local_time import LocalTime
from pe_stream.core.ledger import Account, SourceState
from pe_stream.core.messages import Topics
from pe_stream.core.opinion import OpinionStatus
from pe_stream.core.picture_ring import PictureStatus
from pe_stream.core.source_status import SourceStatus
from pe_stream.core.store_status import StoreStatus
from pe_stream.errors import UnavailableError
from pe_stream.outputs import metrics as metrics_module
from pe_stream.outputs.current_figures import Readings
from pe_stream.outputs.metrics import Metrics
from pe_stream.outputs.mqtt import Publisher
from pe_stream.outputs.notifications import Notifications

DASHBOARD = files("pe_stream") / "assets" / "grafana.json"

LEFT_OUT = {"pe_stream_build": "the selection of instances is made of it; it shows nothing itself"}
"""Metrics that the dashboard does not show, and why."""


def scrape(port: int) -> dict[tuple[str, ...], float]:
    """(name, label values in the order of their names) -> value."""
    return {
        (sample.name, *(sample.labels[key] for key in sorted(sample.labels))): sample.value
        for family in families(port)
        for sample in family.samples
    }


def families(port: int) -> list[Metric]:
    """What there is to ask for, with its samples."""
    with urllib.request.urlopen(f"http://{HOST}:{port}/metrics", timeout=within(5)) as answer:
        return list(text_string_to_metric_families(answer.read().decode()))


@pytest.mark.realtime
def test_what_the_daemon_does_is_counted(tmp_path: Path, level: Path, broker: Mosquitto) -> None:
    sound = write_float_wav(
        tmp_path / "sound.wav",
        noise((4, 0.001), (1, 0.2), (2, 0), (3, 0.001), (1, 0.2), (60, 0.001)),
    )
    port = free_port()
    more = f"metrics: {{enabled: true, port: {port}}}\nsearch: {{enabled: true}}\n"
    more += f"web: {{enabled: true, port: {free_port()}}}"
    text = level_config(level, broker.port, sound, more).replace(", threads: 1", "")
    with Daemon(tmp_path, text) as daemon:
        daemon.wait_for_log("kitchen: receiving audio from")
        assert scrape(port)["pe_stream_events_total", "loud", "kitchen"] == 0  # not absent
        daemon.wait_for_log("kitchen: loud end")
        daemon.wait_for_log("connected to")
        assert f"metrics: http://127.0.0.1:{port}/metrics" in daemon.log
        now = scrape(port)
        assert now["pe_stream_broker_connected",] == 1
        assert now["pe_stream_store_ok",] == 1
        for what in ("scores", "heard"):
            assert now["pe_stream_kept_ok", what] == 1
            assert now["pe_stream_kept_lost_total", what] == 0
        assert now["pe_stream_viewers",] == 0
        assert now["pe_stream_scoring_threads",] >= 1
        broker.kill()
        daemon.wait_for_log("loud end at", 30)
        wait_until(lambda: daemon.log.count("loud end") == 2, "the second event", 30)
        wait_until(lambda: scrape(port)["pe_stream_broker_connected",] == 0, "it is seen")
        now = scrape(port)
        later = scrape(port)
        daemon.send(signal.SIGTERM)
        assert daemon.exit_code() == 143
    assert now["pe_stream_events_total", "loud", "kitchen"] == 2
    assert now["pe_stream_event_latency_seconds_count", "kitchen"] == 2
    assert 0.2 < now["pe_stream_event_latency_seconds_sum", "kitchen"] / 2 < within(5)
    assert now["pe_stream_audio_seconds_total", "heard", "kitchen"] > 4
    assert now["pe_stream_audio_seconds_total", "lost", "kitchen"] == 0
    assert now["pe_stream_audio_seconds_total", "flat", "kitchen"] == pytest.approx(2, abs=0.11)
    assert now["pe_stream_hearing", "kitchen", "hearing"] == 1
    assert now["pe_stream_hearing", "kitchen", "lost"] == 0
    assert now["pe_stream_inference_seconds_count",] > 10
    assert 0 < now["pe_stream_real_time_factor", "kitchen"] < within(1)
    assert now["pe_stream_queue_seconds", "kitchen"] < within(1)
    for weighting in "AZ":
        mean, peak = (
            now["pe_stream_sound_level_dbfs", of, "kitchen", weighting] for of in ("mean", "peak")
        )
        assert -120 <= mean < peak <= 0
    assert now["pe_stream_outbox_messages",] >= 2
    assert later["pe_stream_outbox_age_seconds",] > now["pe_stream_outbox_age_seconds",] > 0
    assert now["pe_stream_events_dropped_total",] == 0


@pytest.mark.realtime
def test_nothing_listens_unless_it_is_asked_to(
    tmp_path: Path, level: Path, broker: Mosquitto
) -> None:
    sound = write_float_wav(tmp_path / "sound.wav", noise((60, 0.001)))
    port = free_port()
    with Daemon(
        tmp_path, level_config(level, broker.port, sound, f"metrics: {{port: {port}}}")
    ) as daemon:
        daemon.wait_for_log("kitchen: receiving audio from")
        assert "metrics" not in daemon.log
        with pytest.raises(ConnectionRefusedError):
            socket.create_connection((HOST, port), timeout=1)


@pytest.mark.realtime
def test_a_port_that_is_taken_is_an_error_at_the_start(
    tmp_path: Path, level: Path, broker: Mosquitto
) -> None:
    sound = write_float_wav(tmp_path / "sound.wav", noise((60, 0.001)))
    text = level_config(
        level, broker.port, sound, f"metrics: {{enabled: true, port: {broker.port}}}"
    )
    with Daemon(tmp_path, text) as daemon:
        assert daemon.exit_code() == 69
    assert (
        f"metrics: cannot listen on 127.0.0.1:{broker.port}: Address already in use"
        in (daemon.log.splitlines()[-1])
    )


@pytest.fixture
def readings() -> Iterator[Readings]:
    """Of a daemon that has just started, and hears nothing."""
    publisher = Publisher(
        MqttSettings(),
        Topics("pe_stream", "test"),
        on_set=lambda *_: None,
        on_failure=lambda _: None,
    )
    notifications = Notifications({}, LocalTime(LocationSettings()))
    clips = dict.fromkeys(("kept", "withheld", "lost"), 0)
    yield Readings(dict, publisher, notifications, lambda: clips)
    publisher.stop()


def metrics_at(port: int, failures: list[BaseException] | None = None) -> Metrics:
    told = [] if failures is None else failures
    return Metrics(MetricsSettings(enabled=True, port=port), on_failure=told.append)


def test_pictures_are_counted_where_there_are_any(readings: Readings) -> None:
    here = SourceStatus(Account(SourceState.HEARING, 0, 0, 0, 0, None), 0, 0, 0, 0, None)
    seen = replace(here, picture=PictureStatus(None, kept=7, damaged=2))
    blind = replace(here, picture=PictureStatus("it has no moving picture"))
    port = free_port()
    metrics = metrics_at(port)
    metrics.serve(replace(readings, sources=lambda: {"a": seen, "b": blind, "c": here}))
    found = {key: value for key, value in scrape(port).items() if "picture" in key[0]}
    metrics.stop()
    assert {key: value for key, value in found.items() if not key[0].endswith("_created")} == {
        ("pe_stream_picture_ok", "a"): 1,
        ("pe_stream_picture_ok", "b"): 0,
        ("pe_stream_pictures_total", "kept", "a"): 7,
        ("pe_stream_pictures_total", "damaged", "a"): 2,
        ("pe_stream_pictures_total", "kept", "b"): 0,
        ("pe_stream_pictures_total", "damaged", "b"): 0,
    }
    port = free_port()
    metrics = metrics_at(port)
    metrics.serve(replace(readings, sources=lambda: {"c": here}))
    assert not [key for key in scrape(port) if "picture" in key[0]]
    metrics.stop()


def test_second_opinions_are_counted_where_there_are_any(readings: Readings) -> None:
    port = free_port()
    metrics = metrics_at(port)
    status = OpinionStatus("its process has died (-9)", 9, 5, 3, restarts=2, seconds=7.5)
    metrics.serve(replace(readings, opinions=lambda: status))
    found = {key: value for key, value in scrape(port).items() if "opinion" in key[0]}
    metrics.stop()
    of = "pe_stream_second_opinion"
    counted = {key: value for key, value in found.items() if not key[0].endswith("_created")}
    assert counted == {
        (f"{of}s_ok",): 0,
        (f"{of}s_total", "asked"): 9,
        (f"{of}s_total", "answered"): 5,
        (f"{of}s_total", "given_up"): 3,
        (f"{of}_restarts_total",): 2,
        (f"{of}_seconds_total",): 7.5,
    }
    port = free_port()
    metrics = metrics_at(port)
    metrics.serve(readings)
    assert not [key for key in scrape(port) if "opinion" in key[0]]
    metrics.stop()


def test_it_can_be_stopped_and_served_again(readings: Readings) -> None:
    port = free_port()
    for _ in range(2):
        metrics = metrics_at(port)
        metrics.serve(readings)
        assert ("pe_stream_store_ok",) not in scrape(port)
        with pytest.raises(UnavailableError, match="cannot listen"):
            metrics_at(port).serve(readings)
        metrics.stop()
        metrics.stop()


def test_an_ipv6_address_is_in_brackets(readings: Readings) -> None:
    try:
        with socket.create_server(("::1", 0), family=socket.AF_INET6):
            pass
    except OSError:
        pytest.skip("needs IPv6 on loopback")
    port = free_port()
    settings = MetricsSettings(enabled=True, host="::1", port=port)
    metrics = Metrics(settings, on_failure=lambda _: None)
    url = metrics.serve(readings)
    assert url == f"http://[::1]:{port}/metrics"
    with urllib.request.urlopen(url, timeout=within(5)) as answer:
        assert answer.status == 200
    metrics.stop()


def test_a_stop_waits_no_longer_than_its_limit(
    readings: Readings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(metrics_module, "STOP_S", 0.2)
    begun, go_on = threading.Event(), threading.Event()

    def sources() -> dict[str, SourceStatus]:
        begun.set()
        go_on.wait(20)
        return {}

    port = free_port()
    metrics = metrics_at(port)
    metrics.serve(replace(readings, sources=sources))
    server = metrics._server
    assert server is not None
    with socket.create_connection((HOST, port)) as connection:
        connection.sendall(b"GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n")
        assert begun.wait(20)
        begun_s = time.monotonic()
        metrics.stop()
        assert time.monotonic() - begun_s < within(1)
        go_on.set()
        assert server.stop(within(5))


def test_its_thread_has_a_name_and_one_that_dies_is_told(
    readings: Readings, monkeypatch: pytest.MonkeyPatch
) -> None:
    failures: list[BaseException] = []
    seen: list[str] = []
    before = threading.enumerate()

    def sources() -> dict[str, SourceStatus]:
        seen.extend(thread.name for thread in threading.enumerate() if thread not in before)
        return {}

    port = free_port()
    metrics = metrics_at(port, failures)
    metrics.serve(replace(readings, sources=sources))
    scrape(port)
    assert seen == ["metrics"]
    assert metrics._server is not None

    def broken() -> None:
        raise RuntimeError("broken")

    monkeypatch.setattr(metrics._server, "_connections", broken)
    wait_until(lambda: failures != [], "it is told")
    assert "broken" in repr(failures[0])
    metrics.stop()


@pytest.mark.parametrize(
    "head",
    [
        b"GET /metrics?x=\xff HTTP/1.1\r\nHost: x\r\nX: \xff\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: x\r\nAccept: \xe9\r\nAccept-Encoding: \xff\r\n\r\n",
        b"POST /metrics HTTP/1.1\r\nHost: x\r\nContent-Length: 60000\r\n\r\nx",
    ],
)
def test_whatever_is_asked_gets_an_answer_and_one_only(
    readings: Readings, head: bytes, caplog: pytest.LogCaptureFixture
) -> None:
    """As many are answered as connections accepted: each takes time of the core that scores."""
    port = free_port()
    metrics = metrics_at(port)
    metrics.serve(readings)
    with socket.create_connection((HOST, port), within(5)) as connection:
        connection.sendall(head)
        answer = b""
        while more := connection.recv(65536):
            answer += more
    metrics.stop()
    status = answer.split()[1]
    assert status == b"200" or (b"\xff HTTP" in head and status == b"400")
    assert b"connection: close" in answer.lower()
    assert answer.count(b"HTTP/1.1 ") == 1
    assert not [record for record in caplog.records if record.exc_info]


def test_what_is_kept_and_who_looks_is_read_when_asked(readings: Readings) -> None:
    port = free_port()
    metrics = metrics_at(port)
    full = StoreStatus("no space left", 7)
    events = StoreStatus(None, 3)
    kept = {"heard": lambda: full}
    metrics.serve(
        replace(readings, events=lambda: events, kept=kept, viewers=lambda: 3, threads=lambda: 2)
    )
    try:
        now = scrape(port)
    finally:
        metrics.stop()
    assert now["pe_stream_kept_ok", "heard"] == 0
    assert now["pe_stream_kept_lost_total", "heard"] == 7
    assert now["pe_stream_store_ok",] == 1
    assert now["pe_stream_events_dropped_total",] == 3
    assert now["pe_stream_viewers",] == 3
    assert now["pe_stream_scoring_threads",] == 2


@pytest.mark.realtime
def test_the_dashboard_is_one_and_shows_what_there_is(
    tmp_path: Path, level: Path, broker: Mosquitto
) -> None:
    """It asks for nothing that there is not, and leaves nothing out without a reason."""
    board: dict[str, Any] = json.loads(DASHBOARD.read_text("utf-8"))
    read = Dashboard.from_json(board)
    assert read.title == "pe_stream"
    assert read.panels is not None
    assert len(read.panels) == len(board["panels"]) == len({p["id"] for p in board["panels"]})
    asked = {
        name
        for panel in board["panels"]
        for target in panel["targets"]
        for name in re.findall(r"pe_stream_\w+", target["expr"])
    }
    sound = write_float_wav(tmp_path / "sound.wav", noise((1, 0.001), (1, 0.2), (60, 0.001)))
    port = free_port()
    more = f"""
metrics: {{enabled: true, port: {port}}}
web: {{enabled: true, port: {free_port()}}}
search: {{enabled: true}}
second_opinion: {{checkpoint: {tmp_path / "none"}}}
notifications: {{phone: {{webhook: "http://127.0.0.1:{free_port()}/", phase: end}}}}
"""
    text = level_config(level, broker.port, sound, more).replace(", threads: 1", "")
    porch = f"  porch: {{url: 'http://127.0.0.1:{free_port()}/', picture: {{fps: 2}}}}\n"
    text = text.replace("sources:\n", f"sources:\n{porch}")
    with Daemon(tmp_path, text) as daemon:
        daemon.wait_for_log("kitchen: loud end")
        there = families(port)
    samples = {sample.name for family in there for sample in family.samples}
    assert asked <= samples
    shown = {re.sub(r"_(bucket|total)$", "", name) for name in asked}
    # A time that something was made at is a metric of its own to this parser.
    made = {family.name for family in there if not family.name.endswith("_created")}
    assert made - shown == LEFT_OUT.keys()
    assert all(family.documentation for family in there if family.name in made)


def test_panels_of_the_dashboard_do_not_overlap() -> None:
    board = json.loads(DASHBOARD.read_text("utf-8"))
    cells = [
        (x, y)
        for place in (panel["gridPos"] for panel in board["panels"])
        for x in range(place["x"], place["x"] + place["w"])
        for y in range(place["y"], place["y"] + place["h"])
    ]
    assert len(cells) == len(set(cells))
    assert max(x for x, _ in cells) < 24
