"""Listening live: a real HTTP client hears what the detectors let out, and nobody waits for it."""

from __future__ import annotations

import contextlib
import io
import logging
import signal
import socket
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import av
import httpx
import numpy as np
import pytest
from mosquitto import Mosquitto, wait_until
from numpy.typing import NDArray
from ports import free_port
from processes import Daemon, MosquittoSub, level_config
from sounds import write_float_wav
from timing import within
from web.houses import Standing, standing

from pe_stream.audio.encode import OpusStream
from pe_stream.core.audible import AudibleRun
from pe_stream.core.detector import Heard
from pe_stream.core.playout import STORE_S
from pe_stream.core.types import SAMPLE_RATE, Samples
from pe_stream.web import live_audio, passwords, stream

TOKEN = "t0ken-of-more-than-twenty-characters"
CLIPS = "clips: {enabled: true}\n"
HOP_S = 0.48
EVENTS = "pe_stream/test_node/kitchen/events"


@pytest.fixture
def house(tmp_path: Path) -> Iterator[Standing]:
    with standing(tmp_path, more=CLIPS) as there:
        yield there


def tone(hz: float, seconds: float) -> Samples:
    at = np.arange(round(seconds * SAMPLE_RATE)) / SAMPLE_RATE
    return (0.3 * np.sin(2 * np.pi * hz * at)).astype(np.float32)


def tell(house: Standing, source: str, *runs: AudibleRun) -> None:
    """As the scoring thread does."""
    samples = np.concatenate([np.empty(0, np.float32), *[run[1] for run in runs]])
    heard = Heard(0, 0, np.zeros((0, 1), np.float32), [], samples, audible=runs)
    house.server.scores(source, ["dog"], heard)


class Client:
    """Listens on a thread, and keeps what it gets."""

    def __init__(self, house: Standing | str, source: str = "kitchen", **options: Any) -> None:
        """house: or the address of a daemon's page."""
        self.data = b""
        self.status = 0
        self.headers: httpx.Headers | None = None
        self.ended = False
        self._leave = False
        client = (
            house.client(**options)
            if isinstance(house, Standing)
            else httpx.Client(base_url=house, timeout=within(20), **options)
        )
        self._ask = client, f"api/v1/sources/{source}/audio"
        self._thread = threading.Thread(target=self._read, daemon=True)
        self._thread.start()

    def _read(self) -> None:
        client, path = self._ask
        with client, contextlib.suppress(httpx.TransportError):
            with client.stream("GET", path) as answer:
                self.status, self.headers = answer.status_code, answer.headers
                for piece in answer.iter_raw():
                    self.data += piece
                    if self._leave:
                        return
            self.ended = True

    def leave(self) -> None:
        self._leave = True

    def join(self) -> None:
        self._thread.join(within(10))
        assert not self._thread.is_alive()

    def sound(self) -> NDArray[np.float32]:
        """What it has by now, decoded."""
        frames = [np.empty(0, np.float32)]
        with (
            contextlib.suppress(av.error.InvalidDataError),  # so little that it is no file yet
            av.open(io.BytesIO(self.data), "r") as container,
        ):
            frames += [frame.to_ndarray()[0] for frame in container.decode(audio=0)]
        return np.concatenate(frames)


