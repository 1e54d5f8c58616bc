from __future__ import annotations

import csv
import io
import json
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
from mosquitto import wait_until
from PIL import Image
from stand_ins import ONSET, event
from web.houses import Standing, standing

from pe_stream.audio import media
from pe_stream.core.clipper import ClipOutcome, Piece
from pe_stream.core.messages import event_schema
from pe_stream.core.types import Event, Phase
from pe_stream.web import gate
from pe_stream.web.times import utc

TONE = (0.3 * np.sin(2 * np.pi * 2000 * np.arange(3 * 48_000) / 48_000)).astype(np.float32)


def tell(house: Standing, *events: Event) -> list[Event]:
    named = [house.clips.named(each) for each in events]
    for each in named:
        house.store.record(each, [])
    return named


def with_clip(house: Standing, number: int = 1) -> Event:
    (told,) = tell(house, event(number, source="kitchen", label="dog"))
    onset = 48_000  # a second into the clip
    house.clips.take([Piece(told.id, 0, TONE, ClipOutcome.KEPT, onset)])
    wait_until(lambda: house.clips.find(told.to_dict()) is not None, "the clip")
    return told


def ids(answer: httpx.Response) -> list[str]:
    assert answer.is_success, answer.text
    return [each["id"] for each in answer.json()["events"]]


def test_events_are_the_contracts_with_what_was_said_of_them(house: Standing) -> None:
    tell(house, *(event(number) for number in range(3)))
    house.store.judge("id-0001", "wrong", "the radio")
    with house.client() as client:
        first, second, third = client.get("api/v1/events").json()["events"]
        assert (first["id"], third["id"]) == ("id-0002", "id-0000")
        assert set(event_schema()["properties"]) <= set(second)
        assert (second["verdict"], second["note"]) == ("wrong", "the radio")
        assert second["has_clip"] is False
        assert {k: second[k] for k in event(1).to_dict() if k != "clip"} == {
            k: v for k, v in event(1).to_dict().items() if k != "clip"
        }


def test_pages_and_filters(house: Standing) -> None:
    tell(house, *(event(number) for number in range(5)), event(9, label="dog"))
    with house.client() as client:
        page = client.get("api/v1/events", params={"limit": 4}).json()
        assert [e["id"] for e in page["events"]] == ["id-0009", "id-0004", "id-0003", "id-0002"]
        rest = client.get("api/v1/events", params={"limit": 4, "before": page["next"]})
        assert ids(rest) == ["id-0001", "id-0000"]
        assert rest.json()["next"] is None
        assert ids(client.get("api/v1/events", params={"label": "dog"})) == ["id-0009"]
        assert ids(client.get("api/v1/events", params={"source": "porch"})) == [
            "id-0004",
            "id-0002",
            "id-0000",
        ]
        since = (ONSET + timedelta(seconds=3)).astimezone().isoformat()  # in whatever zone
        assert ids(
            client.get("api/v1/events", params={"since": since, "until": "2100-01-01T00:00Z"})
        ) == [
            "id-0009",
            "id-0004",
            "id-0003",
        ]


def test_times_may_be_told_by_how_long_ago(house: Standing) -> None:
    now = datetime.now(UTC)
    tell(
        house,
        *(
            replace(event(number), onset=utc(now - timedelta(minutes=minutes)))
            for number, minutes in enumerate((5, 50, 30 * 60))
        ),
    )
    with house.client() as client:
        for since, count in (("10m", 1), ("1.5h", 2), ("2d", 3), ("1w", 3), ("30s", 0)):
            assert len(ids(client.get("api/v1/events", params={"since": since}))) == count, since
        between = {"since": "24h", "until": "10m"}
        assert ids(client.get("api/v1/events", params=between)) == ["id-0001"]
        counted = client.get("api/v1/timeline", params={"since": "24h"}).json()["buckets"]
        assert sum(bucket["total"] for bucket in counted) == 2


@pytest.mark.parametrize(
    "since",
    ["", "m", "-5m", "10 minutes", "99999999d", "9" * 99 + "s", "24h00", "2026-11-21", "\0"],
    ids=repr,
)
def test_a_time_that_is_none_says_what_one_is(house: Standing, since: str) -> None:
    asked: dict[str, dict[str, str]] = {
        "events": {},
        "timeline": {},
        "search": {"text": "x"},
        "scores": {"source": "kitchen", "label": "dog"},
    }
    with house.client() as client:
        for route, more in asked.items():
            answer = client.get(f"api/v1/{route}", params={**more, "since": since})
            assert answer.status_code == 422, route
            assert answer.json()["detail"] == (
                "since: not a time with its zone (2026-11-21T08:00Z) or how long ago (90m, 24h, 7d)"
            )


