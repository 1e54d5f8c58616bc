"""Work done side by side, in processes of their own: what ends one of them ends no other."""

from __future__ import annotations

import multiprocessing
import signal
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from multiprocessing.connection import Connection, wait
from multiprocessing.process import BaseProcess
from typing import Any, Generic, TypeVar

Item = TypeVar("Item")
Result = TypeVar("Result")
Context = TypeVar("Context")


class Died(Exception):  # noqa: N818 - it is a result, which is never raised
    """The process that worked on an item ended; the message says how."""


class Workers(Generic[Context, Item, Result]):
    """Processes that each begin with `begin(*arguments)`, and then do `work(context, item)`.

    Both are functions of modules, and what they take and give can be pickled. What one of them
    raises ends its process.
    """

    def __init__(
        self,
        count: int,
        begin: Callable[..., Context],
        arguments: Sequence[Any],
        work: Callable[[Context, Item], Result],
    ) -> None:
        """Take what to do; `count` processes are started with the first items."""
        self._spawn = multiprocessing.get_context("spawn")  # torch's threads survive no fork
        self._count = count
        self._task = (begin, tuple(arguments), work)
        self._idle: list[tuple[Connection, BaseProcess]] = []
        self._busy: dict[Connection, tuple[BaseProcess, int]] = {}

    def in_order(self, items: Sequence[Item]) -> Iterator[Result | Died]:
        """The result of each item, in their order, each as soon as those before it are there."""
        done: dict[int, Result | Died] = {}
        begun = 0
        try:
            for told in range(len(items)):
                while told not in done:
                    while begun < len(items) and len(self._busy) < self._count:
                        self._give(begun, items[begun])
                        begun += 1
                    self._take(done)
                yield done.pop(told)
        finally:
            for _, process in self._idle:
                process.terminate()
            for process, _ in self._busy.values():
                process.terminate()

    def _give(self, number: int, item: Item) -> None:
        there, process = self._idle.pop() if self._idle else self._started()
        self._busy[there] = process, number
        with suppress(OSError):  # it has ended: `_take` finds that
            there.send(item)

    def _take(self, done: dict[int, Result | Died]) -> None:
        """Wait for what comes first, of whichever process."""
        for ready in wait(list(self._busy)):
            assert isinstance(ready, Connection)  # noqa: S101 - that is what is waited for
            process, number = self._busy.pop(ready)
            try:
                done[number] = ready.recv()
                self._idle.append((ready, process))
            except (EOFError, OSError):
                process.join()
                done[number] = Died(_end_of(process.exitcode))

    def _started(self) -> tuple[Connection, BaseProcess]:
        ours, theirs = self._spawn.Pipe()
        process = self._spawn.Process(target=_serve, args=(theirs, *self._task), daemon=True)
        process.start()
        theirs.close()  # so that its end is seen
        return ours, process


def _serve(
    there: Connection,
    begin: Callable[..., Context],
    arguments: Sequence[Any],
    work: Callable[[Context, Item], Result],
) -> None:
    """What a process does, until nobody gives it any more."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the one who started us ends us
    context = begin(*arguments)
    with suppress(EOFError, BrokenPipeError):  # nobody is there any more
        while True:
            there.send(work(context, there.recv()))


def _end_of(code: int | None) -> str:
    if code is not None and code < 0:
        return f"the process that read it was ended by {signal.Signals(-code).name}"
    return f"the process that read it ended with exit code {code}"
