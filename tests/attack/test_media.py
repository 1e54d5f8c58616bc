"""Six hostile sources beside a good one, which is to notice nothing."""

from __future__ import annotations

import json
import re
import signal
import subprocess
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import psutil
import pytest
from audio.hostile_servers import (
    Handler,
    adts_frames,
    changing,
    drip,
    endless_playlist,
    flood,
    garbage,
    serving,
    wav,
)
from mosquitto import Mosquitto, wait_until
from processes import Daemon, MosquittoSub, level_config
from sounds import noise, write_float_wav
from timing import within

from pe_stream.assets import DEMO_RECORDING

pytestmark = pytest.mark.realtime

NODE = "pe_stream/test_node"
MOST_BYTES = 1_000_000_000


def aac(rate: int) -> list[bytes]:
    """Frames of noise in AAC."""
    made = ["-f", "lavfi", "-i", f"anoisesrc=r={rate}:d=2", "-c:a", "aac", "-f", "adts", "-"]
    done = subprocess.run(["ffmpeg", "-v", "error", *made], capture_output=True, check=True)
    return adts_frames(done.stdout)


def hostile() -> dict[str, tuple[Handler, str]]:
    """What each sends, and what health says of it."""
    return {
        "slow": (wav(1), "a sample rate of 1 Hz; 1 kHz to 768 kHz can be read"),
        "fast": (flood(768_000, 64), ""),  # as much as it may, or too much
        "mad": (changing([aac(44_100), aac(32_000)]), "change again and again"),
        "junk": (garbage, "no audio in 64 MB of it"),
        "list": (endless_playlist, "no audio in 64 MB|too expensive|no audio within"),
        "drop": (drip, ""),  # is known by nothing but time
    }


@contextmanager
def besieged(names: dict[str, tuple[Handler, str]]) -> Iterator[str]:
    """The hostile sources, as they stand in a configuration."""
    with ExitStack() as stack:
        urls = {
            name: stack.enter_context(serving(handler)).url()
            for name, (handler, _) in names.items()
        }
        yield "".join(f'\n  {name}: {{url: "{url}"}}' for name, url in urls.items())


class Watch:
    """The most memory that a process has, as it is looked at."""

    def __init__(self, pid: int) -> None:
        self.most = 0
        self._process = psutil.Process(pid)
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._look, daemon=True)
        self._thread.start()

    def _look(self) -> None:
        while not self._stop.wait(0.2):
            try:
                self.most = max(self.most, self._process.memory_info().rss)
            except psutil.NoSuchProcess:
                return

    def end(self) -> int:
        self._stop.set()
        self._thread.join()
        return self.most


def summary(events: list[dict[str, Any]]) -> list[tuple[str, str, float]]:
    return [(e["label"], e["phase"], e["onset_s"]) for e in events if e["phase"] != "update"]


def reasons(house: MosquittoSub, source: str) -> str:
    told = (json.loads(payload) for payload in house.payloads(f"{NODE}/{source}/health"))
    return "\n".join(each["reason"] for each in told if each["reason"])


def unsaid(names: dict[str, tuple[Handler, str]], house: MosquittoSub) -> list[str]:
    """Sources whose health does not say yet what is wrong with them."""
    return [name for name, (_, said) in names.items() if not re.search(said, reasons(house, name))]


def test_six_hostile_sources_cost_a_good_one_nothing(
    tmp_path: Path, level: Path, broker: Mosquitto
) -> None:
    bursts = [part for _ in range(4) for part in ((0.6, 0.001), (0.6, 0.2))]
    sound = write_float_wav(tmp_path / "sound.wav", noise(*bursts, (1.0, 0.001)))
    events = f"{NODE}/kitchen/events"
    with (
        MosquittoSub(broker.port) as house,
        Daemon(tmp_path, level_config(level, broker.port, sound)) as daemon,
    ):
        assert daemon.exit_code() == 0
        wait_until(lambda: len(summary(house.events(events))) == 8, "all of them", 5)
        alone = summary(house.events(events))
    known = hostile()
    with (
        besieged(known) as others,
        MosquittoSub(broker.port) as house,
        Daemon(tmp_path, level_config(level, broker.port, f"{{url: {sound}}}{others}")) as daemon,
    ):
        watch = Watch(daemon.process.pid)
        wait_until(lambda: len(summary(house.events(events))) == 8, "all of them", 30)
        wait_until(lambda: unsaid(known, house) == [], "what is wrong with each", 40)
        daemon.send(signal.SIGTERM)
        daemon.exit_code()
        assert watch.end() < MOST_BYTES
    assert summary(house.events(events)) == alone
    late = [e for e in house.events(events) if e["latency_ms"] > within(2000)]
    assert late == []


@pytest.mark.attack
@pytest.mark.timeout(400)
def test_a_minute_of_the_demo_under_siege(tmp_path: Path, broker: Mosquitto) -> None:
    """The embedded checkpoint on the demo recording, with and without the others."""
    labels = "labels: {speech: {}, door_knock: {}, dog_bark: {}, baby_cry: {}, water_tap: {}}"
    text = "node: Test Node\nsources:\n  kitchen: {url: %s}%s\n%s\nmqtt: {port: %d}\n"
    events = f"{NODE}/kitchen/events"
    with (
        MosquittoSub(broker.port) as house,
        Daemon(tmp_path, text % (DEMO_RECORDING, "", labels, broker.port)) as daemon,
    ):
        assert daemon.exit_code(150) == 0
        alone = summary(house.events(events))
    assert len(alone) > 8
    known = hostile()
    with (
        besieged(known) as others,
        MosquittoSub(broker.port) as house,
        Daemon(tmp_path, text % (DEMO_RECORDING, others, labels, broker.port)) as daemon,
    ):
        watch = Watch(daemon.process.pid)
        daemon.wait_for_log("listening to")
        time.sleep(75)
        told = {source: reasons(house, source) for source in known}
        assert unsaid(known, house) == []
        daemon.send(signal.SIGTERM)
        daemon.exit_code()
        most = watch.end()
    assert summary(house.events(events)) == alone
    print(f"{most / 1e6:.0f} MB at most; {told}")
    assert most < MOST_BYTES
