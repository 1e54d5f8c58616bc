"""What other threads ask of one thread, and wait for."""

from __future__ import annotations

import queue
from collections.abc import Callable
from concurrent.futures import CancelledError, Future
from dataclasses import dataclass
from typing import Any, TypeVar

from pe_stream.errors import UnavailableError, UnfinishedError

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class _Request:
    what: Callable[[], Any]
    done: Future[Any]


class Requests:
    """Anybody may `ask`; the one thread calls `serve`, and at its end `give_up`.

    most: that may wait; who comes then is refused, and says so. patience_s: nobody waits longer.
    """

    def __init__(self, most: int, patience_s: float) -> None:
        """Begin without any."""
        self._waiting: queue.Queue[_Request] = queue.Queue(most)
        self._patience_s = patience_s

    def ask(self, what: Callable[[], T]) -> T:
        """Have it done, and return what it returns, or raise what it raises.

        Raises UnavailableError where it is not done in time, and will not be; UnfinishedError where
        it has begun.
        """
        request = _Request(what, Future())
        try:
            self._waiting.put_nowait(request)
            made: T = request.done.result(self._patience_s)
        except (queue.Full, TimeoutError, CancelledError):
            if request.done.cancel():
                raise UnavailableError("the daemon is busy; try again") from None
            raise UnfinishedError("the daemon is busy; look whether it was done") from None
        return made

    def serve(self) -> None:
        """Do all that waits."""
        while (request := self._next()) is not None:
            if not request.done.set_running_or_notify_cancel():
                continue  # nobody waits for it any more
            try:
                request.done.set_result(request.what())
            except BaseException as error:  # noqa: BLE001 - it is raised where it was asked for
                request.done.set_exception(error)

    def give_up(self) -> None:
        """Do nothing of it: nobody is to wait for what does not come."""
        while (request := self._next()) is not None:
            request.done.cancel()

    def _next(self) -> _Request | None:
        try:
            return self._waiting.get_nowait()
        except queue.Empty:
            return None
