"""What is said between a lane of sources and its engine, and the thread that says it.

`Conversation` decides what is asked, and what becomes of each answer; it has neither socket nor
thread, and its clock is given to it. A `Lane` has it asked over HTTP, one request at a time.
"""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable, Generator, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from pe_stream.config.worker import Worker
from pe_stream.core.backoff import delay_s
from pe_stream.core.types import FRAME, Window
from pe_stream.model.live_engine import Answered, Asked
from pe_stream.model.prompts import LabelEmbeddings
from pe_stream.serving.connection import EngineConnection
from pe_stream.serving.heads import MOST_CONTEXT, MOST_VALUES
from pe_stream.serving.outage import Outage
from pe_stream.serving.route import EngineAway, Refusal, Route
from pe_stream.serving.wire import (
    HearReply,
    HearRequest,
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
they go on one after the other, however slow the line is. A longer window goes alone."""


class LaneSends(Protocol):
    """Sources that are asked for together.

    busy: something is asked and was not taken; the scoring thread's, as `send` is.
    """

    busy: bool

    def send(self, batch: Outgoing) -> None:
        """Have a batch scored; of a lane that is not busy."""

    def close(self) -> None:
        """End, after what is waited for."""

    def join(self, timeout_s: float) -> None:
        """Wait for the end."""


@dataclass(slots=True, eq=False)
class RemoteStream:
    """A stream at the engine.

    epoch: random, so that no other stream's state is ever taken for this one's. wants: absolute
    sample from which on it wants audio; None: it knows nothing of the stream.
    """

    lane: LaneSends
    key: str
    epoch: str
    wants: int | None = None


@dataclass(frozen=True, slots=True, eq=False)
class Outgoing:
    """Windows of a lane that are asked for together."""

    asked: Sequence[Asked[RemoteStream]]
    labels: LabelEmbeddings
    embed: bool


@dataclass(frozen=True, slots=True, eq=False)
class Question:
    """A request that is to be sent. labels: its label set, though its rows may stay here."""

    request: HearRequest
    labels: LabelRows


@dataclass(frozen=True, slots=True)
class Pause:
    """So long (s) nothing is to be asked."""

    seconds: float


Step = Question | Pause
Came = Answered[RemoteStream]


class Conversation:
    """Decides for one lane what is asked next. For its thread.

    route: of the connection that it is asked over.
    """

    def __init__(
        self,
        route: Route,
        identity: str,
        packed: Callable[[LabelEmbeddings], tuple[str, LabelRows]],
        *,
        clock: Callable[[], float],
        chance: Callable[[], float],
    ) -> None:
        """identity: of the checkpoint. packed: see RemoteEngine. clock: monotonic (s)."""
        self._route, self._identity, self._packed = route, identity, packed
        self._clock, self._chance = clock, chance
        self._outage = Outage()
        self._context = MOST_CONTEXT

    def about(self, batch: Outgoing) -> Generator[Step, HearReply | None, Sequence[Came]]:
        """What is to be done until the batch is answered for; it returns what came of it.

        To a question the reply is sent in, or EngineAway thrown; after a pause, None.
        """
        begun_s = self._clock()
        try:
            found = yield from self._hear(batch)
        except EngineAway as away:
            now_s = self._clock()
            reason = self._outage.failed(away, now_s)
            wait_s = delay_s(self._outage.failures, LONGEST_S, self._chance(), first_s=FIRST_S)
            yield Pause(max(0.0, wait_s - (now_s - begun_s)))
            return [Answered(batch.asked, None, batch.labels, 0.0, reason)]
        now_s = self._clock()
        self._outage.answered(now_s)
        heard = [batch.asked[i] for i in found]
        scores = [(each.scores, each.embeddings) for each in found.values()]
        left = [each for i, each in enumerate(batch.asked) if i not in found]
        came: list[Came] = [Answered(heard, scores, batch.labels, now_s - begun_s)]
        return [*came, Answered(left, None, batch.labels, 0.0)] if left else came

    def _hear(self, batch: Outgoing) -> Generator[Step, HearReply | None, Mapping[int, ScoredItem]]:
        """The scores of windows of the batch, by their place in it, as soon as there are some.

        Every answer brings scores, or says what is missing, which goes with the next request.
        Windows that found no place in a request are left out: on a slow line they would be old by
        the time that they are sent, and their sources have newer ones then.
        """
        found: dict[int, ScoredItem] = {}
        need_labels = all(each.stream.wants is None for each in batch.asked)  # nobody knows us yet
        while not found:
            sent = self._portion(batch)
            reply = yield self._question(batch, sent, rows=need_labels)
            if reply is None:
                raise TypeError("a question has a reply")
            if not reply.need_labels:
                self._context = min(reply.context, MOST_CONTEXT)
            forgotten = need_labels and reply.need_labels
            need_labels = reply.need_labels
            for i, scored in zip(sent, reply.items, strict=not need_labels):
                stream = batch.asked[i].stream
                forgotten |= scored is None and stream.wants is None
                stream.wants = None if scored is None else scored.wants
                if scored is not None:
                    found[i] = scored
            if forgotten:
                raise self._route.failed(Refusal("it forgets at once what it is told"))
        return found

    def _portion(self, batch: Outgoing) -> dict[int, Window]:
        """The windows that go into a request, with the audio that is sent; by their place."""
        rows, width = batch.labels.rows.shape
        taken: dict[int, Window] = {}
        samples = values = 0
        for i, asked in enumerate(batch.asked):
            window = self._sent(asked)
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

    def _question(self, batch: Outgoing, sent: Mapping[int, Window], *, rows: bool) -> Question:
        digest, labels = self._packed(batch.labels)
        items = []
        for i, window in sent.items():
            stream = batch.asked[i].stream
            items.append(Item(stream.key, stream.epoch, window))
        request = HearRequest(self._identity, digest, batch.embed, labels if rows else None, items)
        return Question(request, labels)


class Lane:
    """See LaneSends; has a thread that waits for the engine.

    done: told what came of each batch, on that thread. stopping: nothing more is asked.
    """

    def __init__(
        self,
        name: str,
        connection: EngineConnection,
        conversation: Conversation,
        *,
        done: Callable[[Sequence[Came]], None],
        stopping: threading.Event,
        on_failure: Callable[[BaseException], None],
    ) -> None:
        self.busy = False
        self._connection, self._conversation = connection, conversation
        self._done, self._stopping = done, stopping
        self._queue: queue.SimpleQueue[Outgoing | None] = queue.SimpleQueue()  # holds one
        self._worker = Worker(name, self._run, on_failure)
        self._begun = False

    def send(self, batch: Outgoing) -> None:
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

    def _answer(self, batch: Outgoing) -> Sequence[Came]:
        about = self._conversation.about(batch)
        try:
            step = next(about)
            while True:
                try:
                    reply = self._do(step)
                except EngineAway as away:
                    step = about.throw(away)
                else:
                    step = about.send(reply)
        except StopIteration as end:
            came: Sequence[Came] = end.value
            return came

    def _do(self, step: Step) -> HearReply | None:
        if isinstance(step, Pause):
            self._stopping.wait(step.seconds)
            return None
        return self._hear(step.request, step.labels)

    def _hear(self, request: HearRequest, labels: LabelRows) -> HearReply:
        """What is answered; raises EngineAway."""
        route = self._connection.route
        answer = self._connection.post("/v1/hear", pack_request(request, wire=route.coding))
        try:
            return unpack_reply(
                answer,
                [item.window for item in request.items],
                labels.count,
                width=labels.rows.shape[1] if request.embed else 0,
            )
        except WireError as error:
            raise route.failed(Refusal(f"its answer is not understood: {error}")) from None
