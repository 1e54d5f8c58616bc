"""Sources are opened together, and none waits for another."""

from __future__ import annotations

import logging
import os
import signal
import threading
import time
from collections.abc import Callable
from concurrent.futures import Future
from pathlib import Path

import numpy as np
import pytest
from mosquitto import Mosquitto
from processes import Daemon, MosquittoSub, level_config, pe_stream
from sounds import noise, write_float_wav
from stand_ins import ScriptedSource, eventually
from timing import within

from pe_stream.audio.feed import Feed
from pe_stream.audio.source import Source
from pe_stream.config import Settings
from pe_stream.core.types import AudioChunk
from pe_stream.errors import UnavailableError
from pe_stream.pipeline import openers as openers_module
from pe_stream.pipeline.openers import filters_of, open_together, openers, refilter


def feed(name: str, take_s: threading.Event | None = None, error: str = "") -> Feed:
    """A feed whose source opens once `take_s` is set, or fails to."""

    def opener(_first_sample: int, _at_s: float | None) -> Source:
        if take_s is not None:
            take_s.wait(within(120))
        if error:
            raise UnavailableError(error)
        source = ScriptedSource()
        source.describe = f"source of {name}"
        return source

    return Feed(name, opener, arrived=lambda: None, failed=lambda _: None)


def stop(*feeds: Feed) -> None:
    for each in feeds:
        each.stop()
        each.join(2)


def test_all_are_opened_at_the_same_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(openers_module, "OPEN_S", within(30))
    barrier = threading.Barrier(3)

    def opener(_first_sample: int, _at_s: float | None) -> Source:
        barrier.wait(within(20))  # none gets past it alone
        return ScriptedSource()

    feeds = {
        name: Feed(name, opener, arrived=lambda: None, failed=lambda _: None) for name in "abc"
    }
    opened = open_together(feeds)
    assert list(opened) == ["a", "b", "c"]
    assert set(opened.values()) == {ScriptedSource.describe}
    stop(*feeds.values())


def test_one_that_takes_long_is_left_to_itself(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(openers_module, "OPEN_S", 0.1)
    never = threading.Event()
    feeds = {"hall": feed("hall"), "pipe": feed("pipe", never)}
    begin = feeds["pipe"].open_soon

    def once_the_hall_is_open() -> Future[str]:
        """However long that takes on a busy machine: only the pipe's time is to be up."""
        assert eventually(lambda: feeds["hall"].lost_reason is None)
        return begin()

    monkeypatch.setattr(feeds["pipe"], "open_soon", once_the_hall_is_open)
    said = open_together(feeds)
    assert said == {"pipe": "what is still being opened", "hall": "source of hall"}
    [warning] = [each for each in caplog.records if each.levelno == logging.WARNING]
    assert warning.getMessage().startswith("pipe: it is still being opened")
    never.set()
    assert eventually(lambda: feeds["pipe"].lost_reason is None)
    stop(*feeds.values())


def test_one_that_cannot_be_opened_is_told_without_waiting_for_one_that_takes_long(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(openers_module, "OPEN_S", within(60))
    never = threading.Event()
    feeds = {"pipe": feed("pipe", never), "attic": feed("attic", error="no such device")}
    begun_s = time.monotonic()
    with pytest.raises(UnavailableError, match="attic: no such device"):
        open_together(feeds)
    assert time.monotonic() - begun_s < within(2)
    never.set()
    stop(*feeds.values())


@pytest.mark.realtime
def test_field_case_22_a_pipe_that_nobody_writes_to(
    tmp_path: Path, level: Path, broker: Mosquitto
) -> None:
    sound = write_float_wav(tmp_path / "sound.wav", noise((1, 0.001), (1, 0.2), (1, 0.001)))
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    sources = f"{{url: {pipe}}}\n  hall: {{url: {sound}, loop: true}}"
    with (
        MosquittoSub(broker.port) as house,
        Daemon(tmp_path, level_config(level, broker.port, sources)) as daemon,
    ):
        house.wait_for("pe_stream/test_node/hall/events", '"end"')
        daemon.send(signal.SIGTERM)
        assert daemon.exit_code() == 143


def test_sources_are_heard_through_their_filters(tmp_path: Path) -> None:
    """Of a hum and a beep, only what was not taken away; and otherwise once that is set."""
    at = np.arange(48_000) / 48_000
    both = 0.4 * np.sin(2 * np.pi * 50 * at) + 0.1 * np.sin(2 * np.pi * 2000 * at)
    sound = write_float_wav(tmp_path / "sound.wav", both.astype(np.float32))
    labels = {"labels": {"dog": None}}
    sources = {"a": {"url": str(sound), "highpass_hz": 500.0}, "b": {"url": str(sound)}}
    settings = Settings.model_validate({"sources": sources} | labels)
    filters = filters_of(settings)
    made = openers(settings, filters)
    heard = {name: made[name](0, None) for name in made}

    def rms(name: str) -> float:
        item = next(heard[name])
        assert isinstance(item, AudioChunk)
        return float(np.sqrt(np.mean(item.samples.astype(float) ** 2)))

    assert rms("a") == pytest.approx(0.0707, rel=0.1)
    assert rms("b") == pytest.approx(0.29, rel=0.1)
    sources["a"] = {"url": str(sound), "gain_db": -20.0}
    sources["c"] = {"url": str(sound)}
    refilter(filters, Settings.model_validate({"sources": sources} | labels).sources)
    assert rms("a") == pytest.approx(0.029, rel=0.1)
    assert rms("b") == pytest.approx(0.29, rel=0.1)
    for source in heard.values():
        source.close()
    alone = openers(settings)["a"](0, None)
    assert "high-pass 500 Hz" in alone.describe
    alone.close()


@pytest.mark.realtime
def test_a_pipe_that_nobody_writes_to_does_not_hold_up_the_stop(
    tmp_path: Path, level: Path, broker: Mosquitto
) -> None:
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    with Daemon(tmp_path, level_config(level, broker.port, f"{{url: {pipe}}}")) as daemon:
        daemon.wait_for_log("publishing on")
        begun_s = time.monotonic()
        daemon.send(signal.SIGTERM)
        assert daemon.exit_code() == 143
        assert time.monotonic() - begun_s < within(8)


def test_check_goes_on_after_what_does_not_open(
    tmp_path: Path, level: Path, broker: Mosquitto, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As a file on a server that does not answer."""
    may_open = threading.Event()

    def open_first(_first: int, _at_s: float | None) -> Source:
        may_open.wait(within(90))
        return ScriptedSource().give(None)

    def opening(*_: object, **__: object) -> dict[str, Callable[[int, float | None], Source]]:
        return {"kitchen": open_first}

    monkeypatch.setattr("pe_stream.outputs.mqtt.trial.ANSWER_S", within(30))
    monkeypatch.setattr("pe_stream.cli.commands.check_source.OPEN_S", 0.3)
    monkeypatch.setattr("pe_stream.cli.commands.check_source.openers", opening)
    config = tmp_path / "config.yaml"
    config.write_text(level_config(level, broker.port, "{url: far.wav}"))
    begun_s = time.monotonic()
    done = pe_stream("check", "-c", config)
    assert time.monotonic() - begun_s < within(40)
    may_open.set()
    assert done.returncode == 69
    assert "FAILED source kitchen: not open within 0.3 s" in done.stdout
    assert f"ok     broker: 127.0.0.1:{broker.port} accepts us" in done.stdout
