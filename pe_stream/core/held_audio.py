"""Audio that waits until it shows how late it is: what came at once, or after a pause."""

from __future__ import annotations

import math
from dataclasses import dataclass, field

PACED_S = 0.3
"""A burst at the beginning is over when sound has come as fast as it plays for so long (s)."""

PACED_AGAIN_S = 1.0
"""After a stall, what is late may still catch up for so long (s)."""

_PACE = 0.3
"""Sound comes as fast as it plays where it is not faster or slower than by this part."""

_EARLY_S = 0.02
"""Or by so little (s)."""


def comes_faster(late_s: float, than_s: float, in_s: float) -> bool:
    """Whether sound that was than_s late, and is late_s late in_s later, comes in a burst."""
    return late_s < than_s - _PACE * in_s - _EARLY_S


HELD_S = 3.0
HELD_AUDIO_S = 30.0
"""Sound is held so long at most, and so much of it."""


@dataclass(frozen=True, slots=True)
class CountedRun:
    """An arrival on our line of time.

    begin_s, end_s: counted in samples. came_s: when it was there; at_s: the same, or when the
    sender says that its end was made. stamp_s: the sender's, of its end; expected_s: what its
    beginning should have had.
    """

    begin_s: float
    end_s: float
    came_s: float
    at_s: float
    stamp_s: float | None
    expected_s: float | None

    @property
    def duration_s(self) -> float:
        """Audio in it (s)."""
        return self.end_s - self.begin_s

    @property
    def late_s(self) -> float:
        """How much later it came than counted (s)."""
        return self.at_s - self.end_s


@dataclass(slots=True)
class HeldAudio:
    """Runs that wait until it shows how late they are.

    paced_s: so long they have to come no faster than they play. audio_s: how much there is.
    paced_since_s, paced_late_s: since when they do, and how late the first of these is.
    """

    paced_s: float = PACED_S
    runs: list[CountedRun] = field(default_factory=list)
    audio_s: float = 0.0
    paced_since_s: float = 0.0
    paced_late_s: float = math.inf

    def add(self, run: CountedRun) -> None:
        """Take the next one."""
        self.runs.append(run)
        self.audio_s += run.duration_s
        if comes_faster(run.late_s, self.paced_late_s, run.at_s - self.paced_since_s):
            self.paced_since_s, self.paced_late_s = run.at_s, run.late_s

    def paced_before(self, run: CountedRun) -> bool:
        """Whether sound came as fast as it plays before this one: a burst is over, by then.

        In the middle of a burst, and with a pause at its end, that cannot be said.
        """
        if not self.runs:
            return False
        last = self.runs[-1]
        since_s = last.at_s - self.paced_since_s
        paced = last.late_s <= self.paced_late_s + _PACE * since_s + _EARLY_S
        return since_s >= self.paced_s and paced and run.at_s - last.at_s > run.duration_s / 2

    @property
    def full(self) -> bool:
        """Whether no more is to be held."""
        waited_s = self.runs[-1].came_s - self.runs[0].came_s
        return waited_s > HELD_S or self.audio_s > HELD_AUDIO_S
