from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from mosquitto import wait_until

from pe_stream.errors import ConfigError, UnavailableError, UnfinishedError
from pe_stream.requests import Requests


def asked(requests: Requests, count: int) -> None:
    wait_until(lambda: requests._waiting.qsize() == count, "it is asked")


def test_it_is_done_on_the_serving_thread() -> None:
    requests = Requests(2, 10)
    with ThreadPoolExecutor() as pool:
        told = pool.submit(requests.ask, threading.current_thread)
        asked(requests, 1)
        requests.serve()
        assert told.result(5) is threading.current_thread()


def test_what_it_raises_is_raised_where_it_was_asked_for() -> None:
    requests = Requests(2, 10)

    def refuse() -> None:
        raise ConfigError("no")

    with ThreadPoolExecutor() as pool:
        told = pool.submit(requests.ask, refuse)
        asked(requests, 1)
        requests.serve()
        with pytest.raises(ConfigError, match="no"):
            told.result(5)


def test_nobody_waits_for_ever_and_nothing_is_done_then() -> None:
    requests, done = Requests(2, 0.05), list[int]()
    with pytest.raises(UnavailableError, match="busy"):
        requests.ask(lambda: done.append(1))
    requests.serve()
    assert not done


def test_what_has_begun_may_yet_be_done() -> None:
    requests, begun, go_on = Requests(2, 0.05), threading.Event(), threading.Event()

    def slow() -> None:
        begun.set()
        assert go_on.wait(10)

    def serve() -> None:
        while not begun.is_set():
            requests.serve()

    with ThreadPoolExecutor() as pool:
        serving = pool.submit(serve)
        with pytest.raises(UnfinishedError, match="look whether"):
            requests.ask(slow)
        go_on.set()
        serving.result(10)


@pytest.mark.parametrize("end", [Requests.give_up, lambda _: None], ids=["given up", "full"])
def test_what_is_given_up_or_too_much_is_told(end: Callable[[Requests], Any]) -> None:
    requests = Requests(1, 10)
    with ThreadPoolExecutor() as pool:
        told = pool.submit(requests.ask, lambda: 1)
        asked(requests, 1)
        with pytest.raises(UnavailableError, match="busy"):  # one more than may wait
            requests.ask(lambda: 2)
        end(requests)
        requests.serve()
        if end is Requests.give_up:
            with pytest.raises(UnavailableError, match="busy"):
                told.result(5)
        else:
            assert told.result(5) == 1