@pytest.mark.parametrize(
    "params",
    [
        {"limit": 0},
        {"limit": 501},
        {"before": "x"},
        {"since": "yesterday"},
        {"since": "2026-11-21T00:00"},  # in which zone?
        {"since": "0001-01-01T00:00:00+14:00"},
        {"verdict": "maybe"},
        {"label": "x" * 101},
    ],
    ids=repr,
)
def test_a_question_that_cannot_be_meant_is_refused(house: Standing, params: Any) -> None:
    with house.client() as client:
        answer = client.get("api/v1/events", params=params)
    assert answer.status_code == 422
    assert isinstance(answer.json()["detail"], str)


def test_the_timeline_counts(house: Standing) -> None:
    tell(house, event(0), event(1, label="dog"), event(2, label="dog"))
    params = {"by": "day", "timezone": "Europe/Berlin"}
    with house.client() as client:
        told = client.get("api/v1/timeline", params=params).json()
        assert told["buckets"] == [
            {
                "start": "2026-11-20T23:00:00.000Z",
                "total": 3,
                "labels": {"smoke_alarm": 1, "dog": 2},
            }
        ]
        for zone in ("Mars/Olympus", "../../etc/passwd", "/etc/passwd", "", "UTC\0"):
            answer = client.get("api/v1/timeline", params={"timezone": zone})
            assert answer.status_code == 422, zone


def test_an_event_has_neighbours_a_clip_and_a_picture(house: Standing) -> None:
    told = with_clip(house)
    tell(house, event(0), event(2))
    with house.client() as client:
        one = client.get(f"api/v1/events/{told.id}").json()
        assert (one["previous"], one["following"]) == ("id-0000", "id-0002")
        assert one["has_clip"] is True
        onset = datetime.fromisoformat(told.onset)
        assert datetime.fromisoformat(one["clip_start"]) == onset - timedelta(seconds=1)
        clip = client.get(f"api/v1/events/{told.id}/clip")
        assert clip.headers["content-type"] == "audio/flac"
        part = client.get(f"api/v1/events/{told.id}/clip", headers={"range": "bytes=0-3"})
        assert (part.status_code, part.content) == (206, b"fLaC")
        saved = house.folder / "got.flac"
        saved.write_bytes(clip.content)
        heard = np.concatenate([chunk.samples for chunk in media.read(str(saved))])
        assert np.abs(heard - TONE).max() < 1e-4
        picture = client.get(f"api/v1/events/{told.id}/spectrogram")
        assert picture.headers["content-type"] == "image/png"
        image = Image.open(io.BytesIO(picture.content))
        assert image.format == "PNG"
        beside = list((house.folder / "clips").rglob("*.png"))
        assert len(beside) == 1
        assert client.get("api/v1/events/id-0000").json()["clip_start"] is None
        for what in ("clip", "spectrogram"):
            assert client.get(f"api/v1/events/id-0000/{what}").status_code == 404


