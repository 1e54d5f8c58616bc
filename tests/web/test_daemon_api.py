from __future__ import annotations

import asyncio
import time
from datetime import UTC, datetime, timedelta
from types import SimpleNamespace
from typing import Any, cast

import numpy as np
import pytest
from web.houses import Standing, source_state

from pe_stream.core.types import FRAME_NS
from pe_stream.web import daemon_api
from pe_stream.web.gate import Gate
from pe_stream.web.passwords import Authenticator
from pe_stream.web.recent_embeddings import KEPT_S, RecentEmbeddings
from pe_stream.web.viewers import Viewers

NOW_NS = 1_800_000_000_000_000_000


def frames(count: int, value: float = 0.5) -> np.ndarray[tuple[int, int], np.dtype[np.float16]]:
    return np.full((count, 3), value, np.float16)


def test_what_it_is(house: Standing) -> None:
    with house.client() as client:
        told = client.get("api/v1/info").json()
        assert told["checkpoint"] == "level"
        assert told["broker"] == {"connected": True, "waiting": 3}
        assert told["config"] == {"path": str(house.file.path), "writable": True, "reason": None}
        assert (told["store"], told["history"]) == ("ok", True)
        sources = client.get("api/v1/sources").json()["sources"]
    shown = {key: value for key, value in source_state().items() if key != "store"}
    unfiltered = {"gain_db": 0.0, "highpass_hz": None, "lowpass_hz": None}
    assert sources[0] == {"name": "kitchen", **shown, "labels": ["dog", "knock"], **unfiltered}
    assert (sources[1]["name"], sources[1]["labels"]) == ("porch", ["dog"])


def test_health_says_whether_scores_advance(house: Standing) -> None:
    with house.client() as client:
        for alive, status, told in ((True, 200, "ok"), (False, 503, "failing")):
            house.alive = alive
            answer = client.get("api/v1/health")
            assert (answer.status_code, answer.json()) == (status, {"status": told})


def test_any_text_is_tried_on_the_last_minute(house: Standing) -> None:
    with house.client() as client:
        ask = {"text": "a kettle whistling", "source": "kitchen"}
        answer = client.post("api/v1/try", json=ask)
        assert (answer.status_code, answer.json()["detail"]) == (
            409,
            "nothing was heard from kitchen yet",
        )
        house.recent.add("kitchen", NOW_NS, frames(10, 0.25))
        house.recent.add("kitchen", NOW_NS + 10 * FRAME_NS, frames(5, 0.75))
        told = client.post("api/v1/try", json=ask).json()
        assert told["scores"] == [0.25] * 10 + [0.75] * 5
        assert (told["peak"], told["peak_at"]) == (0.75, "2027-01-15T08:00:00.400Z")
        assert told["start"] == "2027-01-15T08:00:00.000Z"
        for wrong, status in (
            ({"text": "", "source": "kitchen"}, 422),
            ({"text": "x" * 501, "source": "kitchen"}, 422),
            ({"text": "refused", "source": "kitchen"}, 422),
            ({"text": "x", "source": "attic"}, 404),
            ({"text": "x"}, 422),
        ):
            assert client.post("api/v1/try", json=wrong).status_code == status, wrong


def test_trying_has_its_limit(house: Standing) -> None:
    house.recent.add("porch", NOW_NS, frames(10))
    with house.client() as client:
        ask = {"text": "x", "source": "porch"}
        answers = [client.post("api/v1/try", json=ask).status_code for _ in range(65)]
    assert answers[-1] == 429


