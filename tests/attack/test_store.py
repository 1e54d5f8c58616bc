"""The daemon's files harmed while it runs: hearing and MQTT go on, it is said, and it recovers."""

from __future__ import annotations

import json
import os
import shutil
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from mosquitto import Mosquitto, wait_until
from processes import Daemon, MosquittoSub, level_config
from sounds import noise, write_float_wav

from pe_stream.errors import UnavailableError
from pe_stream.storage.event_queries import EventFilter, EventQueries

pytestmark = pytest.mark.realtime

NODE = "pe_stream/test_node/kitchen"
AT_ONCE_S = 5.0


@dataclass
class House:
    """A daemon that hears a sound every second, and whoever listens to it."""

    daemon: Daemon
    sub: MosquittoSub
    state: Path

    @property
    def database(self) -> Path:
        return self.state / "events.db"

    def ended(self) -> list[str]:
        return [e["id"] for e in self.sub.events(f"{NODE}/events") if e["phase"] == "end"]

    def stored(self) -> set[str]:
        try:
            return {e.event["id"] for e in EventQueries(self.database).events(EventFilter())}
        except UnavailableError:
            return set()

    def health(self) -> list[str]:
        return [json.loads(told)["store"] for told in self.sub.payloads(f"{NODE}/health")]

    def goes_on(self) -> None:
        """Events come over MQTT, as before."""
        assert self.daemon.process.poll() is None
        known = len(self.ended())
        wait_until(lambda: len(self.ended()) > known + 1, "more events", 15)

    def stores(self) -> None:
        """And are stored."""
        known = len(self.ended())
        wait_until(lambda: len(set(self.ended()[known:]) & self.stored()) > 1, "stored events", 25)

    def told(self, said: str, since: int, timeout_s: float = AT_ONCE_S) -> None:
        """Health says it."""
        wait_until(lambda: any(said in each for each in self.health()[since:]), said, timeout_s)


@contextmanager
def house(folder: Path, level: Path, broker: Mosquitto, more: str = "") -> Iterator[House]:
    sound = write_float_wav(folder / "sound.wav", noise((0.6, 0.001), (0.4, 0.2)))
    text = level_config(level, broker.port, f"{{url: {sound}, loop: true}}", more)
    state = folder / "state" / "pe-stream"
    with MosquittoSub(broker.port) as sub, Daemon(folder, text) as daemon:
        made = House(daemon, sub, state)
        try:
            made.goes_on()
            made.stores()
            yield made
        finally:
            print(daemon.log)
        daemon.send(signal.SIGTERM)
        assert daemon.exit_code() == 143
    assert "Traceback" not in daemon.log


def test_a_backup_copied_over_the_open_database(
    tmp_path: Path, level: Path, broker: Mosquitto
) -> None:
    with house(tmp_path, level, broker) as home:
        shutil.copyfile(home.database, tmp_path / "backup.db")
        home.goes_on()
        since, began_s = len(home.health()), time.monotonic()
        shutil.copyfile(tmp_path / "backup.db", home.database)
        home.told("set aside as events.db.damaged-", since)
        print(f"told after {time.monotonic() - began_s:.1f} s")
        home.stores()
    assert "set aside as events.db.damaged-" in home.daemon.log
    assert len(list(home.state.glob("events.db.damaged-*[0-9]"))) == 1


def without_wal(home: House) -> None:
    for suffix in ("-wal", "-shm"):
        home.database.with_name(f"events.db{suffix}").unlink()


def truncated(home: House) -> None:
    os.truncate(home.database, 0)


def scribbled(home: House) -> None:
    with home.database.open("r+b") as file:
        file.seek(4096)
        file.write(os.urandom(30_000))


def removed(home: House) -> None:
    for left in home.state.glob("events.db*"):
        if left.suffix != ".lock" and left.is_file():
            left.unlink()


def a_folder(home: House) -> None:
    removed(home)
    home.database.mkdir()


def a_full_disk(home: House) -> None:
    removed(home)
    home.database.symlink_to("/dev/full")


def a_fifo(home: House) -> None:
    removed(home)
    os.mkfifo(home.database)


def without_lock(home: House) -> None:
    home.database.with_name("events.db.lock").unlink()


def elsewhere(home: House) -> None:
    home.state.rename(home.state.with_name("moved"))


def back(home: House) -> None:
    shutil.rmtree(home.state, ignore_errors=True)
    home.state.with_name("moved").rename(home.state)


def a_file_again(home: House) -> None:
    if home.database.is_dir():
        home.database.rmdir()
    else:
        home.database.unlink(missing_ok=True)


Step = tuple[str, Callable[[House], None], Callable[[House], None] | None]

STEPS: list[Step] = [
    ("set aside", without_wal, None),
    ("set aside", truncated, None),
    ("set aside", scribbled, None),
    ("is gone: a new one is begun", removed, None),
    ("", a_folder, a_file_again),
    ("", a_full_disk, a_file_again),
    ("", a_fifo, a_file_again),
    ("", without_lock, None),
    ("", elsewhere, back),
]


@pytest.mark.attack
@pytest.mark.timeout(600)
def test_whatever_becomes_of_the_files_hearing_goes_on(
    tmp_path: Path, level: Path, broker: Mosquitto
) -> None:
    more = f"clips: {{enabled: true, folder: {tmp_path}/clips}}\nsearch: {{enabled: true}}"
    with house(tmp_path, level, broker, more) as home:
        for said, harm, undo in STEPS:
            since = len(home.health())
            harm(home)
            if said:
                home.told(said, since)
            home.goes_on()
            if undo is not None:
                undo(home)
            home.goes_on()
            home.stores()
            print(f"{harm.__name__}: {sorted(set(home.health()[since:]))}")
    told: dict[str, Any] = json.loads(home.sub.payloads(f"{NODE}/health")[-1])
    assert told["heard_s"] > 60
