"""Faults on purpose: the real daemon, a real broker, a (virtual) microphone, and what breaks them.

    PYTHONPATH=tests python -m faults --faults 200 --only kill --seed 7

A seed decides what breaks when. The kitchen hears a microphone, the porch a file with a burst every
4 s, which nothing but an end of the daemon itself may disturb. A subscriber with a session of its
own hears everything the broker ever took. `Bench.verdict` says what does not add up.
"""

from __future__ import annotations

import json
import random
import signal
import statistics
import threading
import time
from collections.abc import Callable
from contextlib import ExitStack, suppress
from dataclasses import dataclass, field
from datetime import datetime
from itertools import pairwise
from pathlib import Path
from typing import Any, Self

import psutil
from level_checkpoint import make_level_checkpoint
from mosquitto import Mosquitto, wait_until
from processes import Daemon, MosquittoSub
from sounds import noise, write_float_wav
from virtual_microphone import VirtualMicrophone, virtual_microphone

from pe_stream.store import read

PERIOD_S = 4.0
"""From one burst on the porch to the next."""

_RECOVERY_S = 60.0
_NODE = "pe_stream/faults"

_CONFIG = """
node: faults
model: {{checkpoint: {level}, window_s: 1.0, hop_s: 0.2, lookahead_s: 0.2, threads: 1}}
sources:
  kitchen: {{microphone: default}}
  porch: {{url: {porch}, loop: true}}
labels:
  loud: {{min_on_s: 0.12}}
mqtt: {{host: 127.0.0.1, port: {port}}}
"""


@dataclass
class Fault:
    """What was broken: when (s into the run), for how long, and until it worked again (s)."""

    what: str
    at_s: float
    lasted_s: float
    recovered_s: float


@dataclass
class Outcome:
    """What a run showed; `wrong` is empty where all is as it should be."""

    seed: int
    seconds: float
    events: int
    late: int
    twice: int
    faults: list[Fault]
    wrong: list[str] = field(default_factory=list)

    def table(self) -> str:
        """For people."""
        rows = ["| fault | times | lasted (s) | until it worked again (s), median, longest |"]
        rows.append("| --- | --- | --- | --- |")
        for what in dict.fromkeys(fault.what for fault in self.faults):
            mine = [fault for fault in self.faults if fault.what == what]
            lasted = statistics.median(fault.lasted_s for fault in mine)
            back = [fault.recovered_s for fault in mine]
            rows.append(
                f"| {what} | {len(mine)} | {lasted:.1f} | "
                f"{statistics.median(back):.1f}, {max(back):.1f} |"
            )
        rows.append(
            f"\nseed {self.seed}, {self.seconds:.0f} s: {self.events} events, {self.late} messages "
            f"late, {self.twice} twice; {'; '.join(self.wrong) or 'nothing wrong'}"
        )
        return "\n".join(rows)


