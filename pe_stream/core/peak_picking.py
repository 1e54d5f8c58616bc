"""The best moments of what was heard: rows that score high, neighbours taken together."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from pe_stream.core.types import FRAME_NS

BRIDGED_NS = 1_200_000_000
"""So much (ns) below half of the peak does not yet end a moment: two barks are one."""

APART_NS = 4_000_000_000
"""Another moment of the same source is at least so far away (ns)."""


@dataclass(frozen=True, slots=True)
class Moment:
    """A possible occurrence: rows around the best one that score at least half as high.

    And not only as the source does most of the time: its logit is nearer to the best one than to
    the median of all. Times are UTC (ns); peak_ns: where the best row begins.
    """

    source: str
    start_ns: int
    end_ns: int
    peak: float
    peak_ns: int


def moments(
    source: str,
    starts_ns: NDArray[np.int64],
    frames: NDArray[np.uint32],
    logits: NDArray[np.float32],
    limit: int,
) -> list[Moment]:
    """The `limit` best of a source, the best first.

    starts_ns: of rows, ascending; frames, logits: of the same (n,).
    """
    ends_ns = starts_ns + frames.astype(np.int64) * FRAME_NS
    # By logits: scores near 0 and 1 would be the same number.
    left = logits.astype(np.float64)
    scores = 1 / (1 + np.exp(-left.clip(-50, 50)))
    usual = float(np.median(left)) if len(left) else 0.0
    found: list[Moment] = []
    while len(found) < limit:
        best = int(left.argmax()) if len(left) else 0
        if not len(left) or left[best] == -np.inf:
            break
        high = (scores >= scores[best] / 2) & (left >= (left[best] + usual) / 2)
        first = last = best
        for at in np.flatnonzero(high[:best])[::-1].tolist():
            if starts_ns[first] - ends_ns[at] > BRIDGED_NS:
                break
            first = at
        for at in (np.flatnonzero(high[best + 1 :]) + best + 1).tolist():
            if starts_ns[at] - ends_ns[last] > BRIDGED_NS:
                break
            last = at
        moment = Moment(
            source,
            int(starts_ns[first]),
            int(ends_ns[last]),
            float(scores[best]),
            int(starts_ns[best]),
        )
        found.append(moment)
        begin = np.searchsorted(ends_ns, moment.start_ns - APART_NS, "right")
        end = np.searchsorted(starts_ns, moment.end_ns + APART_NS, "left")
        left[begin:end] = -np.inf
    return found
