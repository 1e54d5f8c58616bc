"""Events that are told once something of them is there: a second opinion, a clip, or both."""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from pe_stream.core.types import Event, Phase

Ready = tuple[Event, Path | None]
"""An event that is to be told now, as it was last known, and its clip."""


@dataclass(slots=True)
class _HeldEvent:
    """What an event waits for, until a moment of the clock (s); None: not for that."""

    event: Event
    opinion_until_s: float | None
    clip_until_s: float | None
    clip: Path | None = None


class HeldEvents:
    """Those of one notification; safe to use from any thread. None stays for longer than set.

    wait_s: for an opinion, and for a clip once the event has ended (s). accept: whether an event,
    whose opinion is there or too late, is to be told at all; called with the lock held.
    """

    def __init__(
        self,
        opinion_wait_s: float,
        clip_wait_s: float,
        clock: Callable[[], float],
        accept: Callable[[Event], bool],
    ) -> None:
        """Begin with none."""
        self._opinion_wait_s, self._clip_wait_s = opinion_wait_s, clip_wait_s
        self._clock, self._accept = clock, accept
        self._guard = threading.Lock()
        # Few: events that go on, and those that ended seconds ago.
        self._held: dict[str, _HeldEvent] = {}

    def __len__(self) -> int:
        """How many are held."""
        return len(self._held)

    def hold(self, event: Event, *, for_opinion: bool, for_clip: bool) -> None:
        """Hold an event for at least one of both."""
        held = _HeldEvent(event, None, None)
        if for_opinion:
            held.opinion_until_s = self._clock() + self._opinion_wait_s
        if for_clip:
            held.clip_until_s = self._clip_until_s(event)
        with self._guard:
            self._held[event.id] = held

    def update(self, event: Event) -> bool:
        """Have an event told as this, if it is held; whether it is."""
        with self._guard:
            held = self._held.get(event.id)
            if held is not None:
                held.event = event
                if held.clip_until_s is not None:
                    held.clip_until_s = self._clip_until_s(event)
            return held is not None

    def opinion(self, event: Event) -> Ready | None:
        """An event with its opinion: what is to be told now."""
        with self._guard:
            held = self._held.get(event.id)
            if held is None:
                return None
            held.event = event
            return self._decided(held)

    def clip(self, event_id: str, path: Path | None) -> Ready | None:
        """A clip is complete, or there is none: what is to be told now."""
        with self._guard:
            held = self._held.get(event_id)
            if held is None or held.clip_until_s is None:
                return None
            held.clip_until_s, held.clip = None, path
            return self._ready(held)

    def overdue(self, *, everything: bool = False) -> list[Ready]:
        """What is to be told now, as it has waited too long."""
        now_s = self._clock()
        ready = []
        with self._guard:
            for held in [*self._held.values()]:
                if held.clip_until_s is not None and (everything or now_s >= held.clip_until_s):
                    held.clip_until_s = None
                if held.opinion_until_s is None:
                    ready.append(self._ready(held))
                elif everything or now_s >= held.opinion_until_s:
                    ready.append(self._decided(held))
        return [each for each in ready if each is not None]

    def _clip_until_s(self, event: Event) -> float:
        return self._clock() + self._clip_wait_s if event.phase is Phase.END else float("inf")

    def _decided(self, held: _HeldEvent) -> Ready | None:
        """Its opinion is there, or too late."""
        if held.opinion_until_s is not None:
            held.opinion_until_s = None
            if not self._accept(held.event):
                del self._held[held.event.id]
                return None
        return self._ready(held)

    def _ready(self, held: _HeldEvent) -> Ready | None:
        if held.opinion_until_s is not None or held.clip_until_s is not None:
            return None
        del self._held[held.event.id]
        return held.event, held.clip
