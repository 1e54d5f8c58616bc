"""The watchdog is fed only while scores advance; systemd is told on a real socket."""

from __future__ import annotations

import os
import resource
import socket
import time
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import psutil
import pytest

from pe_stream.core.ledger import Ledger
from pe_stream.core.source_status import SourceStatus
from pe_stream.core.types import SAMPLE_RATE
from pe_stream.daemon import watchdog as watchdog_module
from pe_stream.daemon.watchdog import ALIVE_S, STUCK_S, Watchdog, tell_systemd


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


def test_waiting_for_an_engine_elsewhere_is_no_standing_still() -> None:
    watchdog, away = Watchdog(), status(100, 5)
    for look in range(5):
        away = replace(status(100, 5 + look * STUCK_S), waits=look, engine_reason="refused")
        assert watchdog.check({"a": away})
    still = replace(status(100, 5 + 6 * STUCK_S), waits=away.waits, engine_reason="refused")
    assert not watchdog.check({"a": still}), "nobody sees that it waits"


def test_it_is_alive_while_it_was_well_within_a_minute(monkeypatch: pytest.MonkeyPatch) -> None:
    now_s = [1000.0]
    monkeypatch.setattr(time, "monotonic", lambda: now_s[0])
    watchdog = Watchdog()
    assert not watchdog.alive, "nobody knows yet"
    watchdog.check({"a": status(0, 0)})
    assert watchdog.alive
    now_s[0] += ALIVE_S - 1
    assert not watchdog.check({"a": status(0, 1 + STUCK_S)})
    assert watchdog.alive
    now_s[0] += 1
    assert not watchdog.alive, "the thread that looks may itself be stuck"
    watchdog.check({"a": status(1, 1 + STUCK_S)})
    assert watchdog.alive


@pytest.fixture(autouse=True)
def forgotten() -> Iterator[None]:
    """No test has the socket of another."""
    yield
    watchdog_module._to_systemd().close()
    watchdog_module._to_systemd.cache_clear()


@pytest.fixture
def systemd() -> Iterator[socket.socket]:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as listening:
        listening.settimeout(10)
        yield listening


def test_systemd_is_told_on_a_socket_with_a_path(
    tmp_path: Path, systemd: socket.socket, monkeypatch: pytest.MonkeyPatch
) -> None:
    systemd.bind(str(tmp_path / "notify"))
    monkeypatch.setenv("NOTIFY_SOCKET", str(tmp_path / "notify"))
    tell_systemd("READY=1")
    tell_systemd("STOPPING=1")
    assert [systemd.recv(100) for _ in range(2)] == [b"READY=1", b"STOPPING=1"]


def test_systemd_is_told_on_an_abstract_socket(
    systemd: socket.socket, monkeypatch: pytest.MonkeyPatch
) -> None:
    systemd.bind(f"\0pe-stream-test-{os.getpid()}")
    monkeypatch.setenv("NOTIFY_SOCKET", f"@pe-stream-test-{os.getpid()}")
    tell_systemd("WATCHDOG=1")
    assert systemd.recv(100) == b"WATCHDOG=1"


@pytest.mark.parametrize("address", [None, "", "/nowhere/notify", "@nobody-listens", "x" * 200])
def test_nobody_to_tell_is_no_error(address: str | None, monkeypatch: pytest.MonkeyPatch) -> None:
    if address is None:
        monkeypatch.delenv("NOTIFY_SOCKET", raising=False)
    else:
        monkeypatch.setenv("NOTIFY_SOCKET", address)
    tell_systemd("READY=1")


def test_a_systemd_that_takes_nothing_holds_nobody_up(
    tmp_path: Path, systemd: socket.socket, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "notify"
    systemd.bind(str(path))
    monkeypatch.setenv("NOTIFY_SOCKET", str(path))
    monkeypatch.setattr(watchdog_module, "SYSTEMD_S", 0.05)
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as full:
        full.setblocking(False)
        with suppress(BlockingIOError):
            while True:
                full.sendto(b"x", str(path))
    tell_systemd("READY=1")


def test_one_socket_is_enough_also_where_there_is_no_descriptor_left(
    tmp_path: Path, systemd: socket.socket, monkeypatch: pytest.MonkeyPatch
) -> None:
    systemd.bind(str(tmp_path / "notify"))
    monkeypatch.setenv("NOTIFY_SOCKET", str(tmp_path / "notify"))
    tell_systemd("READY=1")
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    process = psutil.Process()
    before = process.num_fds()
    resource.setrlimit(resource.RLIMIT_NOFILE, (3, hard))
    try:
        for _ in range(5):
            tell_systemd("WATCHDOG=1")
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    assert process.num_fds() == before
    assert [systemd.recv(100) for _ in range(6)] == [b"READY=1", *[b"WATCHDOG=1"] * 5]
