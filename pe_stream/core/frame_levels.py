"""The level of each frame: scores of labels that are loud sounds, and what others need besides.

- A label with `loud` has no model's score: the score of a frame is A / (A + limit), where A is the
  frame's RMS and `limit` the RMS so many dB above the background level, or of full scale. That is
  0.5 at the limit, 0.4 at 3.5 dB below it, 0.76 at 10 dB above: it rises with the level.
- A label with `least_db` has a score of 0 in frames whose level, over 0.5 s around them, is lower.

Both take the place of the scores before anything is made of them, so that events, stored scores and
the page have the same. A frame's level depends on its segment's sound alone: not on windows, nor on
the sizes in which sound comes. Around the first and last frames of a segment is less than 0.5 s.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from pe_stream.core.background_level import BackgroundLevel
from pe_stream.core.ring import Ring
from pe_stream.core.timebase import Segment
from pe_stream.core.types import FRAME, FrameScores, LabelRule, Loud, Samples

AROUND = 13
"""Frames that the level for `least_db` is over (0.52 s): a frame, and six on either side."""


class FrameLevels:
    """Follows one source. Frames count over the source; see `Segment.first_frame`.

    lookahead: frames that are heard after a frame before `applied` is asked for it, at least, but
    at the end of a segment. With fewer than six, the 0.5 s reach further back instead.
    rules: in the order of the score columns. While none of them goes by the level, nothing is
    measured; what begins with a change of rules begins as with a segment.
    """

    def __init__(self, lookahead: int, rules: Sequence[LabelRule]) -> None:
        """Begin with nothing heard."""
        self._after = min(AROUND // 2, lookahead)
        self._background = BackgroundLevel()
        self._forget_at: int | None = None
        self.begin(0)
        self.change(rules)

    @property
    def used(self) -> bool:
        """Whether a rule goes by the level."""
        return bool(self._loud or self._least)

    @property
    def next(self) -> int:
        """The frame whose sound is to be heard next, unless it is asked for later ones."""
        return self._first + len(self._sums)

    def change(self, rules: Sequence[LabelRule]) -> None:
        """Go on under other rules."""
        numbered = list(enumerate(rules))
        self._loud = {column: rule.loud for column, rule in numbered if rule.loud is not None}
        self._least = {
            column: rule.least_db for column, rule in numbered if rule.least_db is not None
        }

    def begin(self, frame: int) -> None:
        """Begin a segment, whose first frame is that; the room stays as it was."""
        self._first = frame
        # Of each frame: sum of its squares, its samples, and the background's power before it.
        self._sums = self._counts = self._backgrounds = np.zeros(0)

    def forget_room(self, sample: int) -> None:
        """From that absolute sample on, the room is another one, as with another gain."""
        self._forget_at = sample

    def listen(self, frame: int, segment: Segment, ring: Ring) -> None:
        """Hear what has come of the segment; frames before `frame` are not asked for any more."""
        if self.used:
            start = max(frame, self.next)
            if self._forget_at is not None and self._forget_at < ring.end:
                begin = segment.sample(start)
                before = max(0, self._forget_at - begin) // FRAME
                self.hear(start, ring.read(begin, begin + before * FRAME))
                self._background, self._forget_at = BackgroundLevel(), None
                start += before
            self.hear(start, ring.read(segment.sample(start), ring.end))

    def hear(self, frame: int, samples: Samples) -> None:
        """Take the sound of frames from `frame` on, the last of a segment perhaps not whole."""
        if frame != self.next:
            self.begin(frame)
        whole = len(samples) // FRAME * FRAME
        self._add(samples[:whole].reshape(-1, FRAME))
        if whole < len(samples):
            self._add(samples[None, whole:])

    def applied(self, frame: int, scores: FrameScores) -> FrameScores:
        """The scores (frames, labels) of frames from `frame` on, in order, as the rules have them.

        Frames before these are forgotten, but for what lies around later ones.
        """
        if not self.used:
            return scores
        at, count = frame - self._first, len(scores)
        scores = scores.copy()
        for column, loud in self._loud.items():
            scores[:, column] = self._scores(slice(at, at + count), loud)
        around = self._around(at, count)
        for column, least_db in self._least.items():
            scores[around < 10 ** (least_db / 10), column] = 0.0
        done = max(0, at + count - AROUND)
        self._sums, self._counts = self._sums[done:], self._counts[done:]
        self._backgrounds = self._backgrounds[done:]
        self._first += done
        return scores

    def _add(self, rows: NDArray[np.float32]) -> None:
        """Frames (n, samples) of one length."""
        sums = np.square(rows, dtype=np.float64).sum(axis=1)
        # A constant is no sound, as of a microphone that is switched off or has an offset.
        sums[rows.min(axis=1) == rows.max(axis=1)] = 0.0
        backgrounds = []
        for total in sums.tolist():
            backgrounds.append(self._background.power)
            if total > 0:
                self._background.hear(total / rows.shape[1])
        self._sums = np.append(self._sums, sums)
        self._counts = np.append(self._counts, np.full(len(rows), float(rows.shape[1])))
        self._backgrounds = np.append(self._backgrounds, backgrounds)

    def _scores(self, frames: slice, loud: Loud) -> NDArray[np.float64]:
        """Scores of frames: 0 in silence, and while there is no background level."""
        amplitude = np.sqrt(self._sums[frames] / self._counts[frames])
        limit = np.full(len(amplitude), 10 ** (loud.above_db / 20))
        if loud.over_background:
            limit *= np.sqrt(self._backgrounds[frames])
        scores: NDArray[np.float64] = np.nan_to_num(amplitude / (amplitude + limit))
        return scores

    def _around(self, at: int, count: int) -> NDArray[np.float64]:
        """Mean squares over the frames around each of (count,), without those that do not exist.

        Added up one after the other, so that they do not depend on which are asked for together.
        """
        before = AROUND - 1 - self._after
        sums, counts = (
            np.pad(each, (before, AROUND))[at : at + count + AROUND]
            for each in (self._sums, self._counts)
        )
        power, samples = np.zeros(count), np.zeros(count)
        for shift in range(AROUND):
            power += sums[shift : shift + count]
            samples += counts[shift : shift + count]
        return power / samples
