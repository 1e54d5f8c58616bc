"""The daemon's side: an engine on another machine, as live listening asks for it.

    scoring thread  ->  a lane (a thread, one request at a time)  ->  HTTP  ->  an engine
                    <-  answers (a queue)                         <-

Sources are in lanes of a few, by the order in which they come. While a lane waits, windows of its
sources are not taken; those of others are. Whatever becomes of a request, its windows are answered
for: with scores, or with why there are none.
"""

from __future__ import annotations

import queue
import random
import secrets
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial

from pe_stream.config import ModelSettings
from pe_stream.config.worker import Worker
from pe_stream.core.backoff import delay_s
from pe_stream.core.types import FRAME, FrameEmbeddings, FrameScores, Window
from pe_stream.model.live_engine import Answered, Asked
from pe_stream.model.prompts import LabelEmbeddings
from pe_stream.serving.connection import EngineAway, EngineConnection, Refusal
from pe_stream.serving.heads import MOST_CONTEXT, MOST_VALUES
from pe_stream.serving.outage import Outage
from pe_stream.serving.wire import (
    HearReply,
    Item,
    LabelRows,
    ScoredItem,
    WireError,
    pack_request,
    unpack_reply,
)

FIRST_S, LONGEST_S = 0.1, 0.5
"""After a failure an engine is left alone for so long (s), the first time and at most: a window can
wait for 9 s before anything is lost."""

PORTION = 1 << 21
"""Samples of a request, four windows of 10 s: where an engine has forgotten all sources of a lane,
a slow line brings them in several requests. A longer window goes alone."""

STOP_S = 0.5


@dataclass(slots=True, eq=False)
class RemoteStream:
    """A stream at the engine.

    epoch: random, so that no other stream's state is ever taken for this one's. wants: absolute
    sample from which on it wants audio; None: it knows nothing of the stream.
    """

    lane: Lane
    key: str
    epoch: str
    wants: int | None = None


@dataclass(frozen=True, slots=True, eq=False)
class _Outgoing:
    asked: Sequence[Asked[RemoteStream]]
    labels: LabelEmbeddings
    embed: bool


class RemoteEngine:
    """Asks engines on other machines; see LiveEngine. For the scoring thread, but for `close`.

    most_together: there is no such bound here. context: frames.
    """

    most_together = 1 << 30
    context = MOST_CONTEXT

    def __init__(
        self,
        settings: ModelSettings,
        identity: str,
        labels: LabelEmbeddings,
        node: str,
        on_failure: Callable[[BaseException], None],
    ) -> None:
        """Prepare; nothing is asked yet.

        identity: of the checkpoint that the labels were embedded with. node: name of this daemon.
        on_failure: called with an error of ours that ended a thread. Raises ConfigError where the
        token or the authority cannot be read.
        """
        self.labels = labels
        self.arrived: Callable[[], None] = lambda: None
        self._settings, self._identity, self._node = settings, identity, node
        self._on_failure = on_failure
        self._connect = EngineConnection.factory(settings)
        self._stopping = threading.Event()
        # Never full: each lane has one request.
        self._answers: queue.SimpleQueue[Answered[RemoteStream]] = queue.SimpleQueue()
        self._lanes: list[Lane] = []
        self._lane_of: dict[str, Lane] = {}
        self._packed: tuple[LabelEmbeddings, str, LabelRows] | None = None

    def stream(self, source: str) -> RemoteStream:
        """Make a new stream of the source, in the lane that it has."""
        if source not in self._lane_of:
            if len(self._lane_of) % self._settings.engine_lane == 0:
                self._lanes.append(self._new_lane(len(self._lanes) + 1))
            self._lane_of[source] = self._lanes[-1]
        key = f"{self._node}/{source}"[:300]
        return RemoteStream(self._lane_of[source], key, secrets.token_hex(16))

    def takes(self, stream: RemoteStream) -> bool:
        """Whether its lane waits for nothing."""
        return not stream.lane.busy

    def ask(self, asked: Sequence[Asked[RemoteStream]], *, embed: bool) -> None:
        """Send windows on their way, together those of a lane."""
        by_lane: dict[int, list[Asked[RemoteStream]]] = {}
        for each in asked:
            by_lane.setdefault(id(each.stream.lane), []).append(each)
        for together in by_lane.values():
            together[0].stream.lane.send(_Outgoing(together, self.labels, embed))

    def answers(self) -> Sequence[Answered[RemoteStream]]:
        """Take the answers that have come."""
        taken: list[Answered[RemoteStream]] = []
        while not self._answers.empty():
            taken.append(self._answers.get())
            taken[-1].asked[0].stream.lane.busy = False
        return taken

    def close(self) -> None:
        """Ask nothing more. A thread that waits for an engine is left behind."""
        self._stopping.set()
        for lane in self._lanes:
            lane.close()
        deadline_s = time.monotonic() + STOP_S
        for lane in self._lanes:
            lane.join(max(0.0, deadline_s - time.monotonic()))

    def packed(self, labels: LabelEmbeddings) -> tuple[str, LabelRows]:
        """A label set as it is sent, and its SHA-256; on any thread."""
        packed = self._packed
        if packed is None or packed[0] is not labels:
            parts = labels.rows, labels.suppresses, labels.offsets
            rows = LabelRows(*(each.cpu().numpy() for each in parts))
            self._packed = packed = labels, rows.digest(), rows
        return packed[1:]

    def _new_lane(self, number: int) -> Lane:
        def done(answered: Answered[RemoteStream]) -> None:
            self._answers.put(answered)
            self.arrived()

        name = f"{self._node}-{number}"
        worker = partial(Worker, f"lane {number}", on_failure=self._on_failure)
        return Lane(
            self,
            self._connect(name),
            identity=self._identity,
            done=done,
            stopping=self._stopping,
            worker=worker,
        )


