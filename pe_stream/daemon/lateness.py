"""Whether scoring keeps up with what the sources deliver, for the log."""

from __future__ import annotations

import logging
import math
from collections.abc import Mapping

from pe_stream.core.source_status import SourceStatus
from pe_stream.core.types import SAMPLE_RATE

log = logging.getLogger(__name__)

LATE_S = 2.0
"""Audio may wait so long (s) beyond what hop and lookahead ask for, before that is said."""

AGAIN_S = 60.0
"""It is said again after this long (s) at the soonest, also where it was over between."""

LOOKS = 3
"""It has to be so in so many looks, one after the other: bursts of HLS wait for a moment."""


class Lateness:
    """Says when audio waits to be scored, and when it no longer does; for one thread."""

    def __init__(self, due_s: float) -> None:
        """due_s: how long audio has to wait anyway, for hop and lookahead (s)."""
        self._due_s = due_s
        self._late_looks = 0
        self._told = False
        self._next_s = -math.inf

    def check(self, statuses: Mapping[str, SourceStatus], now_s: float) -> None:
        """Look at every source. now_s: monotonic.

        What waits for an engine elsewhere that is away is told as that, and is not late.
        """
        waiting_s = {
            source: status.waiting / SAMPLE_RATE - self._due_s
            for source, status in statuses.items()
            if status.engine_reason is None
        }
        late = [source for source, waits_s in waiting_s.items() if waits_s > LATE_S]
        self._late_looks = self._late_looks + 1 if late else 0
        if self._late_looks >= LOOKS and now_s >= self._next_s:
            self._told, self._next_s = True, now_s + AGAIN_S
            worst = max(late, key=lambda source: waiting_s[source])
            log.warning(
                "scoring falls behind: audio waits up to %.1f s (%s; %d of %d sources), and events "
                "come so much later; fewer sources, a smaller checkpoint, a longer model.hop_s or "
                "a GPU help",
                waiting_s[worst],
                worst,
                len(late),
                len(statuses),
            )
        elif self._told and max(waiting_s.values(), default=0.0) < LATE_S / 2:
            self._told = False
            log.info("scoring keeps up again")
