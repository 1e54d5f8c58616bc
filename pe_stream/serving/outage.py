"""What is told of an engine that gives no answer: in the log, and in words for health."""

from __future__ import annotations

import logging

from pe_stream.serving.route import EngineAway

log = logging.getLogger(__name__)

QUIET_S = 60.0
"""So long (s) after a failure was logged, one that is over with the next request is not."""


class Outage:
    """Follows one lane's requests; for its thread.

    failures: how many in a row were not answered. Times are monotonic (s).
    """

    def __init__(self) -> None:
        """Begin with none."""
        self.failures = 0
        self._since_s = self._quiet_s = 0.0
        self._reasons: dict[str, str] = {}
        self._told: set[str] = set()

    def failed(self, away: EngineAway, now_s: float) -> str:
        """A request was not answered. Why none is, of all engines that were asked in a row."""
        if not self.failures:
            self._since_s = now_s
        self.failures += 1
        reason = self._reasons[away.address] = f"{away}"
        if reason not in self._told and (self.failures > 1 or now_s >= self._quiet_s):
            self._told.add(reason)
            self._quiet_s = now_s + QUIET_S
            log.warning("engine: %s; listening goes on, and asks again", reason)
        return "; ".join(self._reasons.values())

    def answered(self, now_s: float) -> None:
        """A request was answered."""
        if self._told:
            log.info("engine: answers again after %.1f s", now_s - self._since_s)
        self.failures = 0
        self._reasons.clear()
        self._told.clear()
