"""Faults on purpose: the real daemon, a real broker, a (virtual) microphone, and what breaks them.

    PYTHONPATH=tests python -m faults --faults 200 --only "daemon killed" --seed 7

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
import pytest
from level_checkpoint import make_level_checkpoint
from mosquitto import Mosquitto, Subscriber, wait_until
from processes import Daemon, MosquittoSub
from sounds import noise, write_float_wav
from timing import within
from virtual_microphone import VirtualMicrophone, virtual_microphone

from pe_stream.storage.event_queries import EventFilter, EventQueries

PERIOD_S = 4.0
"""From one burst on the porch to the next."""

_RECOVERY_S = 60.0
_JITTER_S = 0.3
"""Between the two health messages of one tick: chunks of 0.1 s, and PulseAudio's."""
_NODE = "pe_stream/faults"
_END = "faults/end"
"""What is published here comes after all else."""

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

    def __init__(self, folder: Path, seed: int, longest_s: float = 8.0) -> None:
        """longest_s: that the broker is away or frozen."""
        self._folder = folder
        self._longest_s = longest_s
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
        self._before = self._resources()
        failed: list[str] = []
        order: list[str] = []
        for _ in range(count):
            time.sleep(self._random.uniform(0.5, 4.0))
            if not order:  # each once before any comes again
                order = self._random.sample(chosen, len(chosen))
            what = order.pop()
            at_s = time.monotonic() - began_s
            try:
                lasted_s, recovered_s = self._known[what]()
            except (pytest.fail.Exception, AssertionError, OSError, psutil.Error) as error:
                failed.append(f"{what} at {at_s:.0f} s: {error}")
                break
            self._faults.append(Fault(what, at_s, lasted_s, recovered_s))
            if self._daemon.process.poll() is not None:
                failed.append(
                    f"{what} at {at_s:.0f} s: the daemon ended: {self._daemon.log[-500:]}"
                )
                break
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
        wrong += failed
        if code != 143:
            wrong.append(f"the daemon ended with {code}")
        if after != self._before:
            wrong.append(f"file descriptors and threads: {self._before} before, {after} after")
        wrong += [line for log in self._logs for line in log.splitlines() if "Traceback" in line]
        wrong += self._untold(told) + self._out_of_order(told) + self._porch(told) + self._on()
        wrong += self._unaccounted() + self._not_late()
        return outcome

    @property
    def warnings(self) -> str:
        """What every daemon warned of, life by life."""
        lines = [line for log in self._logs for line in log.splitlines()]
        return "\n".join(line for line in lines if " INFO " not in line)

    # What must hold

    def _told(self) -> list[dict[str, Any]]:
        """All that the house was told, once it is told no more."""
        self._hears_the_end(self._house)
        return [
            json.loads(payload)
            for topic, payload in self._house.received
            if topic.endswith("/events")
        ]

    def _untold(self, told: list[dict[str, Any]]) -> list[str]:
        """Every event on disk has ended, and its start and its end were told."""
        wrong = []
        phases = {_phase(event) for event in told}
        timeline = EventQueries(self._folder / "state" / "pe-stream" / "events.db")
        stored = [entry.event for entry in timeline.events(EventFilter())]
        if not stored:
            wrong.append("nothing is stored")
        for event in stored:
            told_end = (event["id"], "end") in phases
            if event["phase"] != "end" and not told_end:
                wrong.append(f"left open: {event['id']}")
            if (event["id"], "start") not in phases or not told_end:
                wrong.append(f"not told: {event['source']} {event['onset']} {event['phase']}")
        return wrong

    def _unaccounted(self) -> list[str]:
        """What the kitchen heard and lost grew by as much as what the porch heard."""
        pairs = [
            (at_s, json.loads(kitchen), json.loads(porch))
            for (_, first, kitchen), (at_s, second, porch) in pairwise(self._house.timed)
            if (first, second) == (f"{_NODE}/kitchen/health", f"{_NODE}/porch/health")
        ]
        wrong = []
        for begin_s, end_s in self._lives:
            ahead_s = [
                (at_s - begin_s, _whole_s(kitchen) - _whole_s(porch))
                for at_s, kitchen, porch in pairs
                if begin_s + 5 < at_s < end_s and kitchen["state"] not in {"lost", "starting"}
            ]
            wrong += [
                f"{later - earlier:+.2f} s not accounted for in the kitchen, "
                f"between {before_s:.0f} and {after_s:.0f} s of a life"
                for (before_s, earlier), (after_s, later) in pairwise(ahead_s)
                if abs(later - earlier) > 0.1 + _JITTER_S
            ]
        return wrong

    def _not_late(self) -> list[str]:
        """What comes long after its sound says that it is late."""
        return [
            f"not marked late: {event['onset']} {event['phase']}, {arrived_s - said_s:.0f} s after"
            for arrived_s, topic, payload in self._house.timed
            if topic.endswith("/events")
            for event in [json.loads(payload)]
            for said_s in [_utc_s(event["onset"]) + event["duration_s"]]
            if arrived_s - said_s > 15 and not event["late"]
        ]

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
            self._hears_the_end(newcomer)
            return [
                f"left on: {topic}"
                for topic, payload in newcomer.received
                if topic.endswith("/state") and payload != "OFF"
            ]

    def _resources(self) -> tuple[int, int]:
        """File descriptors and threads, once nothing comes and goes."""
        self._daemon.wait_for_log("connected to")
        process = psutil.Process(self._daemon.process.pid)
        seen: list[tuple[int, int]] = []
        until_s = time.monotonic() + within(10)
        while len(set(seen[-20:])) > 1 or len(seen) < 20:
            seen.append((process.num_fds(), process.num_threads()))
            if time.monotonic() > until_s:
                break
            time.sleep(0.05)
        return statistics.mode(seen[-20:])

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
        lasted_s = self._last(1.0, self._longest_s)
        self._broker.start()
        return lasted_s, self._until(
            lambda: self._daemon.log.count("connected to") > connected, "connected"
        )

    def _freeze_broker(self) -> tuple[float, float]:
        self._broker.freeze()
        lasted_s = self._last(1.0, min(20.0, self._longest_s))  # less than the keepalive
        self._broker.thaw()
        known = len(self._house.received)
        return lasted_s, self._until(lambda: len(self._house.received) > known, "told again")

    def _kill(self) -> tuple[float, float]:
        """At times again while it starts, or while it tells what was left."""
        self._died(signal.SIGKILL)
        while self._random.random() < 0.4:
            with Daemon(self._folder, self._config, self._microphone.environment) as short:
                time.sleep(self._random.uniform(0.0, 7.0))
                short.send(signal.SIGKILL)
                short.exit_code()
                self._logs.append(short.log)
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
        """A crash that leaves garbage where the database was."""
        self._died(signal.SIGKILL)
        path = self._folder / "state" / "pe-stream" / "events.db"
        path.write_bytes(b"garbage " * 1000)
        path.with_name("events.db-wal").unlink(missing_ok=True)
        lasted_s, recovered_s = self._reborn()
        self._daemon.wait_for_log("set aside")
        return lasted_s, recovered_s

    def _reload(self) -> tuple[float, float]:
        reloaded = self._daemon.log.count("reloaded:")
        self._daemon.send(signal.SIGHUP)
        return 0.0, self._until(lambda: self._daemon.log.count("reloaded:") > reloaded, "reloaded")

    # What is around it

    def _born(self) -> Daemon:
        daemon = Daemon(self._folder, self._config, self._microphone.environment)
        daemon.__enter__()
        daemon.wait_for_log("porch: receiving audio from")
        self._life_s = time.time()
        return daemon

    def _reborn(self) -> tuple[float, float]:
        began_s = time.monotonic()
        self._daemon = self._born()
        self._hears("kitchen", 0)
        recovered_s = time.monotonic() - began_s
        # The first start of all has texts embedded, and more threads of libraries since then.
        self._before = self._resources()
        return 0.0, recovered_s

    def _died(self, by: signal.Signals) -> None:
        self._lives.append((self._life_s, time.time()))
        self._daemon.send(by)
        self._daemon.exit_code()
        self._logs.append(self._daemon.log)

    def _heard(self, source: str) -> int:
        return self._daemon.log.count(f"{source}: receiving audio from")

    def _hears(self, source: str, before: int) -> float:
        return self._until(lambda: self._heard(source) > before, f"{source} hears again")

    def _recorder(self) -> psutil.Process:
        """The one there is, once those before it are gone."""
        daemon = psutil.Process(self._daemon.process.pid)
        found: list[psutil.Process] = []

        def alone() -> bool:
            found[:] = daemon.children()
            return len(found) == 1

        wait_until(alone, "one recording process")
        return found[0]

    def _hears_the_end(self, house: MosquittoSub) -> None:
        """Return once it was told all that the broker has taken by now."""
        with Subscriber(self._broker.port, _END) as last:
            last.publish(_END, str(number := self._random.random()))
            house.wait_for(_END, str(number))

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


def _whole_s(health: dict[str, Any]) -> float:
    heard_s: float = health["heard_s"]
    lost_s: float = health["lost_s"]
    return heard_s + lost_s


def _utc_s(text: str) -> float:
    return datetime.fromisoformat(text).timestamp()
