"""Replay of known scores under another rule: the tracker over a day in milliseconds.

While no run is open, no frame below `off_threshold` changes anything: those are skipped, and only
the rest go through the Tracker itself.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from pe_stream.core.label_trackers import LabelTrackers
from pe_stream.core.patterns.watcher import Watcher, watch
from pe_stream.core.smoothing import Known, Raw, SmoothRun
from pe_stream.core.tracker import Detection
from pe_stream.core.types import FRAME_NS, LabelRule, Phase, Reason, Rhythm, ScoreRun, Sequence


@dataclass(frozen=True, slots=True)
class Replayed:
    """An event that would have been; from onset to offset (UTC, ns since 1970)."""

    onset_ns: int
    offset_ns: int
    peak: float


def replay(
    runs: Iterable[ScoreRun], rule: LabelRule, changes: Iterable[tuple[int, LabelRule]] = ()
) -> list[Replayed]:
    """The events of these runs under this rule, as a daemon would have told them, in their order.

    changes: the rules that take its place, as by a schedule: each with the moment (UTC, ns) that it
    is in force from, in order. What is open then goes on, unless the label is switched off. All
    smooth alike: a schedule does not change that.

    What is open at the end of a run ends there. As in the Detector, frames count on over a gap and
    its time does not: what is left of a cooldown goes on after it. A threshold that follows the
    room knows nothing of it before the first run. Raises ValueError where `untold` says why.
    """
    if (why := untold(rule)) is not None:
        raise ValueError(why)
    replayed = replace(rule, update_every=0)
    tracker = watch(replayed) if rule.follow is None else _Following(replayed)
    made: list[Replayed] = []
    first = 0
    waiting = deque(changes)
    for run in runs:
        said: list[Detection] = []
        done, followed, size = 0, 0, len(run.scores)
        track = _TrackInput.of(run, rule, first)
        while done < size:
            while waiting and waiting[0][0] <= run.start_ns + done * FRAME_NS:
                said += tracker.change(replace(waiting.popleft()[1], update_every=0))
            until = size
            if waiting:  # rounded up: the first frame that does not begin before
                until = min(until, -((run.start_ns - waiting[0][0]) // FRAME_NS))
            known = size if until == size else max(followed, until - track.behind)
            said += _follow(tracker, track, followed, known)
            done, followed = until, known
        said += tracker.close(Reason.GAP)
        for detection in said:
            if detection.phase is Phase.END:
                onset, offset = detection.onset - first, detection.offset - first
                made.append(
                    Replayed(
                        run.start_ns + onset * FRAME_NS,
                        run.start_ns + offset * FRAME_NS,
                        detection.peak,
                    )
                )
        first += len(run.scores)
    return made


def untold(rule: LabelRule) -> str | None:
    """Why its scores alone do not tell the events of a label, in words; None where they do."""
    if isinstance(rule.pattern, Rhythm):
        return "a rhythm is heard in the sound itself, of which nothing is kept"
    if isinstance(rule.pattern, Sequence):
        return f"a sequence needs the events of {rule.pattern.then} too"
    return None


class _Following:
    """A label whose threshold follows the room: every frame counts."""

    def __init__(self, rule: LabelRule) -> None:
        self._label_trackers = LabelTrackers([rule])

    @property
    def rule(self) -> LabelRule:
        return replace(self._label_trackers.in_force[0], off_threshold=0.0)

    @property
    def onset(self) -> int | None:
        return self._label_trackers.onset

    def change(self, rule: LabelRule) -> list[Detection]:
        return [detection for _, detection in self._label_trackers.change([rule])]

    def step(self, frame: int, score: float, _raw: Raw | None = None) -> list[Detection]:
        return [detection for _, detection in self._label_trackers.step(frame, [score])]

    def close(self, reason: Reason | None) -> list[Detection]:
        return [detection for _, detection in self._label_trackers.close(reason)]


@dataclass(frozen=True, slots=True)
class _TrackInput:
    """Input of a tracker: scores, or their means, of frames from `first` on.

    behind: by so many frames a mean is known later than its score.
    """

    scores: NDArray[np.floating]
    first: int
    raw: Raw | None = None
    behind: int = 0

    @classmethod
    def of(cls, run: ScoreRun, rule: LabelRule, first: int) -> _TrackInput:
        """Input from a run; where the threshold follows the room, `LabelTrackers` smooths."""
        if rule.smooth == 1 or rule.follow is not None:
            return cls(run.scores, first)
        run = SmoothRun.of(run, rule.smooth)
        raw = Known(run.scores, rule.smooth, first)
        return cls(run.means, first, raw, rule.smooth // 2)


def _follow(
    tracker: Watcher | _Following, track: _TrackInput, begin: int, end: int
) -> Iterable[Detection]:
    """Step through what may matter of the frames from `begin` until before `end`."""
    off = tracker.rule.off_threshold
    scores = track.scores[begin:end]
    # In float32, to which numpy rounds `off`: no float32 lies between the two, so no frame that the
    # tracker, in float64, takes for one above is left out.
    above = np.flatnonzero(scores >= scores.dtype.type(off))
    frame, size = 0, len(scores)
    while True:
        if tracker.onset is None:
            ahead = int(np.searchsorted(above, frame))
            if ahead == len(above):
                return
            frame = int(above[ahead])
        elif frame == size:
            return
        yield from tracker.step(track.first + begin + frame, scores.item(frame), track.raw)
        frame += 1