def test_the_last_minute_is_kept_and_a_break_forgets() -> None:
    recent = RecentEmbeddings()
    most = KEPT_S * 25
    for number in range(most // 10 + 20):
        recent.add("a", NOW_NS + number * 10 * FRAME_NS, frames(10, number % 7 / 8))
    kept = recent.last("a")
    assert kept is not None
    start_ns, embeddings = kept
    assert len(embeddings) == most
    assert start_ns == NOW_NS + 200 * FRAME_NS
    assert embeddings[-1, 0] == np.float16((most // 10 + 19) % 7 / 8)
    recent.add("a", NOW_NS + 10**12, frames(3))
    again = recent.last("a")
    assert again is not None
    assert (again[0], len(again[1])) == (NOW_NS + 10**12, 3)
    assert recent.last("b") is None


@pytest.mark.parametrize("part", [0.03, -0.03])
def test_the_last_minute_of_a_clock_that_is_fast_or_slow_is_one(part: float) -> None:
    recent = RecentEmbeddings()
    for number in range(150):
        recent.add("a", NOW_NS + round(number * 10 * FRAME_NS * (1 + part)), frames(10))
    kept = recent.last("a")
    assert kept is not None
    assert len(kept[1]) == 1500
    end_ns = kept[0] + 1490 * FRAME_NS  # the newest has its time
    assert end_ns == NOW_NS + round(1490 * FRAME_NS * (1 + part))


def test_a_viewer_that_comes_while_sources_begin_is_told_of_rules(house: Standing) -> None:
    rules = dict(house.rules)
    object.__setattr__(house.server._daemon, "rules", lambda: rules)
    viewers = Viewers(1, Gate())
    state = SimpleNamespace(viewers=viewers, door=Authenticator(house.settings.web))
    request = SimpleNamespace(app=SimpleNamespace(state=state), headers={})

    async def seen() -> list[str]:
        viewers.attend(asyncio.get_running_loop())
        kinds = []
        stream = await daemon_api.live(house.server._daemon, cast("Any", request))
        async for message in stream._messages:
            kinds.append(message.split()[1])
            rules[f"source {len(kinds)}"] = rules["kitchen"]  # it begins to be listened to
            if kinds.count("rules") == 2:
                break
        return kinds

    assert asyncio.run(seen()) == ["hello", "health", "health", "rules", "rules"]


def test_stored_scores_come_in_runs(house: Standing) -> None:
    start = datetime(2026, 11, 21, 10, tzinfo=UTC)
    start_ns = round(start.timestamp() * 1e9)
    house.history.relabel({"dog": "k"})
    house.history.add("kitchen", ["dog"], ["dog"], start_ns, np.full((5, 1), 0.5, np.float32))
    later_ns = start_ns + 10**10
    house.history.add("kitchen", ["dog"], ["dog"], later_ns, np.full((4, 1), 0.25, np.float32))
    ask = {
        "source": "kitchen",
        "label": "dog",
        "since": (start - timedelta(minutes=1)).isoformat(),
        "until": (start + timedelta(minutes=1)).isoformat(),
    }
    with house.client() as client:
        told = client.get("api/v1/scores", params=ask).json()
        assert [run["start"] for run in told["runs"]] == [
            "2026-11-21T10:00:00.000Z",
            "2026-11-21T10:00:10.000Z",
        ]
        assert told["runs"][1]["scores"] == [pytest.approx(0.25, abs=0.005)] * 4
        for wrong, status in (
            ({"until": (start + timedelta(hours=2)).isoformat()}, 422),
            ({"until": ask["since"]}, 422),
            ({"since": "9999-01-01T00:00:00Z", "until": "9999-01-01T00:00:01Z"}, 422),
            ({"since": "0001-01-01T00:00:00Z", "until": "0001-01-01T00:00:01Z"}, 422),
            ({"label": "cat"}, 404),
            ({"source": "attic"}, 404),
        ):
            assert client.get("api/v1/scores", params=ask | wrong).status_code == status


def test_scores_of_the_last_hour_are_asked_for_as_such(house: Standing) -> None:
    now_ns = time.time_ns()
    house.history.relabel({"dog": "k"})
    for minutes in (5, 50):
        start_ns = now_ns - minutes * 60 * 10**9
        house.history.add("kitchen", ["dog"], ["dog"], start_ns, np.full((5, 1), 0.5, np.float32))
    ask = {"source": "kitchen", "label": "dog"}
    with house.client() as client:
        for more, runs in (
            ({"since": "10m"}, 1),
            ({"since": "1h"}, 2),
            ({"since": "1h", "until": "0s"}, 2),
            ({"since": "60m", "until": "10m"}, 1),
        ):
            told = client.get("api/v1/scores", params={**ask, **more})
            assert told.is_success, told.text
            assert len(told.json()["runs"]) == runs, more
        for wrong in ({"since": "2h"}, {"since": "10m", "until": "20m"}):
            assert client.get("api/v1/scores", params={**ask, **wrong}).status_code == 422
