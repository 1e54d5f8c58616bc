"""Which events are told to whom, and when."""

from __future__ import annotations

import logging
import math
import queue
import random
import threading
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path

from uuid6 import uuid7

from pe_stream.config import NotificationSettings, Settings, local_time
from pe_stream.config.local_time import LocalTime
from pe_stream.config.worker import Worker
from pe_stream.core.backoff import delay_s
from pe_stream.core.listener import Listener
from pe_stream.core.opinion import main_score
from pe_stream.core.types import Event, Phase
from pe_stream.core.utc import utc_text
from pe_stream.errors import RefusedError, UnavailableError, UsageError
from pe_stream.outputs.notifications import words
from pe_stream.outputs.notifications.held_events import HeldEvents
from pe_stream.outputs.notifications.services import Notification, Service, service

log = logging.getLogger(__name__)

MOST_WAITING = 100
"""Messages of one notification that may wait to be sent."""

TRIES = 3
"""A message is given up after so many."""

FIRST_PAUSE_S = 2.0
"""Between the first try and the second; twice as much before the third."""

CLIP_S = 10.0
"""A clip may take this much longer (s) than what it holds; then the message goes without."""

MOST_BYTES = 25_000_000
"""Longer clips are not attached: services refuse them."""

STOP_S = 2.0
"""At a stop, messages get this long to be sent."""

_TURN_S = 1.0


class Notifications(Listener):
    """All notifications of a daemon.

    Raises ConfigError or UnavailableError where one can never be sent.
    after_s: seconds of sound that a clip has after its event. on_failure: called with what ended a
    thread, if that was an error of ours.
    awaits_opinion: whether a second opinion on an event is still to come; set before any event.
    """

    def __init__(
        self,
        settings: Mapping[str, NotificationSettings],
        local: LocalTime,
        *,
        after_s: float = 0.0,
        clock: Callable[[], float] = time.monotonic,
        now: Callable[[], datetime] = local_time.now,
        on_failure: Callable[[BaseException], None] = lambda _: None,
    ) -> None:
        """Prepare; nothing is sent before `start`."""
        self.awaits_opinion: Callable[[Event], bool] = lambda _: False
        around = _Surroundings(
            local,
            after_s + CLIP_S,
            lambda event: self.awaits_opinion(event),  # noqa: PLW0108 - as it is then
            clock,
            now,
            on_failure,
        )
        self._notifiers = {
            name: _Notifier(name, each, service(name, each), around)
            for name, each in settings.items()
        }

    @property
    def counts(self) -> dict[str, dict[str, int]]:
        """How many messages of each notification were sent, failed, were dropped."""
        return {
            name: {"sent": each.sent, "failed": each.failed, "dropped": each.dropped}
            for name, each in self._notifiers.items()
        }

    def start(self) -> None:
        """Begin to send."""
        for name, notifier in self._notifiers.items():
            log.info("notification %s: %s", name, notifier.describe)
            notifier.start()

    def stop(self) -> None:
        """Send what waits, for a while, and end the threads."""
        for notifier in self._notifiers.values():
            notifier.stop()
        deadline_s = time.monotonic() + STOP_S
        for notifier in self._notifiers.values():
            notifier.join(max(0.0, deadline_s - time.monotonic()))

    def event(self, event: Event) -> None:
        """Tell of an event in any phase. Never waits; by one thread at a time."""
        if event.phase is not Phase.UPDATE:
            for notifier in self._notifiers.values():
                notifier.event(event)

    def opinion(self, event: Event) -> None:
        """Tell of an event that was held for its second opinion. Never waits."""
        for notifier in self._notifiers.values():
            notifier.opinion(event)

    def opinion_given_up(self, event: Event) -> None:
        """Tell of an event that was held for an opinion that does not come. Never waits."""
        self.opinion(event)

    def clip(self, event_id: str, path: Path | None) -> None:
        """Learn that the clip of an event is complete, or that there is none. Never waits."""
        for notifier in self._notifiers.values():
            notifier.clip(event_id, path)


