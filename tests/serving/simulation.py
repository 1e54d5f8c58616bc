"""A city of microphones in virtual time: 10,000 streams, their daemons, a cluster of GPUs.

Real are what decides: live listening with its detector, the client (lanes, retries, sessions), and
the engine's own queue, streams and answers. Virtual are what takes time: the network, the ingress
and the GPUs, by the figures of the architecture's measurements; and sound, of which there is none.
Of the sixteen sources of a lane, which are asked for together, one goes through a detector (or all,
where that matters), and all go through the client and the engine.
"""

from __future__ import annotations

import gc
import heapq
import random
from collections.abc import Callable, Generator, Sequence
from dataclasses import dataclass, field
from functools import partial
from hashlib import sha256
from itertools import count
from types import SimpleNamespace
from typing import Any, cast

import numpy as np
import pytest
import torch

from pe_stream.audio.feed import Mark
from pe_stream.core import detector
from pe_stream.core.detector import Heard
from pe_stream.core.ledger import Ledger
from pe_stream.core.listener import Listener
from pe_stream.core.ring import Ring
from pe_stream.core.types import (
    FRAME,
    FRAME_S,
    AudioChunk,
    FrameEmbeddings,
    FrameScores,
    LabelRule,
    Samples,
    Window,
)
from pe_stream.core.windows import Framing
from pe_stream.labels.prepare import PreparedLabels
from pe_stream.model.codec import Stream
from pe_stream.model.live_engine import Answered, Asked
from pe_stream.model.prompts import LabelEmbeddings
from pe_stream.pipeline.live import Live
from pe_stream.pipeline.scorer import Scorer
from pe_stream.serving.client import RemoteEngine
from pe_stream.serving.lane import Came, Conversation, Outgoing, Pause, Question, RemoteStream, Step
from pe_stream.serving.route import Refusal, Route
from pe_stream.serving.scoring import Scoring
from pe_stream.serving.wire import HearReply, HearRequest

LANE = 16
TIMEOUT_S = 2.0
HOP, LOOKAHEAD, CONTEXT = 12, 12, 6
HOP_S = HOP * FRAME_S
FLAC_BYTES = 41_500 / 48_000
"""Of a sample, measured on the demo."""

RULE = LabelRule("loud", 0.5, 0.4, update_every=0)
_SCORES = np.full((250, 1), 0.1, np.float32)
_SILENCE = np.broadcast_to(np.zeros(1, np.float32), (1 << 21,))


@dataclass(frozen=True)
class Costs:
    """What an engine spends (s). gflop: of a window's encoder. speed: GFLOP/s, half of the roof.

    codec: GFLOP of a frame. request, window: in Python. batch: launches.
    """

    gflop: float = 44.0
    codec: float = 35 / 18
    speed: float = 302_000.0
    request_s: float = 0.000_35
    window_s: float = 0.000_03
    batch_s: float = 0.005


SMALL, LARGE = Costs(), Costs(gflop=551.0)


@dataclass(frozen=True)
class Line:
    """A daemon's way to the cluster."""

    latency_s: float = 0.010
    bytes_per_s: float = 12_500_000.0


class Timeline:
    """Virtual time (s)."""

    def __init__(self) -> None:
        self.now_s = 0.0
        self._number = count()
        self._due: list[tuple[float, int, Callable[[], object]]] = []

    def clock(self) -> float:
        return self.now_s

    def at(self, time_s: float, do: Callable[[], object]) -> None:
        heapq.heappush(self._due, (max(time_s, self.now_s), next(self._number), do))

    def after(self, seconds: float, do: Callable[[], object]) -> None:
        self.at(self.now_s + seconds, do)

    def run(self, until_s: float) -> None:
        while self._due and self._due[0][0] <= until_s:
            self.now_s, _, do = heapq.heappop(self._due)
            do()


@dataclass(slots=True)
class Call:
    """A request on its way, which ends once: with a reply, or with why there is none."""

    lane: VirtualLane
    request: HearRequest
    over: bool = False

    def end(self, came: HearReply | BaseException) -> None:
        if not self.over:
            self.over = True
            self.lane.hears(came)


