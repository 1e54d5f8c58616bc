"""Second opinions on live events: a bounded queue, and a thread that has a process answer it.

Whatever becomes of the process costs opinions and nothing else. One that dies, hangs, or cannot be
loaded is begun again, after a while that doubles each time.
"""

from __future__ import annotations

import logging
import random
import threading
import time
from collections import deque
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from concurrent.futures import Future
from contextlib import suppress
from dataclasses import replace
from typing import Any

from pe_stream.config import LabelSettings, SecondOpinionSettings
from pe_stream.config.second_opinion import texts_of
from pe_stream.config.worker import Worker
from pe_stream.core.backoff import delay_s
from pe_stream.core.opinion import OpinionStatus, OpinionTexts
from pe_stream.core.opinion_requests import EventExcerpt, OpinionQueue, OpinionRequest
from pe_stream.core.opinion_vectors import OpinionProbe, OpinionVectors
from pe_stream.core.types import SecondOpinion
from pe_stream.errors import ConfigError, UnavailableError
from pe_stream.pipeline.opinion_process import OpinionProcess

log = logging.getLogger(__name__)

MOST_WAITING = 16
"""Requests that may wait: 25 MB of sound by default, and the pictures of each. When there are more,
the oldest is given up."""

MOST_TEXTS = 4
"""Texts to search by that may wait; whoever asks then is sent away."""

TEXT_S = 30.0
"""A text is waited for so long: the process may have an opinion to finish, and the text tower to
read."""

HUNG_S = 600.0
"""A process that has not given an opinion so much later than it was to (s) hangs."""

HUNG_TEXT_S = 90.0
"""The same of a text."""

LONGEST_PAUSE_S = 300.0
"""The process is begun again after so long at most (s)."""

STOP_S = 2.0
"""A stop waits so long for the thread (s)."""

_TURN_S = 1.0


