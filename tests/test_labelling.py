"""Labels are taken anew beside the main loop; see test_daemon and tests/web for the whole way."""

from __future__ import annotations

import threading
from types import SimpleNamespace
from typing import Any, cast

import pytest
from mosquitto import wait_until

from pe_stream import local_time
from pe_stream.config import LocationSettings, Settings
from pe_stream.config_file import parse
from pe_stream.errors import ConfigError
from pe_stream.labelling import Labelling
from pe_stream.local_time import LocalTime
from pe_stream.requests import Requests

SETTINGS = parse("sources: {a: {microphone: default}}\nlabels: {dog: }")


class Reader:
    """Reads the configuration as slowly as examples are embedded, and finds it wrong."""

    def __init__(self) -> None:
        self.begun = threading.Semaphore(0)
        self.go_on = threading.Semaphore(0)
        self.error: Exception = ConfigError("labels.dog: no")
        self.times = 0

    def __call__(self) -> Settings:
        self.times += 1
        self.begun.release()
        assert self.go_on.acquire(timeout=30)
        raise self.error


def labelling(reader: Reader, failures: list[BaseException]) -> Labelling:
    hearing = SimpleNamespace(checkpoint=SimpleNamespace(recommended={}))
    return Labelling(
        SETTINGS,
        cast("Any", hearing),
        cast("Any", None),
        LocalTime(LocationSettings()),
        local_time.now(),
        file=None,
        version="",
        read=reader,
        asked=Requests(1, 1.0),
        changed=lambda *_: None,
        applied=lambda: None,
        on_failure=failures.append,
    )


def test_a_reload_holds_nobody_up_and_many_are_two(caplog: pytest.LogCaptureFixture) -> None:
    reader = Reader()
    labels = labelling(reader, [])
    labels.reload()
    assert reader.begun.acquire(timeout=30)
    for _ in range(5):  # returns, though the first is not done
        labels.reload()
    reader.go_on.release(2)
    wait_until(lambda: caplog.text.count("not reloaded") == 2, "two")
    assert reader.times == 2
    labels.reload()
    reader.go_on.release()
    wait_until(lambda: caplog.text.count("not reloaded") == 3, "another")


def test_a_fault_of_ours_is_told() -> None:
    reader, failures = Reader(), list[BaseException]()
    reader.error = ZeroDivisionError("a fault")
    reader.go_on.release()
    labelling(reader, failures).reload()
    wait_until(lambda: failures == [reader.error], "the fault")
