"""A live RTSP server that is not ours (GStreamer's), which stops, freezes and comes back."""

from __future__ import annotations

import re
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from audio.camera_films import CameraFilm, shown_s
from mosquitto import wait_until
from ports import HOST, free_port
from timing import slack, within

from pe_stream.audio.feed import Feed, Mark
from pe_stream.audio.source import Source, open_source
from pe_stream.audio.still import from_jpeg
from pe_stream.cli.commands.check_source import check_source
from pe_stream.config import Settings, SourceSettings
from pe_stream.core.types import AudioChunk
from pe_stream.pipeline.live_pictures import LivePictures
from pe_stream.pipeline.openers import openers

pytestmark = pytest.mark.realtime

PYTHON = "/usr/bin/python3"
PACKAGES = (
    "apt install gir1.2-gst-rtsp-server-1.0 python3-gi gstreamer1.0-plugins-base "
    "gstreamer1.0-plugins-good"
)


class Camera:
    """The server, on a port of its own."""

    def __init__(self) -> None:
        self.port = free_port()
        self.url = f"rtsp://127.0.0.1:{self.port}/live"
        self._process: subprocess.Popen[bytes] | None = None

    def start(self, *film: Path) -> None:
        script = Path(__file__).parent / "rtsp_server.py"
        self._process = subprocess.Popen([PYTHON, str(script), str(self.port), *map(str, film)])

    def wait(self) -> None:
        """Until it answers."""
        wait_until(self._answers, "the server answers", 30)

    def _answers(self) -> bool:
        with socket.socket() as probe:
            return probe.connect_ex((HOST, self.port)) == 0

    def send(self, number: signal.Signals) -> None:
        assert self._process is not None
        self._process.send_signal(number)

    def kill(self) -> None:
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None


@pytest.fixture
def camera() -> Iterator[Camera]:
    probe = "import gi; gi.require_version('GstRtspServer', '1.0')"
    if (
        shutil.which(PYTHON) is None
        or subprocess.run([PYTHON, "-c", probe], check=False).returncode
    ):
        pytest.skip(f"needs an RTSP server: {PACKAGES}")
    camera = Camera()
    yield camera
    camera.kill()


class Listener:
    """A feed on it, as the daemon has, and what came."""

    def __init__(self, url: str) -> None:
        self.items: list[AudioChunk | Mark] = []
        self.failures: list[BaseException] = []
        self._spec = SourceSettings(url=url)
        self.feed = Feed("porch", self._open, arrived=self._take, failed=self.failures.append)
        self.feed.open()
        self.feed.start()

    def _open(self, first_sample: int, at_s: float | None) -> Source:
        return open_source(self._spec, first_sample=first_sample, at_s=at_s)

    def _take(self) -> None:
        self.items += self.feed.take()

    @property
    def chunks(self) -> list[AudioChunk]:
        return [item for item in self.items if isinstance(item, AudioChunk)]

    @property
    def losses(self) -> int:
        return self.items.count(Mark.LOST)

    def heard_s(self, since: int) -> float:
        return sum(len(chunk.samples) for chunk in self.chunks[since:]) / 48_000

    def wait_heard(self, timeout_s: float) -> float:
        """Wait for a second more of sound; returns how long its beginning took (s)."""
        since, began_s = len(self.chunks), time.monotonic()
        wait_until(lambda: self.heard_s(since) > 1, "a second of sound", timeout_s + 2)
        return self.chunks[since].captured_s - began_s

    def wait_lost(self, known: int, timeout_s: float) -> float:
        """Wait for more losses than are known; returns how long that took (s)."""
        began_s = time.monotonic()
        wait_until(lambda: self.losses > known, "the loss", timeout_s)
        return time.monotonic() - began_s


def test_a_camera_that_stops_freezes_and_comes_back(camera: Camera) -> None:
    listener = Listener(camera.url)  # it is not there yet
    try:
        listener.wait_lost(0, 5)
        camera.start()
        assert listener.wait_heard(8) < within(8)  # GStreamer takes two to start
        peak = max(float(np.abs(chunk.samples).max()) for chunk in listener.chunks[-20:])
        assert peak == pytest.approx(0.5, abs=0.1)

        known = listener.losses
        camera.kill()
        assert listener.wait_lost(known, 5) < within(2)
        time.sleep(6)  # as many attempts fail
        camera.start()
        assert listener.wait_heard(8) < within(7)

        before, known = listener.chunks[-1], listener.losses
        camera.send(signal.SIGSTOP)
        assert listener.wait_lost(known, 15) < within(11)
        camera.send(signal.SIGCONT)
        assert listener.wait_heard(8) < within(5)
        after = listener.chunks[-1]
        # What was lost meanwhile is counted.
        elapsed_s = after.captured_s - before.captured_s
        assert (after.end - before.end) / 48_000 == pytest.approx(elapsed_s, abs=0.5)
    finally:
        listener.feed.stop()
        listener.feed.join(5)
    assert listener.failures == []


@pytest.mark.parametrize("own", [False, True])
def test_pictures_of_a_camera_lie_where_its_sound_does(
    camera: Camera, tmp_path: Path, *, own: bool
) -> None:
    """In the same session, and in one of their own."""
    film = CameraFilm(seconds=30.0, container="matroska", loud=5.0)
    film.save(tmp_path / "film.mkv")
    camera.start(tmp_path / "film.mkv")
    camera.wait()  # the film begins with whoever asks first: the other must not be in a pause
    picture = {"fps": 5.0} | ({"url": camera.url} if own else {})
    settings = Settings.model_validate(
        {
            "sources": {"porch": {"url": camera.url, "picture": picture}},
            "labels": {"dog": {}},
            "second_opinion": {"checkpoint": "a/b"},
        }
    )
    failures: list[BaseException] = []
    pictures = LivePictures(settings, failures.append)
    seen = pictures.of["porch"]
    opener = openers(settings, pictures=pictures.of)["porch"]
    feed = Feed("porch", opener, arrived=lambda: None, failed=failures.append)
    pictures.start()
    feed.start()
    chunks: list[AudioChunk] = []

    def click() -> int | None:
        """Absolute sample of the loud second's first."""
        chunks.extend(each for each in feed.take() if isinstance(each, AudioChunk))
        loud = ((each, np.flatnonzero(np.abs(each.samples) > 0.1)) for each in chunks)
        return next((each.start + int(at[0]) for each, at in loud if len(at)), None)

    try:
        wait_until(lambda: click() is not None, "the loud second", 30)
        peak = click()
        assert peak is not None
        wait_until(lambda: bool(seen.between(peak + 96_000, 1 << 60)), "all pictures of it", 15)
        status, found = seen.status, seen.between(peak - 96_000, peak + 96_000)
        # Whoever asks again has the film begin again.
        checked = check_source(settings, "porch")
    finally:
        feed.stop()
        pictures.stop()
        feed.join(5)
    assert failures == []
    assert re.fullmatch(
        r".*: level -?[\d.]+ dBFS; picture: h264, 480 x 64, \d+(\.\d)? pictures a second", checked
    )
    assert (status.reason, status.codec, status.width, status.height) == (None, "h264", 480, 64)
    # In a session of their own they lie where they come: together, after a pause of the machine.
    together = slack() if own else 1.0
    assert len(found) >= 12 / together
    assert sum(each.sample >= peak for each in found) >= 8 / together
    for each in found:
        shown = peak + (shown_s(from_jpeg(each.jpeg)) - film.loud) * 48_000
        assert abs(each.sample - shown) / 48_000 < (0.3 if not own else within(0.6))