@dataclass(frozen=True, slots=True)
class _Surroundings:
    """Values and functions that all notifiers share."""

    local: LocalTime
    clip_s: float
    awaits_opinion: Callable[[Event], bool]
    clock: Callable[[], float]
    now: Callable[[], datetime]
    on_failure: Callable[[BaseException], None]


class _Notifier:
    """One notification: what it leaves out, what waits, and the thread that sends."""

    def __init__(
        self, name: str, settings: NotificationSettings, to: Service, around: _Surroundings
    ) -> None:
        self.sent = self.failed = self.dropped = 0
        self.describe = to.describe
        self._name, self._settings, self._service, self._around = name, settings, to, around
        # Full when the service is slow or away: the message is dropped, counted, and said so.
        self._queue: queue.Queue[tuple[Event, Path | None] | None] = queue.Queue(MOST_WAITING)
        self._last_s: dict[tuple[str, str], float] = {}
        self._held = HeldEvents(
            settings.opinion_wait_s, around.clip_s, around.clock, self._is_told_at_last
        )
        self._stopping = threading.Event()
        self._worker = Worker(f"sending {name}", self._work, around.on_failure)

    def start(self) -> None:
        self._worker.start()

    def stop(self) -> None:
        self._stopping.set()
        with suppress(queue.Full):  # then it is awake
            self._queue.put_nowait(None)

    def join(self, timeout_s: float) -> None:
        if self._worker.join(timeout_s):
            self._service.close()
        else:
            left = self._queue.qsize()
            log.error("notification %s: not sent before the end: %d", self._name, left)

    def event(self, event: Event) -> None:
        if self._held.update(event) or not self._is_told(event):
            return
        for_opinion = self._waits_for_opinion(event) and len(self._held) < MOST_WAITING
        for_clip = self._settings.clip and event.clip is not None
        if not for_opinion and not self._is_told_at_last(event):
            return
        if for_opinion or for_clip:
            self._held.hold(event, for_opinion=for_opinion, for_clip=for_clip)
        else:
            self._put(event, None)

    def opinion(self, event: Event) -> None:
        if ready := self._held.opinion(event):
            self._put(*ready)

    def clip(self, event_id: str, path: Path | None) -> None:
        if ready := self._held.clip(event_id, path):
            self._put(*ready)

    def _is_told(self, event: Event) -> bool:
        settings, around = self._settings, self._around
        if event.phase != settings.phase or event.peak < settings.min_peak:
            return False
        if not settings.wants(event.source, event.label):
            return False
        if self._cools_down(event):
            return False
        if event.label in settings.except_quiet:
            return True
        return not any(around.local.holds(each.span, around.now()) for each in settings.quiet)

    def _waits_for_opinion(self, event: Event) -> bool:
        """Whether there will be one that counts; what is urgent at night never waits."""
        settings = self._settings
        if settings.min_opinion is None or event.label in settings.except_quiet:
            return False
        return not event.late and self._around.awaits_opinion(event)

    def _is_told_at_last(self, event: Event) -> bool:
        """Whether it is, by its opinion, if it has one, and what was told meanwhile; notes that."""
        if self._falls_short(event) or self._cools_down(event):
            return False
        self._last_s[event.source, event.label] = self._around.clock()
        return True

    def _falls_short(self, event: Event) -> bool:
        """Whether its opinion, if it has one, is against it; nothing keeps back what is urgent."""
        least, opinion = self._settings.min_opinion, event.second_opinion
        if least is None or opinion is None or event.label in self._settings.except_quiet:
            return False
        score = main_score(opinion)
        return score is not None and score < least

    def _cools_down(self, event: Event) -> bool:
        last_s = self._last_s.get((event.source, event.label))
        return last_s is not None and self._around.clock() - last_s < self._settings.cooldown_s

    def _put(self, event: Event, path: Path | None) -> None:
        try:
            self._queue.put_nowait((event, path))
        except queue.Full:
            self._not_told(event)
            self.dropped += 1
            log.error(  # noqa: TRY400 - expected; its message is enough
                "notification %s: a message is dropped: %d wait", self._name, MOST_WAITING
            )

    def _not_told(self, event: Event) -> None:
        """Nobody was told: the next one of that source and label is, whatever the cooldown."""
        self._last_s.pop((event.source, event.label), None)

    def _work(self) -> None:
        while True:
            for ready in self._held.overdue():
                self._deliver(*ready)
            try:
                item = self._queue.get(timeout=_TURN_S)
            except queue.Empty:
                item = None
            if item is not None:
                self._deliver(*item)
            elif self._stopping.is_set() and self._queue.empty():
                for ready in self._held.overdue(everything=True):
                    self._deliver(*ready)
                return

    def _deliver(self, event: Event, clip: Path | None) -> None:
        """Send, and try again where that may help."""
        for attempt in range(1, TRIES + 1):
            pause_s = delay_s(attempt, math.inf, random.random(), first_s=FIRST_PAUSE_S)  # noqa: S311 - no secret is made of it
            try:
                answer = self._service.send(self._notification(event, clip))
            except UnavailableError as error:
                vain = isinstance(error, RefusedError) or attempt == TRIES
                if vain or self._stopping.wait(pause_s):
                    self._not_told(event)
                    self.failed += 1
                    log.error("notification %s: not sent: %s", self._name, error)  # noqa: TRY400 - expected; its message is enough
                    return
            else:
                self.sent += 1
                log.debug("notification %s: %s %s: %s", self._name, event.label, event.id, answer)
                return

    def _notification(self, event: Event, clip: Path | None) -> Notification:
        now = self._around.now()
        body = words.body(event, self._around.local, now)
        event = replace(event, late=event.late or words.is_late(event, now))
        return Notification(words.title(event), body, event.to_json(), self._attachable(clip))

    def _attachable(self, clip: Path | None) -> Path | None:
        if clip is None:
            return None
        try:
            if clip.stat().st_size <= MOST_BYTES:
                return clip
            log.warning("notification %s: %s is too long to attach", self._name, clip.name)
        except OSError as error:
            log.warning("notification %s: no clip: %s", self._name, error)
        return None