class CountingEngine:
    """What an Engine is to Scoring; notes how much it would have computed."""

    most_together = 512
    context = CONTEXT
    width = 4
    device = torch.device("cpu")

    def __init__(self, costs: Costs) -> None:
        self._costs = costs
        self.cost_s = 0.0
        self.windows = self.rebuilt = 0

    def wants(self, stream: Stream) -> int:
        return stream.start + (stream.heard - CONTEXT) * FRAME

    def follows(self, stream: Stream, window: Window) -> bool:
        return window.begin <= self.wants(stream) and window.end >= self.wants(stream)

    def hear_labelled(
        self, streams: Sequence[Stream], windows: Sequence[Window], labels: Any, *, embed: bool
    ) -> list[tuple[FrameScores, FrameEmbeddings | None]]:
        assert not embed
        gflop = 0.0
        for stream, window in zip(streams, windows, strict=True):
            if not stream.heard or not self.follows(stream, window):
                assert window.before >= 0
                stream.heard = window.begin // FRAME
                self.rebuilt += 1
            new = window.end // FRAME - stream.heard
            stream.heard = window.end // FRAME
            gflop += (new + CONTEXT) * self._costs.codec + self._costs.gflop
        self.windows += len(windows)
        self.cost_s += gflop / self._costs.speed + self._costs.window_s * len(windows)
        return [(_SCORES[: window.frames - window.done], None) for window in windows]


class Gpu:
    """A replica: the engine's own Scoring, and how long it would take."""

    def __init__(self, name: str, timeline: Timeline, costs: Costs) -> None:
        self.name, self._time, self._costs = name, timeline, costs
        self.up = True
        self.frozen = False
        self.busy_s = 0.0
        self._life = 0
        self._calls: list[Call] = []
        self.windows = self.rebuilt = 0
        self._begin()

    def _begin(self) -> None:
        self.engine = CountingEngine(self._costs)
        self._scoring = Scoring(
            cast("Any", self.engine), streams=1 << 20, on_failure=_raise, clock=self._clock
        )
        self._busy = False
        self._before_s = 0.0

    def _clock(self) -> float:
        """As it is once what is being computed has been."""
        return self._time.now_s + self.engine.cost_s - self._before_s

    def ends(self, *, frozen: bool = False) -> None:
        """It dies, or hangs: nobody is told of that."""
        self.up, self.frozen = False, frozen
        self._life += 1
        calls, self._calls = self._calls, []
        if not frozen:
            for call in calls:
                self._time.after(0.01, partial(call.end, ConnectionResetError("gone")))

    def begins(self) -> None:
        """Another takes its place, and knows of nothing."""
        self.up, self.frozen = True, False
        self.windows += self.engine.windows
        self.rebuilt += self.engine.rebuilt
        self._begin()

    def takes(self, call: Call, done: Callable[[Call, HearReply | BaseException], None]) -> None:
        if not self.up:
            if not self.frozen:
                call.end(ConnectionRefusedError("refused"))
            return
        self._calls.append(call)
        future = self._scoring.ask("city", call.request)

        def answered(_: object) -> None:
            if not future.cancelled():
                error = future.exception()
                self._ready.append((call, error or future.result()))

        future.add_done_callback(answered)
        call.lane.cancel = future.cancel
        if not self._busy:
            self._busy = True
            self._time.after(0.0, partial(self._work, self._life, done))

    def _work(self, life: int, done: Callable[[Call, HearReply | BaseException], None]) -> None:
        """Score what there is together; deliver it once that would have been computed."""
        if life != self._life:
            return
        self._ready: list[tuple[Call, HearReply | BaseException]] = []
        self._scoring._answer(self._scoring._next())
        took_s = self.engine.cost_s - self._before_s
        self._before_s = self.engine.cost_s
        if took_s:
            took_s += self._costs.batch_s
        took_s += self._costs.request_s * len(self._ready)
        self.busy_s += took_s
        self._time.after(took_s, partial(self._deliver, life, self._ready, done))

    def _deliver(
        self,
        life: int,
        ready: Sequence[tuple[Call, HearReply | BaseException]],
        done: Callable[[Call, HearReply | BaseException], None],
    ) -> None:
        if life != self._life:
            return
        for call, reply in ready:
            self._calls.remove(call)
            done(call, reply)
        self._busy = bool(self._scoring._waiting) or not self._scoring._queue.empty()
        if self._busy:
            self._work(life, done)