def loud_s(samples: NDArray[np.float32], hz: float) -> float:
    """For how long a tone is in it (s)."""
    blocks = samples[: len(samples) // 960 * 960].reshape(-1, 960)
    carrier = np.exp(-2j * np.pi * hz * np.arange(960) / SAMPLE_RATE)
    return float(np.count_nonzero(np.abs(blocks @ carrier) / 480 > 0.1) * 960 / SAMPLE_RATE)


def connected(house: Standing, count: int = 1) -> Callable[[], bool]:
    return lambda: len(house.server._live_audio._listeners) == count


def test_a_source_is_heard_as_it_is_now(house: Standing) -> None:
    client, other = Client(house), Client(house, "porch")
    wait_until(connected(house, 2), "both listen")
    for number in range(8):
        tell(house, "kitchen", (number * 23_040, tone(1000, HOP_S)))
        tell(house, "porch", (number * 23_040, tone(3000, HOP_S)))
        time.sleep(HOP_S / 4)
    for each, hz in ((client, 1000), (other, 3000)):
        wait_until(lambda: loud_s(each.sound(), hz) > 8 * HOP_S - 0.1, "all of it")  # noqa: B023 - at once
    house.server.stop()
    for each in (client, other):
        each.join()
    assert client.headers is not None
    assert (client.status, client.headers["content-type"]) == (200, "audio/ogg")
    assert client.headers["cache-control"] == "no-store"
    assert "media-src 'self' blob:" in client.headers["content-security-policy"]
    assert loud_s(client.sound(), 1000) == pytest.approx(8 * HOP_S, abs=0.1)
    assert loud_s(client.sound(), 3000) == 0
    assert loud_s(other.sound(), 3000) == pytest.approx(8 * HOP_S, abs=0.1)
    # what a player has in store at the beginning
    assert not np.any(np.abs(client.sound()[: round((STORE_S - 0.05) * SAMPLE_RATE)]) > 0.01)


def test_a_source_that_breaks_off_is_silent_and_comes_back(house: Standing) -> None:
    client = Client(house)
    wait_until(connected(house), "it listens")
    tell(house, "kitchen", (0, tone(1000, HOP_S)))
    wait_until(lambda: loud_s(client.sound(), 1000) > 0.3, "it is heard")
    wait_until(lambda: len(client.sound()) > 4 * SAMPLE_RATE, "silence goes on")
    tell(house, "kitchen", (90 * SAMPLE_RATE, tone(1000, HOP_S)))  # 90 s were lost
    wait_until(lambda: loud_s(client.sound(), 1000) > 0.8, "it is back")
    client.leave()
    client.join()
    wait_until(connected(house, 0), "it is gone")


def test_nothing_is_encoded_while_nobody_listens(
    house: Standing, monkeypatch: pytest.MonkeyPatch
) -> None:
    made: list[int] = []

    def counted() -> Any:
        made.append(1)
        return OpusStream()

    monkeypatch.setattr(live_audio, "OpusStream", counted)
    called: list[object] = []
    kept = house.server._live_audio
    monkeypatch.setattr(kept, "_hand_over", called.append)
    tell(house, "kitchen", (0, tone(1000, HOP_S)))
    assert (made, called) == ([], [])
    monkeypatch.undo()
    monkeypatch.setattr(live_audio, "OpusStream", counted)
    client = Client(house)
    wait_until(lambda: made == [1], "now it is")
    client.leave()
    client.join()


class TestWhoMay:
    def test_where_no_clips_are_kept_nobody(self, tmp_path: Path) -> None:
        with standing(tmp_path) as house, house.client() as client:
            assert client.get("api/v1/info").json()["listen"] is False
            answer = client.get("api/v1/sources/kitchen/audio")
        told = {"detail": "no sound leaves this machine: clips.enabled is false"}
        assert (answer.status_code, answer.json()) == (409, told)

    def test_where_it_is_switched_off_nobody(self, tmp_path: Path) -> None:
        with standing(tmp_path, ", listen: false", more=CLIPS) as house, house.client() as client:
            assert client.get("api/v1/info").json()["listen"] is False
            answer = client.get("api/v1/sources/kitchen/audio")
        told = {"detail": "nobody may listen live: web.listen is false"}
        assert (answer.status_code, answer.json()) == (409, told)

    def test_only_who_has_logged_in(self, tmp_path: Path) -> None:
        with standing(tmp_path, f", token: {TOKEN}", more=CLIPS) as house, house.client() as client:
            assert client.get("api/v1/sources/kitchen/audio").status_code == 401
            assert client.get("api/v1/sources/attic/audio").status_code == 401

    def test_only_where_there_is_such_a_source(self, house: Standing) -> None:
        with house.client() as client:
            assert client.get("api/v1/info").json()["listen"] is True
            answer = client.get("api/v1/sources/attic/audio")
        assert (answer.status_code, answer.json()["detail"]) == (404, "there is no source 'attic'")

    def test_whatever_the_source_is_called(self, tmp_path: Path) -> None:
        path = tmp_path / "config.yaml"
        with standing(tmp_path, more=CLIPS) as house:
            text = path.read_text("utf-8")
            path.write_text(text.replace("porch:", '"back/porch ä?#":'), "utf-8")
            house.load()
            client = Client(house, "back%2Fporch%20%C3%A4%3F%23")
            wait_until(connected(house), "it listens")
            tell(house, "back/porch ä?#", (0, tone(1000, 2.0)))
            wait_until(lambda: loud_s(client.sound(), 1000) > 1, "it is heard")

    def test_not_too_many(self, house: Standing) -> None:
        clients = [Client(house) for _ in range(live_audio.MOST_LISTENERS)]
        wait_until(connected(house, live_audio.MOST_LISTENERS), "all listen")
        with house.client() as client:
            answer = client.get("api/v1/sources/kitchen/audio")
        assert (answer.status_code, answer.json()) == (503, {"detail": "too many listen"})
        assert answer.headers["retry-after"] == "10"
        clients[0].leave()
        wait_until(connected(house, live_audio.MOST_LISTENERS - 1), "one has gone")
        again = Client(house)
        wait_until(lambda: again.status == 200, "there is a place")


class TestTheEnd:
    def test_with_the_session(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        with standing(tmp_path, f", token: {TOKEN}", more=CLIPS) as house:
            with house.client() as client:
                assert client.post("api/v1/session", json={"password": TOKEN}).is_success
                ending = Client(house, cookies=dict(client.cookies))
                staying = Client(house, headers={"authorization": f"Bearer {TOKEN}"})
                wait_until(connected(house, 2), "both listen")
                client.delete("api/v1/session").raise_for_status()
            ending.join()
            assert ending.ended
            with house.client() as client:
                assert client.post("api/v1/session", json={"password": TOKEN}).is_success
                expiring = Client(house, cookies=dict(client.cookies))
            wait_until(connected(house, 2), "another listens")
            monkeypatch.setattr(passwords, "SESSION_S", -1)
            expiring.join()
            wait_until(connected(house, 1), "the daemon knows of it, too")
            assert not staying.ended

    @pytest.mark.parametrize(
        ("before", "after"),
        [("enabled: true, port", "enabled: true, listen: false, port"), (CLIPS, "")],
        ids=["web.listen", "clips.enabled"],
    )
    def test_with_a_configuration_that_says_so(
        self, house: Standing, before: str, after: str
    ) -> None:
        client = Client(house)
        wait_until(connected(house), "it listens")
        house.load()
        time.sleep(3 * live_audio.POLL_S)
        assert not client.ended  # not because of any reload
        text = house.file.path.read_text("utf-8")
        assert before in text
        house.file.path.write_text(text.replace(before, after), "utf-8")
        house.load()
        client.join()
        assert client.ended
        wait_until(connected(house, 0), "gone")

    def test_with_the_daemon_which_does_not_wait(
        self, house: Standing, caplog: pytest.LogCaptureFixture
    ) -> None:
        clients = [Client(house) for _ in range(3)]
        wait_until(connected(house, 3), "all listen")
        begun_s = time.monotonic()
        house.server.stop()
        assert time.monotonic() - begun_s < within(2.5)
        for each in clients:
            each.join()
            assert each.ended
        tell(house, "kitchen", (0, tone(1000, HOP_S)))
        assert [each for each in caplog.records if each.levelno >= logging.WARNING] == []


def test_who_does_not_read_misses_sound_and_nobody_else_notices(
    house: Standing, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(stream, "STALLED_S", 1.0)
    address = httpx.URL(house.url)
    with socket.socket() as stalled:
        stalled.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        stalled.connect((address.host, address.port))
        request = b"GET /api/v1/sources/kitchen/audio HTTP/1.1\r\nHost: localhost\r\n\r\n"
        stalled.sendall(request)
        reading = Client(house)
        wait_until(connected(house, 2), "both listen")
        listeners = list(house.server._live_audio._listeners)
        noisy = np.random.default_rng(0).uniform(-0.5, 0.5, 30 * SAMPLE_RATE).astype(np.float32)
        spent: list[float] = []

        def gone() -> bool:
            begun_s = time.perf_counter()
            tell(house, "kitchen", (0, noisy))
            spent.append(time.perf_counter() - begun_s)
            assert all(each._count <= live_audio.MOST_WAITING + len(noisy) for each in listeners)
            return connected(house, 1)()

        wait_until(gone, "the stalled one is left", 60)
        assert np.median(spent) < within(0.005)  # what the scoring thread pays
        assert not reading.ended
        tell(house, "kitchen", (0, tone(1000, HOP_S)))
        wait_until(lambda: loud_s(reading.sound()[-10 * SAMPLE_RATE :], 1000) > 0.3, "it is heard")


def test_what_waits_is_bounded_and_the_newest_is_kept() -> None:
    listener = live_audio.AudioListener("kitchen")
    for number in range(40):
        listener.give([(0, np.full(SAMPLE_RATE, number, np.float32))])
    taken = listener._take()
    assert len(taken) == live_audio.MOST_WAITING
    assert (taken[0], taken[-1]) == (30, 39)
    assert len(listener._take()) == 0


def test_an_encoder_that_fails_ends_it_and_is_told(
    house: Standing, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def broken() -> Any:
        raise OSError("no libopus")

    monkeypatch.setattr(live_audio, "OpusStream", broken)
    client = Client(house)
    client.join()
    assert (client.ended, client.data) == (True, b"")
    assert "kitchen cannot be listened to: no libopus" in caplog.text
    wait_until(connected(house, 0), "gone")


@pytest.mark.realtime
def test_a_daemon_is_listened_to_through_its_filters_and_a_reload_changes_them(
    tmp_path: Path, level: Path, broker: Mosquitto
) -> None:
    """What is loud is heard, and an event, until a filter takes it away; then neither."""
    hum = write_float_wav(tmp_path / "hum.wav", tone(150, 3))
    port = free_port()
    more = (
        "labels: {loud: {min_on_s: 0.12}}\n"
        f"web: {{enabled: true, port: {port}}}\n"
        f"clips: {{enabled: true, folder: {tmp_path / 'clips'}}}\n"
    )
    before = level_config(level, broker.port, f"{{url: {hum}, loop: true}}", more)
    after = before.replace("loop: true", "loop: true, highpass_hz: 5000")
    with MosquittoSub(broker.port) as sub, Daemon(tmp_path, before) as daemon:
        daemon.wait_for_log("page: ")
        client = Client(f"http://127.0.0.1:{port}/")
        wait_until(lambda: loud_s(client.sound(), 150) > 2, "the hum is heard", 40)
        sub.wait_for(EVENTS, '"start"')
        assert all(each["phase"] != "end" for each in sub.events(EVENTS))
        daemon.config.write_text(after, "utf-8")
        daemon.send(signal.SIGHUP)
        daemon.wait_for_log("kitchen: the sound is now taken with high-pass 5000 Hz")
        sub.wait_for(EVENTS, '"end"')
        wait_until(lambda: loud_s(client.sound()[-SAMPLE_RATE:], 150) == 0, "the hum is gone", 40)
        address = f"http://127.0.0.1:{port}/"
        with httpx.Client(base_url=address, timeout=within(20)) as asking:
            (told,) = asking.get("api/v1/sources").json()["sources"]
        assert (told["highpass_hz"], told["state"]) == (5000, "hearing")
        assert "needs a restart" not in daemon.log
        daemon.send(signal.SIGTERM)
        client.join()
        assert client.ended
        assert daemon.exit_code() == 143
        assert "no longer listens to kitchen" in daemon.log
        assert "Traceback" not in daemon.log
