"""Which audio belongs to the clip of an event, piece by piece as it arrives; pure.

A clip reaches from some time before its event to some time after it, within the segment. It is
told in pieces, since events last long and memory does not. Whether it may be kept at all is known
at its end: a label of `never_when` heard anywhere in it withholds it.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum, auto

import numpy as np

from pe_stream.core.ring import Ring
from pe_stream.core.types import SAMPLE_RATE, Samples

LATEST = 10 * SAMPLE_RATE
"""An event that is told so much (10 s) after its onset still has all of its clip."""


@dataclass(frozen=True, slots=True)
class ClipRule:
    """Extent of clips. before, after: samples around an event.

    labels: whose events get one; None is all. never_when: labels that withhold one.
    """

    before: int
    after: int
    labels: frozenset[str] | None = None
    never_when: frozenset[str] = frozenset()

    def wants(self, label: str) -> bool:
        """Whether events of the label get a clip: one that withholds them never does."""
        return (self.labels is None or label in self.labels) and label not in self.never_when


def held(window: int, clips: ClipRule | None) -> int:
    """Samples to keep at hand: of a window (samples); for clips, as far back as an onset may lie.

    Besides that, what comes before it.
    """
    return window if clips is None else 2 * window + clips.before + LATEST


_NOTHING = np.empty(0, np.float32)


class ClipOutcome(Enum):
    """Outcome of a clip."""

    OPEN = auto()
    """More will come."""
    KEPT = auto()
    """It is complete."""
    WITHHELD = auto()
    """Nothing of it may be kept."""


@dataclass(frozen=True, slots=True)
class Piece:
    """The next audio of a clip: the event's id, (n,) samples from absolute index `start` on.

    onset: absolute index of the sample with which the event began.
    """

    id: str
    start: int
    samples: Samples
    fate: ClipOutcome
    onset: int


@dataclass(slots=True)
class _OpenClip:
    """A clip under way, in absolute samples. told: up to where it was told; end: inf if open."""

    id: str
    onset: int
    begin: int
    told: int
    end: float = np.inf


@dataclass(slots=True)
class _WithheldSpan:
    """Samples in which a label of `never_when` was heard."""

    id: str
    begin: int
    end: float = np.inf


class Clipper:
    """The clips of one source."""

    def __init__(self, rule: ClipRule) -> None:
        """Begin without any."""
        self._rule = rule
        self._clips: list[_OpenClip] = []
        self._spans: list[_WithheldSpan] = []

    def opened(self, event_id: str, label: str, onset: int, ring: Ring) -> None:
        """An event began at the sample `onset`; `ring` holds the audio until now."""
        if label in self._rule.never_when:
            self._spans.append(_WithheldSpan(event_id, onset))
        if self._rule.wants(label):
            begin = max(onset - self._rule.before, ring.start)
            self._clips.append(_OpenClip(event_id, onset, begin, begin))

    def closed(self, event_id: str, offset: int) -> None:
        """Take note that the event ended at the sample `offset`."""
        for clip in self._clips:
            if clip.id == event_id:
                clip.end = max(offset + self._rule.after, clip.told)
        for span in self._spans:
            if span.id == event_id:
                span.end = offset

    def take(self, ring: Ring, settled: int) -> list[Piece]:
        """New pieces of clips since the last call.

        settled: no event still to be told begins before this sample.
        """
        pieces = []
        for clip in self._clips:
            until = int(min(clip.end, ring.end))
            samples = ring.read(clip.told, until) if until > clip.told else _NOTHING
            fate = ClipOutcome.OPEN
            if clip.end <= min(ring.end, settled):
                fate = ClipOutcome.WITHHELD if self._overheard(clip) else ClipOutcome.KEPT
            if len(samples) or fate is not ClipOutcome.OPEN:
                pieces.append(Piece(clip.id, clip.told, samples, fate, clip.onset))
            clip.told = max(clip.told, until)
        done = {piece.id for piece in pieces if piece.fate is not ClipOutcome.OPEN}
        self._clips = [clip for clip in self._clips if clip.id not in done]
        oldest = min([settled - self._rule.before, *(clip.begin for clip in self._clips)])
        self._spans = [span for span in self._spans if span.end > oldest]
        return pieces

    def finish(self, ring: Ring) -> list[Piece]:
        """The same where a segment ends: all events have ended, and no more audio comes."""
        for clip in self._clips:
            clip.end = min(clip.end, ring.end)
        return self.take(ring, ring.end)

    def _overheard(self, clip: _OpenClip) -> bool:
        return any(span.begin < clip.end and span.end > clip.begin for span in self._spans)