class Ingress:
    """One way in: sends a session to the same GPU each time, of those that it believes in."""

    def __init__(self, gpus: Sequence[Gpu]) -> None:
        self.up = True
        self._gpus = {gpu.name: gpu for gpu in gpus}
        self._out: set[str] = set()
        self._of: dict[str, Gpu] = {}

    def believes(self, gpu: Gpu, *, there: bool) -> None:
        """It has noticed."""
        (self._out.discard if there else self._out.add)(gpu.name)
        self._of.clear()

    def gpu_of(self, session: str) -> Gpu | None:
        if len(self._out) == len(self._gpus):
            return None
        if session not in self._of:
            left = self._gpus.keys() - self._out
            chosen = max(left, key=lambda name: sha256(f"{session} {name}".encode()).digest())
            self._of[session] = self._gpus[chosen]
        return self._of[session]


class VirtualLane:
    """See LaneSends: carries a Conversation on over the virtual network."""

    def __init__(self, world: World, engine: RemoteEngine, name: str, number: int) -> None:
        self.busy = False
        self.cancel: Callable[[], object] = lambda: None
        self._world, self._engine = world, engine
        at = number % len(world.addresses)
        addresses = [*world.addresses[at:], *world.addresses[:at]]
        self._route = Route(addresses, name, timeout_s=TIMEOUT_S, wire="flac")
        self._conversation = Conversation(
            self._route,
            "identity",
            engine.packed,
            clock=world.time.clock,
            chance=world.random.random,
        )
        self._about: Generator[Step, HearReply | None, Sequence[Came]] | None = None

    def send(self, batch: Outgoing) -> None:
        self.busy = True
        self._about = self._conversation.about(batch)
        self._go_on(next)

    def close(self) -> None: ...

    def join(self, timeout_s: float) -> None: ...

    def hears(self, came: HearReply | BaseException) -> None:
        """What became of the question."""
        if isinstance(came, BaseException):
            self.cancel()
            away = self._route.failed(came if isinstance(came, OSError) else Refusal(str(came)))
            self._go_on(lambda about: about.throw(away))
        else:
            self._go_on(lambda about: about.send(came))

    def _go_on(self, do: Callable[[Any], Step]) -> None:
        try:
            step = do(self._about)
        except StopIteration as end:
            self._engine.answered(end.value)
            return
        if isinstance(step, Pause):
            self._world.time.after(
                step.seconds, lambda: self._go_on(lambda about: about.send(None))
            )
        else:
            self._world.ask(self, step, self._route)


class Crowd:
    """The engine of a live listening: what is asked of a source is asked of several alike."""

    def __init__(self, remote: RemoteEngine, size: int) -> None:
        self._remote, self._size = remote, size
        self.labels = remote.labels
        self.arrived: Callable[[], None] = lambda: None
        self.context, self.most_together = remote.context, remote.most_together
        self._asked: dict[str, Asked[Any]] = {}
        self._left: dict[str, int] = {}

    def stream(self, source: str) -> list[RemoteStream]:
        return [self._remote.stream(f"{source}/{i}") for i in range(self._size)]

    def takes(self, streams: Sequence[RemoteStream]) -> bool:
        return self._remote.takes(streams[0])

    def ask(self, asked: Sequence[Asked[Any]], *, embed: bool) -> None:
        alike = [
            Asked(each.source, stream, each.window) for each in asked for stream in each.stream
        ]
        self._asked = {each.source: each for each in asked}
        self._left = dict.fromkeys(self._asked, self._size)
        self._remote.ask(alike, embed=embed)

    def answers(self) -> list[Answered[Any]]:
        """A source has its answer once all that are like it have theirs."""
        taken = []
        for came in self._remote.answers():
            found = came.found
            if found is None and came.reason is None and self._size > 1:
                self._remote.ask(came.asked, embed=False)
                continue
            for i, each in enumerate(came.asked):
                self._left[each.source] -= 1
                if not self._left[each.source] or found is None:
                    mine = [self._asked.pop(each.source)] if each.source in self._asked else []
                    got = None if found is None else [found[i]]
                    taken.append(Answered(mine, got, self.labels, came.took_s, came.reason))
        return [each for each in taken if each.asked]

    def close(self) -> None: ...


