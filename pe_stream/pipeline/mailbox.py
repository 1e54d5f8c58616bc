"""Requests of other threads to the one that owns some state: done in order, never refused."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Hashable
from concurrent.futures import Future
from dataclasses import dataclass
from typing import Generic, TypeVar

from pe_stream.errors import UnavailableError

K = TypeVar("K", bound=Hashable)
V = TypeVar("V")


@dataclass(slots=True, eq=False)
class _Change(Generic[K, V]):
    key: K
    value: V


@dataclass(frozen=True, slots=True, eq=False)
class _Call:
    what: Callable[[], None]
    done: Future[None]


class Mailbox(Generic[K, V]):
    """Anybody may `want` and `ask`; the one thread calls `serve`, and at its end `close`.

    What is wanted of a key joins what waits for that key, so that the keys bound what waits. It
    joins nothing from before an `ask`, which may replace what was wanted; whoever asks waits, or
    cancels, before asking again.
    obey: does what is wanted of a key, on the one thread. join: two such values as one, the earlier
    first. wake: called when something waits.
    """

    def __init__(
        self,
        obey: Callable[[K, V], None],
        join: Callable[[V, V], V],
        wake: Callable[[], None] = lambda: None,
    ) -> None:
        """Begin without any."""
        self._obey, self._join, self._wake = obey, join, wake
        self._lock = threading.Lock()
        self._waiting: deque[_Change[K, V] | _Call] = deque()
        self._latest: dict[K, _Change[K, V]] = {}
        self._closed = False

    def want(self, key: K, value: V) -> None:
        """Have it done, without waiting. Raises UnavailableError after `close`."""
        with self._lock:
            if self._closed:
                raise UnavailableError("it is stopping: the change was not made")
            if (waiting := self._latest.get(key)) is not None:
                waiting.value = self._join(waiting.value, value)
            else:
                self._latest[key] = wanted = _Change(key, value)
                self._waiting.append(wanted)
        self._wake()

    def ask(self, what: Callable[[], None]) -> Future[None]:
        """Have it done; returns what tells when that is so. Cancelled by `close`."""
        asked = _Call(what, Future())
        with self._lock:
            if self._closed:
                asked.done.cancel()
            else:
                self._latest.clear()
                self._waiting.append(asked)
        self._wake()
        return asked.done

    def serve(self) -> None:
        """Do all that waits. Raises what that raises."""
        while (request := self._next()) is not None:
            if isinstance(request, _Change):
                self._obey(request.key, request.value)
            elif request.done.set_running_or_notify_cancel():
                try:
                    request.what()
                except BaseException as error:
                    request.done.set_exception(error)
                    raise
                request.done.set_result(None)

    def close(self) -> None:
        """Do no more: nobody is to wait for what does not come."""
        with self._lock:
            self._closed = True
            left, self._waiting = list(self._waiting), deque()
        for request in left:
            if isinstance(request, _Call):
                request.done.cancel()

    def _next(self) -> _Change[K, V] | _Call | None:
        with self._lock:
            if not self._waiting:
                return None
            request = self._waiting.popleft()
            if isinstance(request, _Change) and self._latest.get(request.key) is request:
                del self._latest[request.key]
            return request