def test_a_picture_waits_for_its_turn_and_not_for_ever(
    house: Standing, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(gate, "PATIENCE_S", 0.2)
    told = with_clip(house)
    path = f"api/v1/events/{told.id}/spectrogram"
    with house.client() as client:
        with house.server.gate.turn():
            assert client.get(path).status_code == 503
        assert client.get(path).status_code == 200
        with house.server.gate.turn():  # it is kept: there is nothing to wait for
            assert client.get(path).status_code == 200


def test_the_picture_shows_the_tone_where_and_when_it_is(house: Standing) -> None:
    (told,) = tell(house, event(1, source="kitchen", label="dog"))
    sound = np.concatenate([np.zeros(48_000, np.float32), TONE, np.zeros(48_000, np.float32)])
    house.clips.take([Piece(told.id, 0, sound, ClipOutcome.KEPT, 48_000)])
    wait_until(lambda: house.clips.find(told.to_dict()) is not None, "the clip")
    with house.client() as client:
        picture = client.get(f"api/v1/events/{told.id}/spectrogram").content
    pixels = np.asarray(Image.open(io.BytesIO(picture)).convert("L"), np.float64)
    height, width = pixels.shape
    assert width == pytest.approx(100 * 5, abs=2)
    row, column = np.unravel_index(int(pixels.argmax()), pixels.shape)
    hertz = 16_000 * (50 / 16_000) ** ((int(row) + 0.5) / height)
    assert hertz == pytest.approx(2000, rel=0.05)
    sounding = np.flatnonzero(pixels[row] > pixels.max() / 2) / width * 5
    assert sounding[0] == pytest.approx(1, abs=0.03)
    assert sounding[-1] == pytest.approx(4, abs=0.03)
    assert 1 <= column / width * 5 <= 4


@pytest.mark.parametrize(
    "path",
    [
        "api/v1/events/../../../etc/passwd/clip",
        "api/v1/events/%2e%2e%2f%2e%2e%2fetc%2fpasswd/clip",
        "api/v1/events/..%5c..%5cetc/clip",
        "api/v1/events/id-0001%00.flac/clip",
        "api/v1/events/*/clip",
        "%2e%2e/%2e%2e/config.yaml",
        "..%2fconfig.yaml",
        "static/%2e%2e/%2e%2e/%2e%2e/config.yaml",
    ],
)
def test_tricks_with_paths_lead_nowhere(house: Standing, path: str) -> None:
    with_clip(house)
    with house.client() as client:
        request = client.build_request("GET", "")
        request.url = httpx.URL(house.url).copy_with(raw_path=f"/{path}".encode())
        answer = client.send(request)
    assert answer.status_code in (404, 422)
    assert "microphone" not in answer.text
    assert "root:" not in answer.text


def test_a_stored_event_cannot_name_another_file(house: Standing) -> None:
    """What the database says of a clip is not believed: its place follows from the event."""
    secret = house.folder / "secret.flac"
    secret.write_bytes(b"secret")
    house.store.record(event(1, clip=str(secret), source="../..", label="../../secret"), [])
    with house.client() as client:
        assert client.get("api/v1/events/id-0001").json()["has_clip"] is False
        assert client.get("api/v1/events/id-0001/clip").status_code == 404


def test_verdicts_are_given_changed_taken_back_and_exported(house: Standing) -> None:
    tell(house, event(1), event(2, Phase.END))
    with house.client() as client:
        path = "api/v1/events/id-0001/verdict"
        told = client.put(path, json={"verdict": "wrong", "note": "the radio, 'again'"}).json()
        assert (told["id"], told["verdict"]) == ("id-0001", "wrong")
        client.put("api/v1/events/id-0002/verdict", json={"verdict": "right"})
        lines = client.get("api/v1/verdicts").text.splitlines()
        assert [json.loads(line)["note"] for line in lines] == ["the radio, 'again'", ""]
        table = client.get("api/v1/verdicts", params={"format": "csv"})
        assert "attachment" in table.headers["content-disposition"]
        rows = list(csv.DictReader(io.StringIO(table.text)))
        assert [row["verdict"] for row in rows] == ["wrong", "right"]
        assert ids(client.get("api/v1/events", params={"verdict": "right"})) == ["id-0002"]
        assert client.delete(path).json()["verdict"] is None
        assert ids(client.get("api/v1/events", params={"verdict": "any"})) == ["id-0002"]
        assert (
            client.put("api/v1/events/nobody/verdict", json={"verdict": "right"}).status_code == 404
        )
        bodies: list[Any] = [{}, {"verdict": "maybe"}, {"verdict": "right", "note": "x" * 1001}, []]
        for body in bodies:
            assert client.put(path, json=body).status_code == 422


def test_the_scores_around_an_event_come_with_their_gaps(house: Standing) -> None:
    onset_ns = round(ONSET.timestamp() * 1e9)
    house.history.relabel({"dog": "k"})
    scores = np.linspace(0.1, 0.9, 50, dtype=np.float32)[:, None]
    for offset_s in (-2.0, 1.0):
        start_ns = onset_ns + round(offset_s * 1e9)
        house.history.add("kitchen", ["dog"], ["dog"], start_ns, scores)
    tell(house, event(0, source="kitchen", label="dog", duration_s=2.0))
    with house.client() as client:
        track = client.get("api/v1/events/id-0000/scores").json()
    assert track["start"] == "2026-11-21T02:15:47.320Z"
    assert len(track["scores"]) == 125
    assert track["scores"][50:75] == [None] * 25
    assert track["scores"][49] == pytest.approx(0.9, abs=0.01)
    assert track["scores"][75] == pytest.approx(0.1, abs=0.01)
    assert (track["threshold"], track["off_threshold"]) == (0.5, 0.4)


def test_without_scores_or_store_that_is_told(house: Standing, tmp_path: Path) -> None:
    tell(house, event(1))
    with house.client() as client:
        answer = client.get("api/v1/events/id-0001/scores")
        assert (answer.status_code, answer.json()["detail"]) == (
            404,
            "no scores are kept of that time",
        )
    house.server.stop()
    (tmp_path / "other").mkdir()
    with standing(tmp_path / "other") as other, other.client() as client:
        (tmp_path / "other" / "events.db").unlink()
        answer = client.get("api/v1/events")
        assert answer.status_code == 503
        assert "no events are stored there" in answer.json()["detail"]


def test_a_store_that_cannot_be_written_is_told(
    house: Standing, monkeypatch: pytest.MonkeyPatch
) -> None:
    tell(house, event(1))
    monkeypatch.setattr(house.store, "judge", lambda *_: False)
    house.store._disk.unavailable_reason = "database or disk is full"
    with house.client() as client:
        answer = client.put("api/v1/events/id-0001/verdict", json={"verdict": "right"})
    assert answer.status_code == 503
    assert "database or disk is full" in answer.json()["detail"]