class Daemon(Listener):
    """A lane of sources, some of which are heard for all of them: what becomes of every frame."""

    def __init__(self, world: World, number: int, scorer: Scorer, heard: int) -> None:
        self.world = world
        remote = RemoteEngine(
            scorer.labels.embeddings,
            f"n{number}",
            LANE,
            lambda engine, name: VirtualLane(world, engine, name, number),
        )
        names = [f"s{i}" for i in range(heard)]
        self.live = Live(
            dict.fromkeys(names, _no_source),
            scorer,
            self,
            node=f"n{number}",
            hears=lambda _source, _label: True,
            ended=lambda _: None,
            failed=_raise,
            engine=cast("Any", Crowd(remote, LANE // heard)),
        )
        remote.arrived = lambda: world.time.after(0.0, self.live._turn)
        self._begun_s = world.random.uniform(0, HOP_S) - world.before * HOP_S
        self._hops = 0
        self.sources = {name: Fate() for name in names}

    def plays(self, hops: int, *, ends: bool) -> None:
        """Have so much sound arrive, a hop at a time, after what comes at once."""
        self._left, self._ends = hops, ends
        before = self.world.before
        self.world.time.at(self._begun_s + before * HOP_S, lambda: self._arrives(before))

    def _arrives(self, hops: int) -> None:
        start = self._hops * HOP * FRAME
        chunk = AudioChunk(start, _silence(hops * HOP * FRAME), None if start else 0)
        self._hops += hops
        for channel in self.live._channels.values():
            if hops:
                channel.feed._put(chunk)
            if not self._left and self._ends:
                channel.feed._mark(Mark.ENDED)
        if self._left:
            self._left -= 1
            self.world.time.after(HOP_S, lambda: self._arrives(1))
        self.live._turn()

    def scores(self, source: str, names: Sequence[str], heard: Heard) -> None:
        """A frame waits from when its lookahead, and the hop that ends there, have arrived."""
        fate, first = self.sources[source], heard.start // FRAME
        fate.doubled += max(0, fate.heard + self.lost(source) - first)
        fate.heard += len(heard.scores)
        due = max(self.world.before, min(-(-(first + 1 + LOOKAHEAD) // HOP), self._hops))
        fate.waits.append(self.world.time.now_s - self._begun_s - due * HOP_S)

    def lost(self, source: str) -> int:
        """Frames."""
        return self.live._channels[source].detector.account.lost // FRAME


@dataclass(slots=True)
class Fate:
    """Of a source: frames, and how long those of each scoring waited (s)."""

    heard: int = 0
    doubled: int = 0
    waits: list[float] = field(default_factory=list)


@dataclass(frozen=True)
class Outcome:
    """Of a run, over all streams: frames, and waits (s)."""

    given: int
    heard: int
    lost: int
    doubled: int
    worst_s: float
    p50_s: float
    p99_s: float
    load: float
    rebuilt: int
    scorings: tuple[int, ...] = field(repr=False)
    losses: tuple[int, ...] = field(repr=False)


class World:
    """All of it. Addresses are of two ways in, which stand on the first two nodes."""

    addresses = ("https://ears-1:8443", "https://ears-2:8443")

    def __init__(
        self,
        streams: int,
        gpus: int,
        *,
        nodes: int = 4,
        costs: Costs = SMALL,
        line: Line = Line(),
        seed: int = 1,
        noticed_s: float = 1.5,
        heard: int = 1,
        before: int = 20,
    ) -> None:
        """before: hops of sound that come at once at the beginning: windows are whole then.

        heard: sources of a lane that have a detector of their own, a part of sixteen.

        noticed_s: after which the ways in know that a GPU has gone, or is there again."""
        self.time, self.random = Timeline(), random.Random(seed)
        self.noticed_s, self._line, self.before = noticed_s, line, before
        self.gpus = [Gpu(f"gpu-{i}", self.time, costs) for i in range(gpus)]
        self._node_of = [i % nodes for i in range(gpus)]
        self.ways = {address: Ingress(self.gpus) for address in self.addresses}
        labels = LabelEmbeddings(
            (RULE.name,), torch.zeros(1, 4), torch.zeros(0, dtype=torch.int64), torch.zeros(1)
        )
        scorer = Scorer(
            cast("Any", SimpleNamespace(name="none")),
            cast("Any", None),
            Framing(250, HOP, LOOKAHEAD),
            PreparedLabels(labels, (RULE,)),
        )
        self.daemons = [Daemon(self, number, scorer, heard) for number in range(streams // LANE)]

    def lose_gpu(self, number: int, *, frozen: bool = False, back_s: float | None = None) -> None:
        gpu = self.gpus[number]
        gpu.ends(frozen=frozen)
        self.time.after(self.noticed_s, partial(self._notice, gpu, there=False))
        if back_s is not None:
            self.time.after(back_s, gpu.begins)
            self.time.after(back_s + self.noticed_s, partial(self._notice, gpu, there=True))

    def lose_node(self, node: int) -> None:
        """Its GPUs, and the way in that stands on it: silently, as where a cable is pulled."""
        for number, of in enumerate(self._node_of):
            if of == node:
                self.lose_gpu(number, frozen=True)
        if node < len(self.addresses):
            self.ways[self.addresses[node]].up = False

    def _notice(self, gpu: Gpu, *, there: bool) -> None:
        for way in self.ways.values():
            way.believes(gpu, there=there)

    def ask(self, lane: VirtualLane, question: Question, route: Route) -> None:
        """Send a question; the time-out begins once all of it is sent."""
        call = Call(lane, question.request)
        way = self.ways[route.address]
        samples = sum(len(item.window.samples) for item in question.request.items)
        sent_s = samples * FLAC_BYTES / self._line.bytes_per_s
        if not way.up:
            self.time.after(TIMEOUT_S, partial(call.end, TimeoutError()))
            return
        session = route.session
        self.time.after(
            sent_s + self._line.latency_s, lambda: self._comes(way.gpu_of(session), call)
        )
        self.time.after(sent_s + TIMEOUT_S, partial(call.end, TimeoutError()))

    def _comes(self, gpu: Gpu | None, call: Call) -> None:
        if call.over:
            return
        if gpu is None:
            call.end(ConnectionRefusedError("no engine is there"))
        else:
            gpu.takes(call, self._back)

    def _back(self, call: Call, reply: HearReply | BaseException) -> None:
        self.time.after(self._line.latency_s, partial(call.end, reply))

    def run(self, seconds: float, *, ends: bool = True) -> Outcome:
        """ends: sound ends then, and all is waited for; else it is a look in the midst of it."""
        hops = round(seconds / HOP_S)
        for daemon in self.daemons:
            daemon.plays(hops, ends=ends)
        collects = gc.isenabled()
        gc.disable()
        try:
            self.time.run(float("inf") if ends else seconds)
        finally:
            if collects:
                gc.enable()
        fates = [fate for daemon in self.daemons for fate in daemon.sources.values()]
        alike = LANE * len(self.daemons) // len(fates)
        waits = sorted(wait for fate in fates for wait in fate.waits)
        lost = [daemon.lost(source) for daemon in self.daemons for source in daemon.sources]
        return Outcome(
            given=(self.before + hops) * HOP * len(fates) * alike,
            heard=sum(fate.heard for fate in fates) * alike,
            lost=sum(lost) * alike,
            doubled=sum(fate.doubled for fate in fates) * alike,
            worst_s=waits[-1],
            p50_s=waits[len(waits) // 2],
            p99_s=waits[len(waits) * 99 // 100],
            load=sum(gpu.busy_s for gpu in self.gpus) / len(self.gpus) / self.time.now_s,
            rebuilt=sum(gpu.rebuilt + gpu.engine.rebuilt for gpu in self.gpus),
            scorings=tuple(len(fate.waits) for fate in fates),
            losses=tuple(lost),
        )


class _NoRing(Ring):
    """Knows what a ring would hold, and holds nothing."""

    def __init__(self, capacity: int) -> None:
        super().__init__(0)
        self._buffer = _silence(capacity)

    def append(self, samples: Samples) -> None:
        self._end += len(samples)

    def read(self, start: int, end: int) -> Samples:
        assert self.start <= start <= end <= self.end
        return _silence(end - start)


class _Counts(Ledger):
    """Keeps account of samples without a look at them."""

    def hear(self, samples: Samples) -> None:
        self._heard += len(samples)
        self._at += len(samples)


def without_sound(patched: pytest.MonkeyPatch) -> None:
    """Have detectors hold no sound: 10,000 rings would be 19 GB."""
    patched.setattr(detector, "Ring", _NoRing)
    patched.setattr(detector, "Ledger", _Counts)


def _silence(count: int) -> Samples:
    return _SILENCE[:count]


def _no_source(_first: int, _at_s: float | None) -> Any:
    raise AssertionError("sound is given by hand")


def _raise(error: BaseException) -> None:
    raise error
