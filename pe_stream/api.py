"""The Python API: events of a recording or an array, and events as they happen."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from os import PathLike
from pathlib import Path

from numpy.typing import ArrayLike

from pe_stream.audio import media
from pe_stream.config import LabelSettings, ModelSettings, Settings, default_node, local_time
from pe_stream.config.file import load
from pe_stream.config.local_time import LocalTime
from pe_stream.config.worker import Worker
from pe_stream.core.listener import Listener
from pe_stream.core.types import Event, LabelRule
from pe_stream.errors import UnavailableError
from pe_stream.labels.prepare import labels_from_prompts
from pe_stream.labels.schedules import Schedules
from pe_stream.pipeline.live import Live
from pe_stream.pipeline.offline import detect as detect_recording
from pe_stream.pipeline.openers import openers
from pe_stream.pipeline.scorer import prepare

TICK_S = 1.0
"""Schedules are seen to this often (s)."""

STOP_S = 2.0
"""At the end, a change of labels that is being made is waited for so long."""

MAX_WAITING = 10_000
"""Events of `listen` that wait for a caller who does not read."""


def detect(
    audio: str | PathLike[str] | ArrayLike,
    prompts: str | Sequence[str] | Mapping[str, LabelSettings],
    *,
    sampling_rate: float | None = None,
    threshold: float | None = None,
    model: ModelSettings | None = None,
) -> Iterator[Event]:
    """Yield the finished events of a recording, in the order of their onsets.

    audio: a path of anything that FFmpeg reads, or samples of shape (n,) or (channels, n), float
        in -1..1 or integer PCM; then `sampling_rate` (Hz) is needed.
    prompts: a text, or texts, each a label of its own; or labels by name, with all that the
        configuration can say of them.
    threshold: for every label given as a text; default: 0.5, or what the checkpoint recommends.
    model: checkpoint, device, window and hop; default: the embedded checkpoint.

    Raises ConfigError, UnavailableError (see `pe_stream.errors`), or ValueError for an array that
    is not audio.
    """
    if isinstance(audio, str | PathLike):
        recording = media.read(str(audio))
    elif sampling_rate is None:
        raise ValueError("samples need their sampling_rate (Hz)")
    else:
        recording = media.from_array(audio, sampling_rate)
    if isinstance(prompts, Mapping):
        labels = {name: label.named(name) for name, label in prompts.items()}
    else:
        texts = [prompts] if isinstance(prompts, str) else prompts
        labels = labels_from_prompts(texts, threshold)
    scorer = prepare(model or ModelSettings(), labels)
    return detect_recording(recording, scorer, node=default_node())


def listen(config: str | PathLike[str] | Settings) -> Iterator[Event]:
    """Yield every phase of every event of the configured sources, as they happen, without MQTT.

    Sources are opened with the first event asked for; labels follow their schedules. Ends when all
    have ended; closing the iterator stops the listening. Raises ConfigError, UnavailableError, or
    what ended a thread; what was open then is not closed by an event.
    """
    settings = config if isinstance(config, Settings) else load(Path(config))
    settings.require_sources()
    inbox = _Inbox()
    local, at = LocalTime(settings.location), local_time.now()
    holds = partial(local.holds, at=at)
    scorer = prepare(settings.model, settings.labels, holds=holds)
    live = Live(
        openers(settings),
        scorer,
        inbox,
        node=settings.node,
        hears=settings.hears,
        ended=inbox.ended,
        failed=inbox.ended,
    )
    schedules = Schedules(settings.labels, scorer.checkpoint.recommended, local, at)
    return _events_of(live, inbox, _ScheduleClock(settings, schedules, live, inbox))


def _events_of(live: Live, inbox: _Inbox, clock: _ScheduleClock) -> Iterator[Event]:
    try:
        live.open()
        live.start()
        clock.start()
        yield from inbox
    finally:
        clock.stop()
        live.stop()


class _ScheduleClock:
    """Puts labels under the rules of the time, however long the caller thinks about an event."""

    def __init__(self, settings: Settings, schedules: Schedules, live: Live, inbox: _Inbox) -> None:
        self._settings, self._schedules = settings, schedules
        self._live = live
        self._over = threading.Event()
        self._worker = Worker("schedules", self._run, inbox.ended)

    def start(self) -> None:
        self._worker.start()

    def stop(self) -> None:
        self._over.set()
        self._worker.join(STOP_S)

    def _run(self) -> None:
        try:
            while not self._over.wait(TICK_S):
                self._schedules.follow(local_time.now(), self._switch)
        except UnavailableError:
            return  # the listening has ended

    def _switch(self, label: str, rule: LabelRule) -> None:
        listening = [name for name in self._settings.sources if self._settings.hears(name, label)]
        self._live.put_under(rule, listening)


class _Inbox(Listener):
    """Events on their way from the scoring thread to the caller's."""

    def __init__(self) -> None:
        # Full when the caller does not read for long: the oldest events go.
        self._events: deque[Event] = deque(maxlen=MAX_WAITING)
        self._changed = threading.Condition()
        self._over = False
        self._error: BaseException | None = None

    def event(self, event: Event) -> None:
        """Keep it until it is asked for; on the scoring thread, or on the caller's in `stop`."""
        with self._changed:
            self._events.append(event)
            self._changed.notify()

    def ended(self, error: BaseException | None) -> None:
        with self._changed:
            self._over, self._error = True, self._error or error
            self._changed.notify()

    def __iter__(self) -> Iterator[Event]:
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._events or self._over)
                waiting = list(self._events)
                self._events.clear()
            yield from waiting
            if self._over and not waiting:
                break
        if self._error is not None:
            raise self._error
