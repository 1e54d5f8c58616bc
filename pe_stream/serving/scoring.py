"""The engine's side: the streams of all who ask, scored together on one thread.

    requests (a queue, oldest first)  ->  this thread: streams, label sets, engine  ->  answers

A request is answered by what is known of its streams: where that does not reach, the answer says
that the whole window is needed. So nothing that is forgotten, doubled or late does any harm.
"""

from __future__ import annotations

import queue
import threading
import time
from collections import Counter, OrderedDict
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field

from pe_stream.config.worker import Worker
from pe_stream.model.codec import Stream
from pe_stream.model.engine import Engine
from pe_stream.model.prompts import LabelEmbeddings, label_embeddings
from pe_stream.serving.heads import MOST_VALUES
from pe_stream.serving.wire import (
    NEED_LABELS,
    HearReply,
    HearRequest,
    Item,
    ScoredItem,
    WireError,
)
from pe_stream.serving.work import Work

FORGET_S = 60.0
"""What is known of a stream is forgotten after so long (s) without a window."""

LABEL_ROWS = 1 << 16
"""Rows of label sets that are kept of a tenant; beyond, the set used longest ago goes."""

LATE_S = 1.0
"""A request that has waited so long (s) makes way for younger ones: it would be answered after its
sender has given it up, as would all that wait behind it."""

_TURN_S = 1.0


class FullError(Exception):
    """No more streams are held, or more is asked for than can be scored in time."""


@dataclass(slots=True, eq=False)
class _Held:
    stream: Stream
    used_s: float


@dataclass(frozen=True, slots=True, eq=False)
class _Request:
    tenant: str
    asked: HearRequest
    came_s: float
    answer: Future[HearReply] = field(default_factory=Future)

    def key(self, item: Item) -> tuple[str, str, str]:
        """A stream is its tenant's: nobody else's request can name it."""
        return self.tenant, item.key, item.epoch

    @property
    def keys(self) -> set[tuple[str, str, str]]:
        return {self.key(item) for item in self.asked.items}


