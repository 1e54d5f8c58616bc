"""Scoring comes first: the page's own work is done one at a time, and nobody waits for ever."""

from __future__ import annotations

import importlib
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import httpx
import numpy as np
import pytest
from limits.storage import MemoryStorage
from limits.strategies import MovingWindowRateLimiter
from mosquitto import wait_until
from timing import within
from web.houses import Standing

from pe_stream.web import daemon_api, search_api

TRY = {"text": "x", "source": "kitchen"}


class Slow:
    """What the house compares with takes until it is let go."""

    def __init__(self, house: Standing) -> None:
        self.begun, self.go_on = threading.Semaphore(0), threading.Event()
        compare = house.server._daemon.compare

        def slowly(embeddings: Any, text: str) -> Any:
            self.begun.release()
            assert self.go_on.wait(30)
            return compare(embeddings, text)

        object.__setattr__(house.server._daemon, "compare", slowly)
        house.recent.add("kitchen", 10**18, np.full((10, 3), 0.5, np.float16))


@pytest.fixture
def slow(house: Standing, monkeypatch: pytest.MonkeyPatch) -> Iterator[Slow]:
    for api in (daemon_api, search_api):
        monkeypatch.setattr(api, "_limiter", MovingWindowRateLimiter(MemoryStorage()))
    made = Slow(house)
    try:
        yield made
    finally:
        made.go_on.set()


def patience(monkeypatch: pytest.MonkeyPatch, **wanted: float) -> None:
    gate = importlib.import_module("pe_stream.web.gate")
    for name, value in wanted.items():
        monkeypatch.setattr(gate, name, value)


ASKED: dict[str, Callable[[httpx.Client], httpx.Response]] = {
    "try": lambda client: client.post("api/v1/try", json=TRY),
    "search": lambda client: client.get("api/v1/search", params={"text": "x"}),
    "preview": lambda client: client.get("api/v1/labels/dog/preview"),
    "preview of": lambda client: client.post("api/v1/labels/dog/preview", json={}),
}


@pytest.mark.parametrize("what", ASKED)
def test_nothing_is_done_beside_another_and_nobody_waits_for_ever(
    what: str, house: Standing, slow: Slow, monkeypatch: pytest.MonkeyPatch
) -> None:
    patience(monkeypatch, PATIENCE_S=0.2)
    with house.client() as client, ThreadPoolExecutor() as pool:
        first = pool.submit(client.post, "api/v1/try", json=TRY)
        assert slow.begun.acquire(timeout=within(10))
        answer = ASKED[what](client)
        assert (answer.status_code, answer.headers["retry-after"]) == (503, "5")
        assert answer.json() == {"detail": "too many ask at once"}
        slow.go_on.set()
        assert first.result(20).status_code == 200
        assert ASKED[what](client).status_code == 200


def test_many_that_wait_leave_the_rest_of_the_page_alone(
    house: Standing, slow: Slow, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each of them holds one of forty threads."""
    with house.client() as client, ThreadPoolExecutor(50) as pool:
        answers = [pool.submit(client.post, "api/v1/try", json=TRY) for _ in range(50)]
        assert slow.begun.acquire(timeout=within(10))
        assert client.get("api/v1/labels", timeout=within(5)).status_code == 200
        # One is under way and eight wait; the others are refused, however late they came.
        wait_until(lambda: sum(answer.done() for answer in answers) >= 41, "refused")
        slow.go_on.set()
        statuses = [answer.result(30).status_code for answer in answers]
    assert {*statuses} == {200, 503}
    assert 1 <= statuses.count(200) <= 9
