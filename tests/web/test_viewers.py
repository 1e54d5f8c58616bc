"""Viewers: each has a queue of its own, and none holds up another."""

from __future__ import annotations

import base64
import contextlib
import json
import logging
import socket
import threading
import time
from collections.abc import Iterator
from dataclasses import replace
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
from mosquitto import wait_until
from stand_ins import event
from timing import within
from web.houses import Standing, standing

from pe_stream.core.detector import Heard
from pe_stream.core.types import FRAME, FRAME_NS
from pe_stream.web import gate, passwords, recent_audio, stream, viewers
from pe_stream.web.times import utc, utc_of

TONE = (0.1 * np.sin(2 * np.pi * 1000 * np.arange(5 * FRAME) / 48_000)).astype(np.float32)


TOKEN = "t0ken-of-more-than-twenty-characters"

START_NS = 1_700_000_000_000_000_000


def heard(frames: int = 5, value: float = 0.25, after: int = 0) -> Heard:
    """after: frames since the first that there was."""
    scores = np.full((frames, 2), value, np.float32)
    return Heard(0, START_NS + after * FRAME_NS, scores, [], TONE[: frames * FRAME])


class Reader:
    """Reads the live stream on a thread."""

    def __init__(self, house: Standing, query: str = "", **options: Any) -> None:
        self.told: list[tuple[str, Any]] = []
        self._house, self._query, self._options = house, query, options
        self._thread = threading.Thread(target=self._read, daemon=True)
        self._thread.start()

    def _read(self) -> None:
        with contextlib.suppress(httpx.RemoteProtocolError):  # cut off at a stop
            self._read_to_the_end()

    def _read_to_the_end(self) -> None:
        client = self._house.client(**self._options)
        with client, client.stream("GET", f"api/v1/live{self._query}") as s:
            kind = ""
            for line in s.iter_lines():
                if line.startswith("event: "):
                    kind = line[7:]
                elif line.startswith("data: "):
                    self.told.append((kind, json.loads(line[6:])))

    def of(self, kind: str) -> list[Any]:
        return [data for each, data in self.told if each == kind]

    def wait(self, kind: str, count: int = 1) -> list[Any]:
        wait_until(lambda: len(self.of(kind)) >= count, f"{count} {kind}")
        return self.of(kind)

    def join(self) -> None:
        self._thread.join(within(10))
        assert not self._thread.is_alive()


def test_what_happens_is_told(house: Standing) -> None:
    reader = Reader(house)
    (hello,) = reader.wait("hello")
    assert hello["sources"] == ["kitchen", "porch"]
    assert len(hello["bands_hz"]) == viewers.BANDS + 1
    assert [each["name"] for each in reader.wait("health", 2)] == ["kitchen", "porch"]
    assert reader.wait("rules", 2)[0]["rules"]["dog"]["threshold"] == 0.5
    house.server.scores("kitchen", ["dog", "knock"], heard())
    house.server.event(event(1))
    house.server.labels({}, {})
    (hop,) = reader.wait("hop")
    assert hop["start"] == "2023-11-14T22:13:20.000Z"
    assert hop["labels"] == ["dog", "knock"]
    assert hop["scores"] == [[0.25, 0.25]] * 5
    assert hop["level_dbfs"] == [pytest.approx(-23.0, abs=0.1)] * 5
    bands = np.frombuffer(base64.b64decode(hop["bands"]), np.uint8).reshape(5, viewers.BANDS)
    edges = np.array(hello["bands_hz"])
    loudest = int(bands[2].argmax())
    assert edges[loudest] <= 1000 <= edges[loudest + 1]
    assert bands[2, loudest] / 255 * 100 - 100 == pytest.approx(-20, abs=1.5)
    assert reader.wait("event") == [event(1).to_dict()]
    assert reader.wait("labels") == [{"version": house.file.version}]
    house.server.stop()
    reader.join()