def describe(name: str, settings: NotificationSettings) -> str:
    """Description of a notification; sends nothing. Raises ConfigError or UnavailableError."""
    made = service(name, settings)
    made.close()
    labels = "every label" if settings.labels is None else ", ".join(settings.labels)
    return f"{made.describe}, for {labels}"


def send_test(settings: Settings, name: str) -> str:
    """Send a test message, of a label `test`; returns what the service answered.

    Raises UsageError for a name that is not there, UnavailableError, and what `service` does.
    """
    if name not in settings.notifications:
        known = ", ".join(settings.notifications) or "none"
        raise UsageError(f"there is no notification {name!r}; notifications: {known}")
    made = service(name, settings.notifications[name])
    at = utc_text(local_time.now())
    event = Event(
        id=str(uuid7()),
        phase=Phase.START,
        node=settings.node,
        source="test",
        label="test",
        onset=at,
        onset_s=0.0,
        offset=None,
        offset_s=None,
        duration_s=0.0,
        peak=1.0,
        peak_s=0.0,
        mean=1.0,
        threshold=0.5,
        latency_ms=0.0,
        late=False,
        reason=None,
        checkpoint=settings.model.checkpoint,
    )
    said = f"The notification {name} of {settings.node} arrives."
    try:
        answer = made.send(Notification("Test of pe-stream", said, event.to_json()))
    except UnavailableError as error:
        raise UnavailableError(f"{name}: {made.describe}: {error}") from None
    finally:
        made.close()
    return f"{name}: {made.describe}: {answer}"
