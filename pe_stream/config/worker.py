"""A thread whose failure is reported and whose end is awaited with a deadline."""

from __future__ import annotations

import threading
from collections.abc import Callable

from pe_stream.errors import UnavailableError


class Worker:
    """A thread that does one thing to its end; what else ends it is reported.

    It is a daemon thread: one that is stuck in a call that nobody can break off holds up no exit.
    How it is told to end is its owner's part.
    """

    def __init__(
        self, name: str, work: Callable[[], None], on_failure: Callable[[BaseException], object]
    ) -> None:
        """Prepare; nothing is done before `start`.

        work: all that the thread does; its return is the thread's end. on_failure: called on the
        thread, last, with whatever `work` raised.
        """
        self._work, self._on_failure = work, on_failure
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)

    @property
    def running(self) -> bool:
        """Whether it was started, and has not ended."""
        return self._thread.is_alive()

    def start(self) -> None:
        """Begin; once. Raises UnavailableError where the system has no thread for it."""
        try:
            self._thread.start()
        except RuntimeError as error:
            raise UnavailableError(
                f"no thread can be started for {self._thread.name}: {error}"
            ) from error

    def join(self, timeout_s: float) -> bool:
        """Wait for its end, but no longer than that; whether it does not run any more."""
        if self._thread.is_alive():
            self._thread.join(timeout_s)
        return not self._thread.is_alive()

    def _run(self) -> None:
        try:
            self._work()
        except BaseException as error:  # noqa: BLE001 - nothing that ends a thread is swallowed
            self._on_failure(error)
