from __future__ import annotations

import threading
import time

import pytest
from timing import within

from pe_stream.config.worker import Worker


def test_it_works_on_a_daemon_thread_of_that_name_and_ends() -> None:
    failures: list[BaseException] = []
    seen: list[threading.Thread] = []
    worker = Worker("sorting", lambda: seen.append(threading.current_thread()), failures.append)
    assert not seen
    worker.start()
    assert worker.join(10)
    assert not worker.running
    assert [(thread.name, thread.daemon) for thread in seen] == [("sorting", True)]
    assert failures == []


@pytest.mark.parametrize("error", [RuntimeError("broken"), SystemExit(3), KeyboardInterrupt()])
def test_whatever_ends_it_is_reported_on_its_thread(error: BaseException) -> None:
    told: list[tuple[str, BaseException]] = []

    def work() -> None:
        raise error

    def note(what: BaseException) -> None:
        told.append((threading.current_thread().name, what))

    worker = Worker("sorting", work, note)
    worker.start()
    assert worker.join(10)
    assert told == [("sorting", error)]


def test_one_that_does_not_end_is_waited_for_until_a_deadline() -> None:
    go_on = threading.Event()

    def work() -> None:
        go_on.wait(20)

    worker = Worker("stuck", work, lambda _: None)
    worker.start()
    begun_s = time.monotonic()
    assert not worker.join(0.05)
    assert 0.05 <= time.monotonic() - begun_s < within(10)
    assert worker.running
    go_on.set()
    assert worker.join(10)


def test_one_that_was_never_started_has_nothing_to_wait_for() -> None:
    worker = Worker("idle", lambda: None, lambda _: None)
    assert worker.join(10)
    assert not worker.running
