"""A live RTSP server that is not ours (GStreamer's), which stops, freezes and comes back."""

from __future__ import annotations

import shutil
import signal
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from mosquitto import wait_until
from ports import free_port
from timing import within

from pe_stream.audio.feed import Feed, Mark
from pe_stream.audio.source import Source, open_source
from pe_stream.config import SourceSettings
from pe_stream.core.types import AudioChunk

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

    def start(self) -> None:
        script = Path(__file__).parent / "rtsp_server.py"
        self._process = subprocess.Popen([PYTHON, str(script), str(self.port)])

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