class Bench:
    """One run in `folder`; a context manager, `run` in it."""

    def __init__(self, folder: Path, seed: int) -> None:
        self._folder = folder
        self._seed = seed
        self._random = random.Random(seed)
        self._stack = ExitStack()
        self._faults: list[Fault] = []
        self._lives: list[tuple[float, float]] = []
        self._logs: list[str] = []
        self._over = threading.Event()
        self._plugged = threading.Event()
        self._known: dict[str, Callable[[], tuple[float, float]]] = {
            "microphone unplugged": self._unplug,
            "recording process killed": self._kill_recorder,
            "recording process frozen": self._freeze_recorder,
            "broker away": self._stop_broker,
            "broker frozen": self._freeze_broker,
            "daemon killed": self._kill,
            "daemon killed, broker away": self._kill_in_an_outage,
            "daemon stopped": self._terminate,
            "store damaged": self._damage_store,
            "configuration reloaded": self._reload,
        }

    def __enter__(self) -> Self:
        folder, enter = self._folder, self._stack.enter_context
        level = make_level_checkpoint(folder)
        self._bursts = write_float_wav(folder / "bursts.wav", noise((1, 0.001), (1, 0.2), (1, 0)))
        porch = noise((1.5, 0.001), (1.0, 0.2), (PERIOD_S - 2.5, 0.001))
        write_float_wav(folder / "porch.wav", porch)
        self._microphone: VirtualMicrophone = enter(virtual_microphone())
        (folder / "broker").mkdir()
        kept = ["persistence true", f"persistence_location {folder}/broker/"]
        self._broker = enter(Mosquitto(folder / "broker", ["allow_anonymous true", *kept]))
        self._house = enter(MosquittoSub(self._broker.port, "-c", "-i", "house"))
        self._config = _CONFIG.format(
            level=level, porch=folder / "porch.wav", port=self._broker.port
        )
        self._plugged.set()
        player = threading.Thread(target=self._play, daemon=True)
        player.start()
        self._stack.callback(player.join, 10)
        self._stack.callback(self._over.set)
        self._daemon = self._born()
        self._stack.callback(lambda: self._daemon.__exit__(None, None, None))
        self._hears("kitchen", 0)
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    def run(self, count: int, only: str | None = None) -> Outcome:
        """Break so many things, one after another; then let all end well and add up."""
        began_s = time.monotonic()
        chosen = [what for what in self._known if only is None or only in what]
        before = self._resources()
        order: list[str] = []
        for _ in range(count):
            time.sleep(self._random.uniform(0.5, 4.0))
            if not order:  # each once before any comes again
                order = self._random.sample(chosen, len(chosen))
            what = order.pop()
            at_s = time.monotonic() - began_s
            lasted_s, recovered_s = self._known[what]()
            self._faults.append(Fault(what, at_s, lasted_s, recovered_s))
            assert self._daemon.process.poll() is None, self._daemon.log
        time.sleep(2 * PERIOD_S)
        after = self._resources()
        self._lives.append((self._life_s, time.time()))
        self._daemon.send(signal.SIGTERM)
        code = self._daemon.exit_code()
        self._logs.append(self._daemon.log)
        told = self._told()
        outcome = Outcome(
            self._seed,
            time.monotonic() - began_s,
            len({event["id"] for event in told}),
            sum(event["late"] for event in told),
            len(told) - len({_phase(event) for event in told}),
            self._faults,
        )
        wrong = outcome.wrong
        if code != 143:
            wrong.append(f"the daemon ended with {code}")
        if after != before:
            wrong.append(f"file descriptors and threads: {before} before, {after} after")
        wrong += [line for log in self._logs for line in log.splitlines() if "Traceback" in line]
        wrong += self._untold(told) + self._out_of_order(told) + self._porch(told) + self._on()
        return outcome

    # What must hold

    def _told(self) -> list[dict[str, Any]]:
        """All that the house was told, once it is told no more."""
        self._house.wait_for(f"{_NODE}/status", "offline")
        time.sleep(1.0)
        return [
            json.loads(payload)
            for topic, payload in self._house.received
            if topic.endswith("/events")
        ]

    def _untold(self, told: list[dict[str, Any]]) -> list[str]:
        """Every event on disk has ended, and its start and its end were told."""
        wrong = []
        phases = {_phase(event) for event in told}
        stored = [
            event
            for path in sorted((self._folder / "state").glob("pe-stream/events.db*"))
            if path.suffix == ".db" or ("damaged" in path.name and path.suffix != "-wal")
            for event in _readable(path)
        ]
        if not stored:
            wrong.append("nothing is stored")
        for event in stored:
            told_end = (event["id"], "end") in phases
            if event["phase"] != "end" and not told_end:
                wrong.append(f"left open: {event['id']}")
            if (event["id"], "start") not in phases or not told_end:
                wrong.append(f"not told: {event['source']} {event['onset']} {event['phase']}")
        ids = [event["id"] for event in stored]
        if len(set(ids)) != len(ids):
            wrong.append("an id was given twice")
        return wrong

    def _out_of_order(self, told: list[dict[str, Any]]) -> list[str]:
        order = {"start": 0, "update": 1, "end": 2}
        wrong = []
        for one in {event["id"] for event in told}:
            mine = list(dict.fromkeys(_phase(event) for event in told if event["id"] == one))
            first = [order[phase] for _, phase in mine]
            if first != sorted(first):
                wrong.append(f"out of order: {mine}")
        return wrong

    def _porch(self, told: list[dict[str, Any]]) -> list[str]:
        """Whatever else broke, a burst was heard there every 4 s of the daemon's lives."""
        wrong = []
        onsets = sorted({_utc_s(event["onset"]) for event in told if event["source"] == "porch"})
        for begin_s, end_s in self._lives:
            mine = [onset for onset in onsets if begin_s < onset < end_s]
            expected = int((end_s - begin_s) / PERIOD_S) - 1
            if len(mine) < expected:
                wrong.append(f"the porch heard {len(mine)} of {expected} bursts")
            wrong += [
                f"on the porch {later - earlier:.2f} s from burst to burst"
                for earlier, later in pairwise(mine)
                if abs(later - earlier - PERIOD_S) > 0.06
            ]
        return wrong

    def _on(self) -> list[str]:
        """What a newcomer sees: nothing is on."""
        with MosquittoSub(self._broker.port) as newcomer:
            newcomer.wait_for(f"{_NODE}/status", "offline")
            time.sleep(0.5)
            return [
                f"left on: {topic}"
                for topic, payload in newcomer.received
                if topic.endswith("/state") and payload != "OFF"
            ]

    def _resources(self) -> tuple[int, int]:
        """File descriptors and threads, once nothing comes and goes."""
        process = psutil.Process(self._daemon.process.pid)
        seen: list[tuple[int, int]] = []
        for _ in range(20):
            seen.append((process.num_fds(), process.num_threads()))
            time.sleep(0.05)
        return statistics.mode(seen)

    # What breaks

    def _unplug(self) -> tuple[float, float]:
        heard = self._heard("kitchen")
        self._plugged.clear()
        self._microphone.unplug()
        lasted_s = self._last(1.0, 6.0)
        self._microphone.plug_in()
        self._plugged.set()
        return lasted_s, self._hears("kitchen", heard)

    def _kill_recorder(self) -> tuple[float, float]:
        heard = self._heard("kitchen")
        self._recorder().kill()
        return 0.0, self._hears("kitchen", heard)

    def _freeze_recorder(self) -> tuple[float, float]:
        heard = self._heard("kitchen")
        self._recorder().suspend()
        return 0.0, self._hears("kitchen", heard)

    def _stop_broker(self) -> tuple[float, float]:
        connected = self._daemon.log.count("connected to")
        self._broker.stop()
        lasted_s = self._last(1.0, 8.0)
        self._broker.start()
        return lasted_s, self._until(
            lambda: self._daemon.log.count("connected to") > connected, "connected"
        )

    def _freeze_broker(self) -> tuple[float, float]:
        self._broker.freeze()
        lasted_s = self._last(1.0, 8.0)
        self._broker.thaw()
        known = len(self._house.received)
        return lasted_s, self._until(lambda: len(self._house.received) > known, "told again")

    def _kill(self) -> tuple[float, float]:
        self._died(signal.SIGKILL)
        return self._reborn()

    def _kill_in_an_outage(self) -> tuple[float, float]:
        self._broker.stop()
        self._last(1.0, 5.0)
        self._died(signal.SIGKILL)
        self._broker.start()
        return self._reborn()

    def _terminate(self) -> tuple[float, float]:
        self._died(signal.SIGTERM)
        return self._reborn()

    def _damage_store(self) -> tuple[float, float]:
        """Cut the database in the middle while it is in use."""
        path = self._folder / "state" / "pe-stream" / "events.db"
        with path.open("r+b") as file:
            file.truncate(path.stat().st_size // 2)
        return 0.0, 0.0

    def _reload(self) -> tuple[float, float]:
        reloaded = self._daemon.log.count("reloaded:")
        self._daemon.send(signal.SIGHUP)
        return 0.0, self._until(lambda: self._daemon.log.count("reloaded:") > reloaded, "reloaded")

    # What is around it

    def _born(self) -> Daemon:
        daemon = Daemon(self._folder, self._config, self._microphone.environment)
        daemon.__enter__()
        daemon.wait_for_log("porch: hears")
        self._life_s = time.time()
        return daemon

    def _reborn(self) -> tuple[float, float]:
        began_s = time.monotonic()
        self._daemon = self._born()
        self._hears("kitchen", 0)
        return 0.0, time.monotonic() - began_s

    def _died(self, by: signal.Signals) -> None:
        self._lives.append((self._life_s, time.time()))
        self._daemon.send(by)
        self._daemon.exit_code()
        self._logs.append(self._daemon.log)

    def _heard(self, source: str) -> int:
        return self._daemon.log.count(f"{source}: hears")

    def _hears(self, source: str, before: int) -> float:
        return self._until(lambda: self._heard(source) > before, f"{source} hears again")

    def _recorder(self) -> psutil.Process:
        (recorder,) = psutil.Process(self._daemon.process.pid).children()
        return recorder

    def _last(self, least_s: float, most_s: float) -> float:
        lasts_s = self._random.uniform(least_s, most_s)
        time.sleep(lasts_s)
        return lasts_s

    @staticmethod
    def _until(condition: Callable[[], bool], what: str) -> float:
        began_s = time.monotonic()
        wait_until(condition, what, _RECOVERY_S)
        return time.monotonic() - began_s

    def _play(self) -> None:
        """Bursts into the microphone, for as long as the run takes."""
        while not self._over.is_set():
            if self._plugged.wait(0.5):
                with suppress(OSError):
                    self._microphone.play(self._bursts).wait(20)


def _phase(event: dict[str, Any]) -> tuple[str, str]:
    """What is told once; the updates of an event count as one."""
    return event["id"], event["phase"]


def _readable(path: Path) -> list[dict[str, Any]]:
    """The events of a database; what can be read of one that was damaged."""
    from pe_stream.errors import UnavailableError

    found = []
    with suppress(UnavailableError):
        for event in read(path):
            found.append(event)  # noqa: PERF402 - those before the damage count
    return found


def _utc_s(text: str) -> float:
    return datetime.fromisoformat(text).timestamp()
