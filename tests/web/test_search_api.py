from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import pytest
from limits.storage import MemoryStorage
from limits.strategies import MovingWindowRateLimiter
from stand_ins import ONSET, event
from web.houses import Standing

from pe_stream.core.pooling import POOL
from pe_stream.core.types import FRAME_NS, FrameEmbeddings, Phase
from pe_stream.web import search_api
from pe_stream.web.daemon_view import DaemonView

ROW_NS = POOL * FRAME_NS


@pytest.fixture(autouse=True)
def _fresh(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(search_api, "_limiter", MovingWindowRateLimiter(MemoryStorage()))


def heard(rows: int, planted: int) -> FrameEmbeddings:
    """Logit -3, and 3 at one row: the house's probe looks at the first dimension."""
    made = np.zeros((rows * POOL, 3), np.float16)
    made[:, 0] = -3
    made[planted * POOL : (planted + 1) * POOL, 0] = 3
    return made


def ns(when: datetime) -> int:
    return (when - datetime(1970, 1, 1, tzinfo=UTC)) // timedelta(microseconds=1) * 1000


def test_a_moment_is_found_with_its_event(house: Standing) -> None:
    house.store.record(event(1, Phase.END, 2.0, source="kitchen", label="dog"), [])
    onset = ONSET + timedelta(seconds=1)
    house.memory.add("kitchen", ns(onset) - 50 * ROW_NS, heard(100, 50))
    house.memory.add("porch", ns(onset) - 50 * ROW_NS, heard(40, 10))
    span = {"since": "2026-11-21T00:00:00Z", "until": "2026-11-22T00:00:00Z"}
    with house.client() as client:
        assert client.get("api/v1/info").json()["search"] is True
        told = client.get("api/v1/search", params={"text": " a dog ", **span, "limit": 1}).json()
        assert told["text"] == "a dog"
        assert told["searched_s"] == 56
        assert told["left_out"] == []
        assert told["since"] == "2026-11-21T00:00:00.000Z"
        (best,) = told["moments"]
        assert best["score"] == pytest.approx(0.9526, abs=0.001)
        there = {"id": "id-0001", "label": "dog", "clip_s": None}
        kitchen, porch = client.get(
            "api/v1/search", params={"text": "x", **span, "limit": 2}
        ).json()["moments"]
        if kitchen["source"] == "porch":
            kitchen, porch = porch, kitchen
        assert kitchen["event"] == there
        assert (kitchen["start"], kitchen["duration_s"]) == ("2026-11-21T02:15:50.320Z", 0.4)
        assert porch["event"] is None
        one = client.get("api/v1/search", params={"text": "x", **span, "source": "porch"}).json()
        assert {each["source"] for each in one["moments"]} == {"porch"}
        later = {"text": "x", "since": "2026-11-21T03:00:00Z", "until": span["until"]}
        none = client.get("api/v1/search", params=later).json()
        assert (none["searched_s"], none["moments"]) == (0, [])


def test_without_a_time_it_is_the_last_day(house: Standing) -> None:
    now_ns = ns(datetime.now(UTC))
    house.memory.add("kitchen", now_ns - 20 * 3600 * 10**9, heard(10, 5))
    house.memory.add("kitchen", now_ns - 30 * 3600 * 10**9, heard(10, 5))
    with house.client() as client:
        assert client.get("api/v1/search", params={"text": "x"}).json()["searched_s"] == 4


def test_what_another_checkpoint_heard_is_told(house: Standing) -> None:
    house.memory._identity, house.memory._checkpoint = "cd" * 32, "the old one"
    house.memory.add("kitchen", ns(ONSET), heard(10, 5))
    with house.client() as client:
        told = client.get(
            "api/v1/search",
            params={
                "text": "x",
                "since": "2026-11-21T00:00:00Z",
                "until": "2026-11-22T00:00:00Z",
            },
        ).json()
    assert told["moments"] == []
    assert told["left_out"] == [{"checkpoint": "the old one", "heard_s": 4.0}]


@pytest.mark.parametrize(
    ("wrong", "status", "said"),
    [
        ({}, 422, "text"),
        ({"text": ""}, 422, "text"),
        ({"text": "   "}, 422, "the text is empty; describe the sound in words"),
        ({"text": "x" * 501}, 422, "text"),
        ({"text": "refused"}, 422, "too long"),
        ({"text": "x", "source": "attic"}, 404, "no source 'attic'"),
        ({"text": "x", "since": "yesterday"}, 422, "since"),
        ({"text": "x", "since": "2026-11-21T00:00:00"}, 422, "since"),
        (
            {"text": "x", "since": "2026-11-21T00:00:00Z", "until": "2026-11-21T00:00:00Z"},
            422,
            "aft",
        ),
        ({"text": "x", "limit": 0}, 422, "limit"),
        ({"text": "x", "limit": 201}, 422, "limit"),
    ],
)
def test_what_cannot_be_searched(
    house: Standing, wrong: dict[str, str | int], status: int, said: str
) -> None:
    with house.client() as client:
        answer = client.get("api/v1/search", params=wrong)
    assert answer.status_code == status
    assert said in answer.json()["detail"]


def test_searching_has_its_limit(house: Standing) -> None:
    with house.client() as client:
        answers = [client.get("api/v1/search", params={"text": "x"}) for _ in range(31)]
    assert [answer.status_code for answer in answers] == [200] * 30 + [429]
    assert answers[-1].headers["retry-after"] == "10"


def test_where_nothing_is_kept_it_says_how_to_turn_it_on(house: Standing) -> None:
    there: DaemonView = house.server._daemon
    object.__setattr__(there, "embeddings", None)
    with house.client() as client:
        answer = client.get("api/v1/search", params={"text": "x"})
        assert client.get("api/v1/info").json()["search"] is False
    assert answer.status_code == 409
    assert "set search.enabled to true" in answer.json()["detail"]


def test_a_folder_that_cannot_be_read_is_told(house: Standing) -> None:
    folder: Path = house.folder / "heard"
    if folder.exists():
        for path in sorted(folder.rglob("*"), reverse=True):
            path.unlink() if path.is_file() else path.rmdir()
        folder.rmdir()
    folder.write_text("a file")
    with house.client() as client:
        answer = client.get("api/v1/search", params={"text": "x"})
    assert answer.status_code == 503
    assert "cannot be read" in answer.json()["detail"]
