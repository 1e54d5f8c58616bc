"""Sound for somebody who plays it as it comes: a little behind, never far; pure.

Sound comes a hop at a time, may break off, and no sound card is as fast as another. So a player has
something in store for the time until the next hop; where nothing comes, silence does, and it plays
on; and what would make it late for good is left out.
"""

from __future__ import annotations

import numpy as np

from pe_stream.core.types import SAMPLE_RATE, Samples

STORE_S = 1.0
"""A player that has less than LEAST_S in store gets silence, up to this."""

LEAST_S = 0.25

MOST_S = 5.0
"""Where it would have more than that, the oldest of what has come is left out, ..."""

CUT_S = 1.0
"""... so that it has so much less."""


class Playout:
    """What one player has in store, by a monotonic clock (s)."""

    def __init__(self, now_s: float) -> None:
        """Begin with nothing in store."""
        self._dry_s = now_s  # when it has played everything

    def next(self, samples: Samples, now_s: float) -> Samples:
        """What to give the player now that (n,) samples have come, which may be none."""
        store_s = max(0.0, self._dry_s - now_s)
        if store_s + len(samples) / SAMPLE_RATE > MOST_S:
            keep = max(0, round((MOST_S - CUT_S - store_s) * SAMPLE_RATE))
            samples = samples[len(samples) - keep :]
        missing = round((STORE_S - store_s) * SAMPLE_RATE) - len(samples)
        if store_s < LEAST_S and missing > 0:
            samples = np.concatenate([np.zeros(missing, np.float32), samples])
        self._dry_s = now_s + store_s + len(samples) / SAMPLE_RATE
        return samples
