"""One live source as the scoring thread sees it: what comes of it, and what was made of that."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

from pe_stream.audio.feed import Feed, Mark
from pe_stream.core.detector import Detector, Heard
from pe_stream.core.ledger import SourceState
from pe_stream.core.level_meter import LevelMeter, SoundLevel
from pe_stream.core.rule_change import RuleChange
from pe_stream.core.source_status import SourceStatus
from pe_stream.core.types import FRAME_S, AudioChunk, Event

_RTF_MEMORY = 0.95
"""Weight of what was before in the real-time factor, per window."""


SLOW_S = 3.0
"""An engine that has not answered for so long (s) is told as away."""


class Channel:
    """A source, its detector, and its stream at the engine.

    For the scoring thread, but for `up_to_date`.
    """

    def __init__(
        self,
        feed: Feed,
        detector: Detector,
        begin: Callable[[], Any],
        *,
        levels: bool = False,
    ) -> None:
        """Begin with nothing heard.

        begin: makes a new stream; see LiveEngine. levels: whether the source's level is measured.
        """
        self.feed = feed
        self.detector = detector
        self._begin = begin
        self.stream = begin()
        self._meter = LevelMeter() if levels else None
        self._level: SoundLevel | None = None
        self.ended = False
        self._busy_s = self._audio_s = 0.0
        self._asked_s: float | None = None
        """Since when windows are asked for and none was answered (monotonic)."""
        self._waits = 0
        self._unanswered_reason: str | None = None

    @property
    def status(self) -> SourceStatus:
        """How it does, as of its last audio that was taken."""
        detector = self.detector
        away_s = 0.0 if self._asked_s is None else time.monotonic() - self._asked_s
        reason = self._unanswered_reason
        if reason is None and away_s > SLOW_S:
            reason = "it does not answer"
        return SourceStatus(
            detector.account,
            self.feed.delivered,
            detector.scored_frames,
            max(0, detector.urgency[1]),
            detector.stretched,
            round(self._busy_s / self._audio_s, 3) if self._audio_s else None,
            level=self._level,
            engine_reason=reason,
            engine_away_s=0.0 if reason is None else round(away_s, 1),
            waits=self._waits,
        )

    def up_to_date(self, status: SourceStatus) -> SourceStatus:
        """With what goes on although nothing is scored; from any thread."""
        account = status.account
        if account.state is SourceState.LOST:  # else it would count once something is heard
            account = replace(account, lost=account.lost + self.feed.missed)
        return replace(
            status,
            account=account,
            delivered=self.feed.delivered,
            lost_reason=self.feed.lost_reason,
            waiting=status.waiting + self.feed.waiting,
        )

    def drain(self) -> list[SoundLevel]:
        """Give the detector what has arrived; once a turn. Returns levels of the seconds in it."""
        self._waits += self._asked_s is not None
        levels: list[SoundLevel] = []
        for item in self.feed.take():
            if item is Mark.LOST:
                self.detector.silence()
                self.stream = self._begin()
            elif item is Mark.ENDED:
                self.detector.end(None)
                self.ended = True
            else:
                self.detector.feed(item)
            levels += self._measure(item)
        return levels

    def _measure(self, item: AudioChunk | Mark) -> list[SoundLevel]:
        if self._meter is None:
            return []
        if isinstance(item, Mark):
            self._meter.end()
        else:
            self._meter.hear(item)
        levels = self._meter.take()
        if levels:
            self._level = levels[-1]
        if item is Mark.LOST:
            self._level = None
        return levels

    def change(self, changes: Mapping[str, RuleChange]) -> list[Event]:
        """Change rules by label; a label that has just gone is nothing to change."""
        rules = self.detector.rules
        return self.detector.change(
            [changes[rule.name].of(rule) if rule.name in changes else rule for rule in rules]
        )

    def asks(self) -> None:
        """A window of it is asked for."""
        if self._asked_s is None:
            self._asked_s = time.monotonic()

    def unanswered(self, reason: str | None) -> None:
        """There is no answer, and why; the next window is asked for instead."""
        self._unanswered_reason = reason

    def spend(self, busy_s: float, heard: Heard) -> None:
        """Count the time that a scoring took (s), and what it brought."""
        self._asked_s = self._unanswered_reason = None
        self._busy_s = _RTF_MEMORY * self._busy_s + busy_s
        self._audio_s = _RTF_MEMORY * self._audio_s + len(heard.scores) * FRAME_S
