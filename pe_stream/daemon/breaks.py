"""Whether the sound of a source breaks off again and again, for the log."""

from __future__ import annotations

import logging
from collections.abc import Mapping

from pe_stream.core.source_status import OFTEN, SourceStatus

log = logging.getLogger(__name__)

AGAIN_S = 600.0
"""It is said again of a source after this long (s) at the soonest."""


class Breaks:
    """Says which sources break off more than once a minute, and when that is over; one thread's."""

    def __init__(self) -> None:
        """Begin with nothing said."""
        self._next_s: dict[str, float] = {}
        self._told: set[str] = set()

    def check(self, statuses: Mapping[str, SourceStatus], now_s: float) -> None:
        """Look at every source. now_s: monotonic."""
        for source, status in statuses.items():
            often = status.account.breaks_per_minute
            if often > OFTEN and now_s >= self._next_s.get(source, now_s):
                self._next_s[source] = now_s + AGAIN_S
                self._told.add(source)
                log.warning(
                    "%s: the sound breaks off %.1f times a minute, and every event with it; look "
                    "at its network and its settings (for RTSP, `rtsp` of the source)",
                    source,
                    often,
                )
            elif source in self._told and often <= OFTEN / 2:
                self._told.remove(source)
                log.info("%s: the sound no longer breaks off", source)
