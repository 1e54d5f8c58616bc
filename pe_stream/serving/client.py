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
from collections.abc import Callable, Sequence

from pe_stream.config import ModelSettings
from pe_stream.model.live_engine import Asked
from pe_stream.model.prompts import LabelEmbeddings
from pe_stream.serving.connection import EngineConnection
from pe_stream.serving.heads import MOST_CONTEXT
from pe_stream.serving.lane import Came, Conversation, Lane, LaneSends, Outgoing, RemoteStream
from pe_stream.serving.wire import LabelRows

STOP_S = 0.5

MakeLane = Callable[["RemoteEngine", str], LaneSends]
"""Makes a lane of that name, whose answers go to the engine's `answered`."""


class RemoteEngine:
    """Asks engines on other machines; see LiveEngine. For the scoring thread, but for `close`.

    most_together: there is no such bound here. context: frames.
    """

    most_together = 1 << 30
    context = MOST_CONTEXT

    def __init__(
        self,
        labels: LabelEmbeddings,
        node: str,
        most: int,
        new_lane: MakeLane,
        close: Callable[[], None] = lambda: None,
    ) -> None:
        """Prepare; nothing is asked yet.

        node: name of this daemon. most: sources of a lane. close: called before the lanes' ends.
        """
        self.labels = labels
        self.arrived: Callable[[], None] = lambda: None
        self._node, self._most, self._new_lane, self._close = node, most, new_lane, close
        # Never full: each lane has one request.
        self._answers: queue.SimpleQueue[Sequence[Came]] = queue.SimpleQueue()
        self._lanes: list[LaneSends] = []
        self._lane_of: dict[str, LaneSends] = {}
        self._packed: tuple[LabelEmbeddings, str, LabelRows] | None = None

    def stream(self, source: str) -> RemoteStream:
        """Make a new stream of the source, in the lane that it has."""
        if source not in self._lane_of:
            if len(self._lane_of) % self._most == 0:
                self._lanes.append(self._new_lane(self, f"{self._node}-{len(self._lanes) + 1}"))
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
            together[0].stream.lane.send(Outgoing(together, self.labels, embed))

    def answered(self, came: Sequence[Came]) -> None:
        """Take what came of a lane's windows; on any thread."""
        self._answers.put(came)
        self.arrived()

    def answers(self) -> Sequence[Came]:
        """Take the answers that have come."""
        taken: list[Came] = []
        while not self._answers.empty():
            taken += self._answers.get()
            taken[-1].asked[0].stream.lane.busy = False
        return taken

    def close(self) -> None:
        """Ask nothing more. A thread that waits for an engine is left behind."""
        self._close()
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


def remote_engine(
    settings: ModelSettings,
    identity: str,
    labels: LabelEmbeddings,
    node: str,
    on_failure: Callable[[BaseException], None],
) -> RemoteEngine:
    """What asks the engines of the settings, over HTTP, each lane on a thread of its own.

    identity: of the checkpoint that the labels were embedded with. node: name of this daemon.
    on_failure: called with an error of ours that ended a thread. Raises ConfigError where the
    token or the authority cannot be read.
    """
    connect = EngineConnection.factory(settings)
    stopping = threading.Event()

    def new_lane(engine: RemoteEngine, name: str) -> Lane:
        connection = connect(name)
        conversation = Conversation(
            connection.route,
            identity,
            engine.packed,
            clock=time.monotonic,
            chance=random.random,
        )
        return Lane(
            f"lane {name.rpartition('-')[2]}",
            connection,
            conversation,
            done=engine.answered,
            stopping=stopping,
            on_failure=on_failure,
        )

    return RemoteEngine(labels, node, settings.engine_lane, new_lane, stopping.set)
