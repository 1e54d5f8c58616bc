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
from pe_stream.core.types import FRAME_NS, Event, FrameEmbeddings, Phase
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


SPAN = {"since": "2026-11-21T00:00:00Z", "until": "2026-11-22T00:00:00Z"}


def dog(number: int) -> Event:
    return event(number, Phase.END, 2.0, label="dog")


def test_events_are_found_by_what_was_heard_or_seen(house: Standing) -> None:
    house.remember(dog(1), 1.0)
    house.remember(dog(2), -3.0, 2.0)
    house.remember(dog(3), 0.0)
    house.remember(dog(4), 5.0, identity="cd" * 32)
    with house.client() as client:
        assert client.get("api/v1/info").json()["event_search"] is True
        asked = {"text": " a van ", **SPAN}
        told = client.get("api/v1/search/events", params={**asked, "limit": 2}).json()
        best, second = told.pop("events")
        assert told == {
            "text": "a van",
            "since": "2026-11-21T00:00:00.000Z",
            "until": "2026-11-22T00:00:00.000Z",
            "searched": 3,
            "left_out": [{"checkpoint": "an old one", "events": 1}],
        }
        found = best.pop("event")
        assert best == {"score": 0.8808, "sound": 0.0474, "picture": 0.8808, "both": None}
        one = client.get("api/v1/events/id-0002").json()
        assert found == {key: one[key] for key in found}
        assert (found["id"], found["source"], found["label"]) == ("id-0002", "porch", "dog")
        assert (second["event"]["id"], second["score"]) == ("id-0001", 0.7311)
        kitchen = client.get("api/v1/search/events", params={**asked, "source": "kitchen"}).json()
        assert [each["event"]["id"] for each in kitchen["events"]] == ["id-0001", "id-0003"]
        later = client.get("api/v1/search/events", params={"text": "a van"}).json()
        assert (later["searched"], later["events"]) == (0, [])


def test_events_cannot_be_searched_without_who_reads_texts(house: Standing) -> None:
    there: DaemonView = house.server._daemon
    with house.client() as client:
        answer = client.get("api/v1/search/events", params={"text": "away"})
        assert answer.status_code == 503
        assert answer.json()["detail"] == "no second opinions at present: loading"
        object.__setattr__(there, "event_probe", None)
        answer = client.get("api/v1/search/events", params={"text": "x"})
        assert client.get("api/v1/info").json()["event_search"] is False
    assert answer.status_code == 409
    assert "set second_opinion.checkpoint in the configuration" in answer.json()["detail"]


@pytest.mark.parametrize("path", ["api/v1/search", "api/v1/search/events"])
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
    house: Standing, wrong: dict[str, str | int], status: int, said: str, path: str
) -> None:
    with house.client() as client:
        answer = client.get(path, params=wrong)
    assert answer.status_code == status
    assert said in answer.json()["detail"]


def test_searching_has_its_limit(house: Standing) -> None:
    with house.client() as client:
        ways = ["api/v1/search", "api/v1/search/events"] * 16
        answers = [client.get(way, params={"text": "x"}) for way in ways[:31]]
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
