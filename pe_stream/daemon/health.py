"""How a source does, in words and seconds: for MQTT, and for the page."""

from __future__ import annotations

import threading
from typing import Any

from pe_stream.config import local_time
from pe_stream.config.redaction import redacted
from pe_stream.core.opinion import OpinionStatus
from pe_stream.core.source_status import SourceStatus
from pe_stream.core.types import SAMPLE_RATE
from pe_stream.core.utc import utc_text

HEALTH_S = 10.0
"""Health is told on change and at least this often (s)."""


class Health:
    """The health of one source. Anybody may look; `due` is of one thread."""

    def __init__(self) -> None:
        """Begin with nothing told."""
        self._lock = threading.Lock()
        self._state = ""
        self._since = ""
        self._told: tuple[str | None, ...] | None = None
        self._next_s = 0.0

    def due(
        self,
        status: SourceStatus,
        unavailable_reason: str | None,
        shortage: str | None,
        now_s: float,
        untaken_reason: str | None = None,
        *,
        opinions: OpinionStatus | None = None,
    ) -> dict[str, Any] | None:
        """The health to publish now; None where it is not time.

        unavailable_reason: the store's. shortage: what the daemon has run out of.
        untaken_reason: what the broker does not take. opinions: None where nobody gives any.
        """
        why = status.reason, unavailable_reason, shortage, untaken_reason, status.engine_reason
        picture = None if status.picture is None else status.picture.reason
        now = status.account.state, *why, None if opinions is None else opinions.reason, picture
        if now == self._told and now_s < self._next_s:
            return None
        self._told, self._next_s = now, now_s + HEALTH_S
        return self.shown(status, unavailable_reason, shortage, untaken_reason, opinions=opinions)

    def shown(
        self,
        status: SourceStatus,
        unavailable_reason: str | None,
        shortage: str | None,
        untaken_reason: str | None = None,
        *,
        opinions: OpinionStatus | None = None,
    ) -> dict[str, Any]:
        """The health as it is shown."""
        account = status.account
        with self._lock:
            if account.state != self._state:
                self._state = account.state
                self._since = utc_text(local_time.now())
            since = self._since
        counted = {
            f"{name}_s": round(getattr(account, name) / SAMPLE_RATE, 3)
            for name in ("heard", "lost", "flat", "clipped")
        }
        return {
            "state": account.state,
            "since": since,
            **counted,
            "level_dbfs": account.level_dbfs,
            "rtf": status.rtf,
            "store": "ok" if unavailable_reason is None else unavailable_reason,
            "resources": "ok" if shortage is None else shortage,
            "reason": status.reason and redacted(status.reason),
            "mqtt": "ok" if untaken_reason is None else untaken_reason,
            "breaks_per_minute": account.breaks_per_minute,
            "engine": "ok" if status.engine_reason is None else redacted(status.engine_reason),
            "engine_away_s": status.engine_away_s,
            "second_opinion": opinions and ("ok" if opinions.reason is None else opinions.reason),
            "picture": status.picture and redacted(status.picture.reason or "ok"),
        }