class Lane:
    """Sources that are asked for together, and the thread that waits for their engine.

    busy: something is asked and was not taken; the scoring thread's.
    """

    def __init__(
        self,
        engine: RemoteEngine,
        connection: EngineConnection,
        *,
        identity: str,
        done: Callable[[Answered[RemoteStream]], None],
        stopping: threading.Event,
        worker: Callable[..., Worker],
    ) -> None:
        """done: told of every answer, on the lane's thread. worker: makes that, of its work."""
        self.busy = False
        self._engine, self._connection, self._identity = engine, connection, identity
        self._done, self._stopping = done, stopping
        self._queue: queue.SimpleQueue[_Outgoing | None] = queue.SimpleQueue()  # holds one
        self._outage = Outage()
        self._context = MOST_CONTEXT
        self._worker = worker(work=self._run)
        self._begun = False

    def send(self, batch: _Outgoing) -> None:
        """Have a batch scored; of a lane that is not busy."""
        self.busy = True
        self._queue.put(batch)
        if not self._begun:
            self._begun = True
            self._worker.start()

    def close(self) -> None:
        """End, after what is waited for."""
        self._queue.put(None)

    def join(self, timeout_s: float) -> None:
        """Wait for the end."""
        if self._begun:
            self._worker.join(timeout_s)

    def _run(self) -> None:
        while (batch := self._queue.get()) is not None and not self._stopping.is_set():
            self._done(self._answer(batch))
        self._connection.close()

    def _answer(self, batch: _Outgoing) -> Answered[RemoteStream]:
        begun_s = time.monotonic()
        try:
            found = self._hear(batch)
        except EngineAway as away:
            now_s = time.monotonic()
            reason = self._outage.failed(away, now_s)
            wait_s = delay_s(self._outage.failures, LONGEST_S, random.random(), first_s=FIRST_S)  # noqa: S311 - no secret
            self._stopping.wait(max(0.0, wait_s - (now_s - begun_s)))
            return Answered(batch.asked, None, batch.labels, 0.0, reason)
        now_s = time.monotonic()
        self._outage.answered(now_s)
        return Answered(batch.asked, found, batch.labels, now_s - begun_s)

    def _hear(self, batch: _Outgoing) -> list[tuple[FrameScores, FrameEmbeddings | None]]:
        """The scores of all its windows; raises EngineAway.

        Every answer brings scores, or says what is missing, which goes with the next request.
        """
        found: dict[int, ScoredItem] = {}
        need_labels = False
        while left := [i for i in range(len(batch.asked)) if i not in found]:
            sent = self._portion(batch, left)
            reply = self._post(batch, sent, rows=need_labels)
            forgotten = need_labels and reply.need_labels
            need_labels = reply.need_labels
            for i, scored in zip(sent, reply.items, strict=not need_labels):
                stream = batch.asked[i].stream
                forgotten |= scored is None and stream.wants is None
                stream.wants = None if scored is None else scored.wants
                if scored is not None:
                    found[i] = scored
            if forgotten:
                raise self._connection.failed(Refusal("it forgets at once what it is told"))
        return [(found[i].scores, found[i].embeddings) for i in range(len(found))]

    def _portion(self, batch: _Outgoing, left: Sequence[int]) -> dict[int, Window]:
        """Of what is left, the windows that go into a request, with the audio that is sent."""
        rows, width = batch.labels.rows.shape
        taken: dict[int, Window] = {}
        samples = values = 0
        for i in left:
            window = self._sent(batch.asked[i])
            samples += len(window.samples)
            values += (window.frames - window.done) * (rows + width * batch.embed)
            if taken and (samples > PORTION or values > MOST_VALUES):
                break
            taken[i] = window
        return taken

    def _sent(self, asked: Asked[RemoteStream]) -> Window:
        """The window with the audio that is sent of it."""
        window, wants = asked.window, asked.stream.wants
        if wants is None or wants < window.start:
            return window.since(max(window.begin, window.start - self._context * FRAME))
        return window.since(min(wants, window.end - 1))

    def _post(self, batch: _Outgoing, sent: Mapping[int, Window], *, rows: bool) -> HearReply:
        """What is answered to these windows of the batch; raises EngineAway."""
        digest, labels = self._engine.packed(batch.labels)
        streams = [batch.asked[i].stream for i in sent]
        windows = list(sent.values())
        body = pack_request(
            self._identity,
            digest,
            [
                Item(each.key, each.epoch, window)
                for each, window in zip(streams, windows, strict=True)
            ],
            wire=self._connection.coding,
            embed=batch.embed,
            rows=labels if rows else None,
        )
        answer = self._connection.post("/v1/hear", body)
        try:
            reply = unpack_reply(
                answer, windows, labels.count, width=labels.rows.shape[1] if batch.embed else 0
            )
        except WireError as error:
            raise self._connection.failed(
                Refusal(f"its answer is not understood: {error}")
            ) from None
        if not reply.need_labels:
            self._context = min(reply.context, MOST_CONTEXT)
        return reply