class OpinionService:
    """Gives second opinions; safe to use from any thread.

    labels: those in force that are asked about, by name. told: called with an event's id and the
    opinion on it, None where there will be none; on the thread, or on that of who asks. on_failure:
    called with what ended the thread, if that was an error of ours. keep: called before an opinion
    is told, on the thread, with the event's id and what is to be kept; None: nothing is. sees:
    whether there may be pictures.
    """

    def __init__(
        self,
        settings: SecondOpinionSettings,
        labels: Callable[[], Mapping[str, LabelSettings]],
        told: Callable[[str, SecondOpinion | None], None],
        on_failure: Callable[[BaseException], None],
        keep: Callable[[str, OpinionVectors], None] | None = None,
        *,
        sees: bool = False,
    ) -> None:
        """Prepare; no process is started before `start`."""
        self._settings, self._labels, self._told = settings, labels, told
        self._keep, self._sees = keep, sees
        # Full (MOST_WAITING) when many events come at once: the oldest is given up, and counted.
        self._queue = OpinionQueue(MOST_WAITING, settings.wait_s)
        # Full (MOST_TEXTS) while the process is busy: who asks then is told so.
        self._texts: deque[tuple[str, Future[OpinionProbe]]] = deque()
        self._changed = threading.Condition()  # guards both queues, the status and the process
        self._status = OpinionStatus(f"loading {settings.checkpoint}")
        self._process: OpinionProcess | None = None
        self._asked_s: float | None = None  # when the process was asked what it has not answered
        self._stopping = False
        self._worker = Worker("opinions", self._work, on_failure)

    @property
    def status(self) -> OpinionStatus:
        """How it does."""
        status, since_s = self._status, self._asked_s
        if status.reason or since_s is None or time.monotonic() - since_s <= self._settings.wait_s:
            return status
        return replace(status, reason="its process has not answered within second_opinion.wait_s")

    def start(self) -> None:
        """Begin; does not wait until the checkpoint is loaded."""
        self._worker.start()

    def stop(self) -> None:
        """End the process; what waits is left."""
        with self._changed:
            self._stopping = True
            if self._process is not None:
                self._process.kill()
            self._changed.notify()
        self._worker.join(STOP_S)

    def ask(self, excerpt: EventExcerpt) -> None:
        """Ask for an opinion. Never waits."""
        with self._changed:
            gone = self._queue.put(OpinionRequest(excerpt, time.monotonic()))
            self._status = replace(self._status, asked=self._status.asked + 1)
            gone += self._queue.expired(time.monotonic())  # the thread may be loading
            self._changed.notify()
        self._give_up(gone)

    def probe(self, text: str) -> OpinionProbe:
        """A text to search by, embedded by the process; waits for TEXT_S at most.

        Raises ConfigError on a text that cannot be used, UnavailableError where the process is not
        there, or does not answer in time.
        """
        asked = text, Future[OpinionProbe]()
        with self._changed:
            if self._status.reason is not None or self._process is None:
                reason = self._status.reason or "their process begins again"
                raise UnavailableError(f"no second opinions at present: {reason}")
            if len(self._texts) >= MOST_TEXTS:
                raise UnavailableError("too many texts wait for the process of second opinions")
            self._texts.append(asked)
            self._changed.notify()
        try:
            return asked[1].result(TEXT_S)
        except TimeoutError:
            with self._changed, suppress(ValueError):  # the process may be at work on it
                self._texts.remove(asked)
            raise UnavailableError(
                f"the process of second opinions has not read the text in {TEXT_S:g} s: it may be "
                "busy with an opinion, or loading what reads texts; try again in a while"
            ) from None

    def _work(self) -> None:
        failed = 0  # times in a row
        while not self._stopping:
            try:
                for _ in self._opinions():
                    failed = 0
            except UnavailableError as error:
                if self._stopping:
                    return
                failed += 1
                log.error("no second opinions at present: %s", error)  # noqa: TRY400 - expected; its message is enough
                self._note(reason=str(error))
                pause_s = delay_s(failed, LONGEST_PAUSE_S, random.random())  # noqa: S311 - no secret is made of it
                self._wait(lambda: False, pause_s)
                self._expire()
                self._note(restarts=self._status.restarts + 1)

    def _opinions(self) -> Iterator[None]:
        """Start the process and have it answer; yields after each answer.

        Returns where it has to be told of other labels, raises UnavailableError where it fails.
        """
        texts = _texts_of(self._labels())
        process = OpinionProcess(self._settings, texts, sees=self._sees)
        try:
            with self._changed:
                self._process = process
                if self._stopping:
                    return
            process.load()
            log.info("second opinions by %s", self._settings.checkpoint)
            if self._sees and not process.sees:
                log.warning(
                    "%s hears and does not see: pictures are of no use", self._settings.checkpoint
                )
            self._note(reason=None)
            while not self._stopping:
                self._wait(lambda: len(self._queue) > 0 or len(self._texts) > 0, _TURN_S)
                if process.ended:
                    raise UnavailableError("its process has died")
                if texts != _texts_of(self._labels()):
                    log.info("second opinions: labels have changed, beginning again")
                    self._note(reason=f"loading {self._settings.checkpoint}")
                    return
                self._compare(process)
                request = self._next(texts)
                if request is not None:
                    self._answer(process, request)
                    yield
        finally:
            with self._changed:
                self._process = None
                left, self._texts = self._texts, deque()
            for _, asked in left:
                asked.set_exception(UnavailableError("the process of second opinions has ended"))
            process.close()

    def _compare(self, process: OpinionProcess) -> None:
        """Have the texts embedded that wait: somebody waits for each."""
        while True:
            with self._changed:
                if not self._texts:
                    return
                text, asked = self._texts.popleft()
            self._asked_s = time.monotonic()
            try:
                asked.set_result(process.probe(text, TEXT_S + HUNG_TEXT_S))
            except ConfigError as error:
                asked.set_exception(error)
            except UnavailableError as error:
                asked.set_exception(error)
                raise
            finally:
                self._asked_s = None

    def _answer(self, process: OpinionProcess, request: OpinionRequest) -> None:
        self._asked_s = begun_s = time.monotonic()
        opinion = None
        try:
            patience_s = self._settings.wait_s + HUNG_S
            opinion, made = process.opinion_on(request.excerpt, patience_s)
        finally:
            now_s, self._asked_s = time.monotonic(), None
            if opinion is None:
                self._give_up([request])
            elif self._queue.is_late(request, now_s):
                log.warning(
                    "a second opinion took longer than second_opinion.wait_s (%g), and is given up",
                    self._settings.wait_s,
                )
                self._give_up([request])
            else:
                with self._changed:
                    answered, seconds = self._status.answered + 1, self._status.seconds
                    self._note(answered=answered, seconds=seconds + now_s - begun_s)
                if self._keep is not None:
                    self._keep(request.excerpt.event_id, made)
                self._told(request.excerpt.event_id, opinion)

    def _next(self, labels: Collection[str]) -> OpinionRequest | None:
        """The newest request about one of these labels; None where there is none."""
        self._expire()
        with self._changed:
            request = self._queue.take()
        if request is not None and request.excerpt.label not in labels:
            self._give_up([request])
            return None
        return request

    def _expire(self) -> None:
        with self._changed:
            gone = self._queue.expired(time.monotonic())
        self._give_up(gone)

    def _give_up(self, requests: Sequence[OpinionRequest]) -> None:
        with self._changed:
            self._note(given_up=self._status.given_up + len(requests))
        for request in requests:
            self._told(request.excerpt.event_id, None)

    def _wait(self, over: Callable[[], bool], seconds: float) -> None:
        """Wait so long at most, or until it is over, or the stop."""
        with self._changed:
            self._changed.wait_for(lambda: self._stopping or over(), seconds)

    def _note(self, **changes: Any) -> None:
        with self._changed:
            self._status = replace(self._status, **changes)


def _texts_of(labels: Mapping[str, LabelSettings]) -> dict[str, OpinionTexts]:
    return {name: texts_of(label) for name, label in labels.items()}