def test_hops_can_be_of_one_source(house: Standing) -> None:
    reader, other = Reader(house, "?source=porch"), Reader(house)
    for each in (reader, other):
        each.wait("rules", 2)
    for source in ("kitchen", "porch"):
        house.server.scores(source, ["dog", "knock"], heard())
    house.server.event(event(0))
    reader.wait("event")
    assert [hop["source"] for hop in reader.of("hop")] == ["porch"]
    assert [hop["source"] for hop in other.wait("hop", 2)] == ["kitchen", "porch"]


def test_a_source_that_is_quite_silent_has_no_level(house: Standing) -> None:
    reader = Reader(house)
    reader.wait("rules", 2)
    silent = Heard(0, 0, np.zeros((2, 1), np.float32), [], np.zeros(FRAME + 5, np.float32))
    house.server.scores("kitchen", ["dog"], silent)
    (hop,) = reader.wait("hop")
    assert hop["level_dbfs"] == [None, None]


@pytest.fixture
def stalled(house: Standing) -> Iterator[socket.socket]:
    """A viewer that asks for the stream and never reads it."""
    address = httpx.URL(house.url)
    with socket.socket() as connection:
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        connection.connect((address.host, address.port))
        connection.sendall(b"GET /api/v1/live HTTP/1.1\r\nHost: localhost\r\n\r\n")
        wait_until(lambda: house.server.viewers == 1, "the stalled one")
        yield connection