class Scoring:
    """Scores what is asked for; `ask` may be called from any thread.

    streams: most that are held at a time.
    """

    def __init__(
        self,
        engine: Engine,
        *,
        streams: int,
        on_failure: Callable[[BaseException], None],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """Prepare. on_failure: called on the thread with what ended it, if that was an error."""
        self._engine, self._most, self._clock = engine, streams, clock
        # Bounded by the connections: each has one request at a time.
        self._queue: queue.SimpleQueue[_Request | None] = queue.SimpleQueue()
        self._held: dict[tuple[str, str, str], _Held] = {}
        self._labels: dict[str, OrderedDict[str, LabelEmbeddings]] = {}
        self._waiting: list[_Request] = []
        self.work = Work()
        self.work_of: dict[str, Work] = {}  # by tenant, of whom there are as many as tokens
        self._stopping = threading.Event()
        self._worker = Worker("engine", self._run, on_failure)

    @property
    def streams(self) -> int:
        """How many streams are held; from any thread."""
        return len(self._held)

    def streams_of(self) -> Counter[str]:
        """The same by tenant."""
        return Counter(tenant for tenant, _, _ in list(self._held))

    @property
    def width(self) -> int:
        """Number of values of an embedding, and of a label's row."""
        return self._engine.width

    @property
    def context(self) -> int:
        """Frames that are wanted ahead of a whole window."""
        return self._engine.context

    def start(self) -> None:
        """Begin."""
        self._worker.start()

    def stop(self, timeout_s: float) -> bool:
        """Answer nothing more; whether the thread has ended by then."""
        self._stopping.set()
        self._queue.put(None)
        return self._worker.join(timeout_s)

    def ask(self, tenant: str, asked: HearRequest) -> Future[HearReply]:
        """Have a request scored; FullError, or WireError where it is wrong."""
        request = _Request(tenant, asked, self._clock())
        self._queue.put(request)
        return request.answer

    def _run(self) -> None:
        try:
            while not self._stopping.is_set():
                together = self._next()
                self._forget()
                if together:
                    self._answer(together)
        finally:
            self._stopping.set()
            while not self._queue.empty():
                if (left := self._queue.get()) is not None:
                    self._waiting.append(left)
            for each in self._waiting:
                each.answer.cancel()

    def _next(self) -> list[_Request]:
        """What is scored together: the oldest first that is not too late, each stream once."""
        if not self._waiting:
            try:
                first = self._queue.get(timeout=_TURN_S)
            except queue.Empty:
                return []
            if first is not None:
                self._waiting.append(first)
        while not self._queue.empty():
            if (more := self._queue.get()) is not None:
                self._waiting.append(more)
        self._refuse_late()
        taken: list[_Request] = []
        left: list[_Request] = []
        keys: set[tuple[str, str, str]] = set()
        windows = 0
        for each in self._waiting:
            size = len(each.asked.items)
            full = bool(taken) and windows + size > self._engine.most_together
            if full or keys & each.keys:
                left.append(each)
                keys |= each.keys  # what comes later of a stream is scored later
                continue
            taken.append(each)
            keys |= each.keys
            windows += size
        self._waiting = left
        return taken

    def _refuse_late(self) -> None:
        """Where all were waited for in turn, each would be answered too late, for ever."""
        late_s = self._clock() - LATE_S
        young = [each for each in self._waiting if each.came_s > late_s]
        if young:
            for each in self._waiting:
                if each.came_s <= late_s and each.answer.set_running_or_notify_cancel():
                    self._refused(each)
                    each.answer.set_exception(FullError("more is asked for than can be scored"))
            self._waiting = young

    def _forget(self) -> None:
        oldest_s = self._clock() - FORGET_S
        for key in [key for key, held in self._held.items() if held.used_s < oldest_s]:
            del self._held[key]

    def _plan(
        self, together: Sequence[_Request]
    ) -> list[tuple[_Request, LabelEmbeddings, list[Stream | None]]]:
        """Requests with their labels and streams; those without are answered."""
        planned: list[tuple[_Request, LabelEmbeddings, list[Stream | None]]] = []
        for each in together:
            if not each.answer.set_running_or_notify_cancel():
                continue
            try:
                labels = self._labels_of(each)
                if labels is None:
                    each.answer.set_result(NEED_LABELS)
                else:
                    self._check_answer(each.asked, labels)
                    planned.append((each, labels, self._streams_of(each)))
            except (FullError, WireError) as error:
                self._refused(each)
                each.answer.set_exception(error)
        return planned

    def _answer(self, together: Sequence[_Request]) -> None:
        """Score requests together, and answer each."""
        planned = self._plan(together)
        ready = [
            (stream, item.window, labels)
            for each, labels, streams in planned
            for item, stream in zip(each.asked.items, streams, strict=True)
            if stream is not None
        ]
        begun_s = self._clock()
        try:
            found = iter(
                self._engine.hear_labelled(
                    [stream for stream, _, _ in ready],
                    [window for _, window, _ in ready],
                    [labels for _, _, labels in ready],
                    embed=any(each.asked.embed for each, _, _ in planned),
                )
            )
        except BaseException as error:
            for each, _, _ in planned:
                each.answer.set_exception(RuntimeError(f"a fault of the engine: {error}"))
            raise
        self.work.scored(len(ready), self._clock() - begun_s)
        for each, _, streams in planned:
            work = self.work_of.setdefault(each.tenant, Work())
            whole = streams.count(None)
            for counts in (self.work, work):
                counts.wanted_whole += whole
            work.windows += len(streams) - whole
            items: list[ScoredItem | None] = []
            for stream in streams:
                if stream is None:
                    items.append(None)
                    continue
                scores, embeddings = next(found)
                kept = embeddings if each.asked.embed else None
                items.append(ScoredItem(scores, kept, self._engine.wants(stream)))
            each.answer.set_result(
                HearReply(need_labels=False, context=self._engine.context, items=items)
            )

    def _refused(self, request: _Request) -> None:
        for work in (self.work, self.work_of.setdefault(request.tenant, Work())):
            work.refused += 1

    def _check_answer(self, asked: HearRequest, labels: LabelEmbeddings) -> None:
        """Refuse what is small itself, and whose answer is not."""
        rows, width = labels.rows.shape
        frames = sum(item.window.frames - item.window.done for item in asked.items)
        if len(asked.items) > 1 and frames * (rows + width * asked.embed) > MOST_VALUES:
            raise WireError(f"more than {MOST_VALUES} values are asked for")

    def _labels_of(self, request: _Request) -> LabelEmbeddings | None:
        """The label set, kept for the next time; None where it is not known."""
        sets = self._labels.setdefault(request.tenant, OrderedDict())
        digest, rows = request.asked.labels, request.asked.rows
        if rows is not None and digest not in sets:
            if rows.rows.shape[1] != self._engine.width:
                raise WireError(f"label rows are {self._engine.width} wide, not as these")
            sets[digest] = label_embeddings(
                rows.rows, rows.suppresses, rows.offsets, self._engine.device
            )
            while sum(len(each.rows) for each in sets.values()) > LABEL_ROWS:
                sets.popitem(last=False)
        if digest not in sets:
            return None
        sets.move_to_end(digest)
        return sets[digest]

    def _make_room(self, tenant: str, new: int) -> None:
        """Have room for new streams of a tenant: those go first of whoever has more, the oldest.

        Nothing is changed where that raises FullError.
        """
        over = len(self._held) + new - self._most
        if over <= 0:
            return
        counts = Counter(of for of, _, _ in self._held)
        counts[tenant] += new
        going: list[tuple[str, str, str]] = []
        for key in sorted(self._held, key=lambda each: self._held[each].used_s):
            if len(going) < over and counts[key[0]] > counts[tenant]:
                counts[key[0]] -= 1
                going.append(key)
        if len(going) < over:
            raise FullError(f"{self._most} streams are held, and there is no room for more")
        for key in going:
            del self._held[key]

    def _streams_of(self, request: _Request) -> list[Stream | None]:
        """The stream of each window; None where what is known of it does not reach.

        Nothing is changed where that raises FullError.
        """
        whole = [item for item in request.asked.items if item.window.before >= 0]
        new = sum(request.key(item) not in self._held for item in whole)
        self._make_room(request.tenant, new)
        made: list[Stream | None] = []
        for item in request.asked.items:
            key, window = request.key(item), item.window
            held = self._held.get(key)
            if window.before >= 0:
                held = self._held.setdefault(key, _Held(Stream(), 0.0))
            elif held is None or not self._engine.follows(held.stream, window):
                made.append(None)
                continue
            held.used_s = self._clock()
            made.append(held.stream)
        return made
