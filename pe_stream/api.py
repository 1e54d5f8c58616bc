"""The Python API: events of a recording, events as they happen, and a second opinion."""

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
from pe_stream.core.opinion import OpinionTexts
from pe_stream.core.types import Event, LabelRule, SecondOpinion
from pe_stream.errors import ConfigError, UnavailableError
from pe_stream.labels.prepare import labels_from_prompts
from pe_stream.labels.schedules import Schedules
from pe_stream.pipeline.bulk import detect_in_bulk
from pe_stream.pipeline.live import Live
from pe_stream.pipeline.offline import detect as detect_recording
from pe_stream.pipeline.openers import openers
from pe_stream.pipeline.scorer import live_engine, prepare
from pe_stream.pipeline.second_opinion import (
    MOST_PICTURES,
    PICTURES,
    prepare_second_opinions,
)

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
    fast: bool = False,
) -> Iterator[Event]:
    """Yield the finished events of a recording, in the order of their onsets.

    audio: a path of anything that FFmpeg reads, or samples of shape (n,) or (channels, n), float
        in -1..1 or integer PCM; then `sampling_rate` (Hz) is needed.
    prompts: a text, or texts, each a label of its own; or labels by name, with all that the
        configuration can say of them.
    threshold: for every label given as a text; default: 0.5, or what the checkpoint recommends.
    model: checkpoint, device, window and hop; default: the embedded checkpoint.
    fast: score as little as possible, as `pe-stream detect --fast`: several times as fast, with
        slightly other scores; events come later.

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
    scorer = prepare(model or ModelSettings(), labels, fast=fast)
    found = detect_in_bulk if fast else detect_recording
    return found(recording, scorer, node=default_node())


def opinion(
    path: str | PathLike[str],
    prompts: str | Sequence[str],
    *,
    see: str | Sequence[str] | None = None,
    negatives: str | Sequence[str] = (),
    start_s: float = 0.0,
    end_s: float | None = None,
    pictures: int = PICTURES,
    checkpoint: str = "facebook/pe-av-small-16-frame",
    model: ModelSettings | None = None,
) -> SecondOpinion:
    """What PE-AV makes of a recording's sound and picture; the scores are not calibrated.

    path: a film, or anything else that FFmpeg reads; without sound, or without picture, what needs
        it is None.
    prompts: one or more texts, averaged, that the sound is compared with, and sound and picture
        together.
    see: likewise for the picture; default: `prompts`.
    negatives: texts; where one of them scores higher, the score is 0.
    start_s, end_s: the part of it (s), 30 s at most; default: all of it.
    pictures: that are looked at, at most, 1 to 16; each takes seconds on a CPU.
    checkpoint: a PeAudioVideoModel, of the hub or in a folder.
    model: where it is kept and computed (cache, device, dtype, threads), as of `detect`.

    Raises ConfigError, UnavailableError (see `pe_stream.errors`), or ValueError for a part that
    is empty or too long, and a number of pictures that is out of bounds.
    """
    if not 1 <= pictures <= MOST_PICTURES:
        raise ValueError(f"{pictures} pictures: give 1 to {MOST_PICTURES}")
    heard = _texts(prompts)
    texts = OpinionTexts(heard, heard if see is None else _texts(see), _texts(negatives))
    if not texts.heard or not texts.seen:
        raise ConfigError("there is nothing to compare with; describe a sound, and what is seen")
    opinions = prepare_second_opinions(checkpoint, model or ModelSettings(), {"": texts}, pictures)
    return opinions.of_part(str(path), "", start_s, end_s)


def _texts(given: str | Sequence[str]) -> tuple[str, ...]:
    return (given,) if isinstance(given, str) else tuple(given)


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
        engine=live_engine(settings.model, scorer, settings.node, inbox.ended),
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