def test_a_viewer_that_does_not_read_is_dropped_and_nobody_else_notices(
    house: Standing, stalled: socket.socket, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(stream, "STALLED_S", 1.0)
    readers = [Reader(house) for _ in range(19)]
    for reader in readers:
        reader.wait("rules", 2)
    assert house.server.viewers == 20
    spent = []
    names = [f"label {n}" for n in range(40)]
    big = Heard(0, 0, np.full((12, 40), 0.5, np.float32), [], np.zeros(12 * FRAME, np.float32))
    for number in range(400):
        begun_s = time.perf_counter()
        house.server.scores("kitchen", names, big)
        spent.append(time.perf_counter() - begun_s)
        if number % 20 == 0:  # as a daemon would, and not all at once
            for reader in readers:
                reader.wait("hop", number + 1)
    house.server.event(event(1))
    for reader in readers:
        assert reader.wait("event") == [event(1).to_dict()]
        assert len(reader.of("hop")) == 400
    wait_until(lambda: house.server.viewers == 19, "the stalled one is gone")
    assert np.median(spent) < within(0.005)  # what the scoring thread pays


def test_there_are_not_too_many_viewers(house: Standing, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(house.server._viewers, "_most", 2)
    for reader in [Reader(house) for _ in range(2)]:
        reader.wait("hello")
    with house.client() as client:
        answer = client.get("api/v1/live")
    assert (answer.status_code, answer.json()) == (503, {"detail": "too many viewers"})


def test_without_viewers_nothing_is_made(house: Standing, monkeypatch: pytest.MonkeyPatch) -> None:
    made: list[object] = []
    monkeypatch.setattr(viewers.Viewers, "_frames", lambda *given: made.append(given))
    house.server.scores("kitchen", ["dog", "knock"], heard())
    reader = Reader(house, "?source=porch")
    reader.wait("rules", 2)
    house.server.scores("kitchen", ["dog", "knock"], heard(after=5))
    house.server.event(event(1))
    reader.wait("event")
    assert not made


def test_who_comes_gets_the_last_half_minute_first(house: Standing) -> None:
    for number in range(200):
        house.server.scores(
            "kitchen", ["dog", "knock"], heard(value=number / 200, after=5 * number)
        )
    house.server.scores("porch", ["dog", "knock"], heard(after=990))
    reader, porch = Reader(house), Reader(house, "?source=porch")
    kitchen, other = reader.wait("past", 2)
    assert [each["source"] for each in porch.wait("past")] == ["porch"]
    assert other["source"] == "porch"
    assert len(kitchen["scores"]) == len(kitchen["level_dbfs"]) == recent_audio.KEPT
    assert kitchen["start"] == utc_of(START_NS + (1000 - recent_audio.KEPT) * FRAME_NS)
    assert [frame[0] for frame in kitchen["scores"][-6:]] == [0.99, *[0.995] * 5]
    bands = np.frombuffer(base64.b64decode(kitchen["bands"]), np.uint8)
    assert bands.reshape(-1, viewers.BANDS).shape == (recent_audio.KEPT, viewers.BANDS)
    house.server.scores("kitchen", ["dog", "knock"], heard(after=1000))
    (hop,) = reader.wait("hop")
    assert hop["start"] == utc_of(START_NS + 1000 * FRAME_NS)  # nothing twice, nothing left out
    kinds = [kind for kind, _ in reader.told]
    assert kinds.index("rules") < kinds.index("past") < kinds.index("hop")
    for each in (hop, kitchen):
        assert each.keys() == other.keys()


def test_the_past_is_left_out_where_its_turn_does_not_come(
    house: Standing, monkeypatch: pytest.MonkeyPatch
) -> None:
    house.server.scores("kitchen", ["dog", "knock"], heard())
    with house.server.gate.turn():
        patient = Reader(house)
        patient.wait("rules", 2)
        assert patient.of("past") == []
    assert len(patient.wait("past")) == 1
    monkeypatch.setattr(gate, "PATIENCE_S", 0.1)
    with house.server.gate.turn():
        impatient = Reader(house)
        impatient.wait("rules", 2)
        wait_until(lambda: house.server.viewers == 2, "both have come")
        house.server.scores("kitchen", ["dog", "knock"], heard(after=5))
        assert len(impatient.wait("hop")) == 1
    assert impatient.of("past") == []


def test_a_hop_is_told_once_whenever_one_comes(house: Standing) -> None:
    readers = [Reader(house, "?source=kitchen") for _ in range(5)]
    told = 0
    while told < recent_audio.KEPT and (told < 20 or house.server.viewers < 5):
        house.server.scores("kitchen", ["dog", "knock"], heard(1, after=told))
        told += 1
        time.sleep(0.002)  # they come in between
    wait_until(lambda: house.server.viewers == 5, "all have come")
    house.server.event(event(1))
    expected = [utc_of(START_NS + frame * FRAME_NS) for frame in range(told)]
    for reader in readers:
        reader.wait("event")
        frames = [
            utc(datetime.fromisoformat(each["start"]) + timedelta(milliseconds=40 * frame))
            for each in reader.of("past") + reader.of("hop")
            for frame in range(len(each["scores"]))
        ]
        assert frames == expected


def test_a_break_and_other_labels_part_the_past(house: Standing) -> None:
    for after in (0, 5, 20):
        house.server.scores("kitchen", ["dog", "knock"], heard(after=after))
    house.server.scores("kitchen", ["cat", "knock"], heard(after=25))
    told = Reader(house).wait("past", 3)
    assert [len(each["scores"]) for each in told] == [10, 5, 5]
    assert [each["labels"][0] for each in told] == ["dog", "dog", "cat"]
    assert told[1]["start"] == utc_of(START_NS + 20 * FRAME_NS)


def test_what_is_kept_of_the_past_is_bounded() -> None:
    kept = recent_audio.RecentAudio()
    for number in range(300):
        kept.add("kitchen", ["dog", "knock"], heard(after=5 * number))
    number, pieces = kept.all("kitchen")
    assert number == 300
    assert len(pieces) == recent_audio.KEPT // 5
    assert kept.all("porch") == (300, [])
    (run,) = recent_audio.joined(pieces)
    assert run.samples.shape == (recent_audio.KEPT * FRAME,)


@pytest.mark.parametrize("part", [0.03, -0.03])
def test_what_is_kept_of_a_clock_that_is_fast_or_slow_is_one_stretch(part: float) -> None:
    kept = recent_audio.RecentAudio()
    for number in range(100):
        start_ns = START_NS + round(5 * number * FRAME_NS * (1 + part))
        kept.add("kitchen", ["dog", "knock"], replace(heard(), start_ns=start_ns))
    (run,) = recent_audio.joined(kept.all("kitchen")[1])
    assert run.start_ns + 495 * FRAME_NS == start_ns  # the newest has its time


def test_what_was_heard_long_ago_is_not_lately() -> None:
    now_s = [0.0]
    kept = recent_audio.RecentAudio(lambda: now_s[0])
    kept.add("kitchen", ["dog", "knock"], heard())
    now_s[0] = 20.0
    kept.add("porch", ["dog", "knock"], heard())
    now_s[0] = 34.0
    assert [piece.source for piece in kept.all(None)[1]] == ["porch"]


def test_a_hop_while_the_first_viewer_comes_is_not_lost(house: Standing) -> None:
    kept = house.server._viewers._recent_audio
    look = kept.all

    def meanwhile(source: str | None) -> tuple[int, list[recent_audio.RecentStretch]]:
        found = look(source)
        house.server.scores("kitchen", ["dog", "knock"], heard())
        return found

    kept.all = meanwhile  # type: ignore[method-assign]
    reader = Reader(house)
    assert len(reader.wait("hop")) == 1
    assert reader.of("past") == []


def test_the_last_frame_of_a_segment_may_be_incomplete() -> None:
    kept = recent_audio.RecentAudio()
    short = Heard(0, START_NS, np.ones((2, 1), np.float32), [], np.ones(FRAME + 7, np.float32))
    kept.add("kitchen", ["dog"], short)
    kept.add("kitchen", ["dog"], replace(short, start_ns=START_NS + 2 * FRAME_NS))
    (run,) = recent_audio.joined(kept.all(None)[1])
    assert run.samples.shape == (4 * FRAME,)
    assert run.samples.sum() == 2 * (FRAME + 7)


def test_a_viewer_that_leaves_is_forgotten(house: Standing) -> None:
    with house.client() as client, client.stream("GET", "api/v1/live") as stream:
        lines = stream.iter_lines()
        next(lines)
        assert house.server.viewers == 1
    wait_until(lambda: house.server.viewers == 0, "gone")


def test_a_stream_ends_with_its_session(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """At once where one logs out, also in another window; with the next message where it is old."""
    with standing(tmp_path, f", token: {TOKEN}") as house:
        with house.client() as client, house.client() as other:
            for each in (client, other):
                assert each.post("api/v1/session", json={"password": TOKEN}).is_success
            known = {"authorization": f"Bearer {TOKEN}"}
            ending = Reader(house, cookies=dict(client.cookies))
            staying, expiring = Reader(house, headers=known), Reader(house, cookies=other.cookies)
            for reader in (ending, staying, expiring):
                reader.wait("rules", 2)
            client.delete("api/v1/session").raise_for_status()
            ending.join()
        house.server.event(event(1))
        assert expiring.wait("event")
        assert not ending.of("event")
        monkeypatch.setattr(passwords, "SESSION_S", -1)
        house.server.event(event(2))
        expiring.join()
        assert len(staying.wait("event", 2)) == 2
        assert len(expiring.of("event")) == 1


def test_a_stop_does_not_wait_for_viewers_and_is_silent(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Nor for one whose past is waiting for its turn, nor for a request that does."""
    with standing(tmp_path) as house:

        def ask() -> None:
            with house.client() as client, contextlib.suppress(httpx.TransportError):
                client.post("api/v1/try", json={"source": "kitchen", "text": "a"})

        reader = Reader(house)
        reader.wait("hello")
        house.recent.add("kitchen", START_NS, np.zeros((5, 3), np.float16))
        house.server.scores("kitchen", ["dog", "knock"], heard())
        with house.server.gate.turn():
            waiting = Reader(house)
            waiting.wait("rules", 2)
            asking = threading.Thread(target=ask)
            asking.start()
            wait_until(lambda: house.server.gate._waiting._value < gate.MOST_WAITING, "it waits")
            begun_s = time.monotonic()
            house.server.stop()
            assert time.monotonic() - begun_s < within(2.5)
            for each in (reader, waiting, asking):
                each.join()
    assert [record for record in caplog.records if record.levelno >= logging.WARNING] == []
