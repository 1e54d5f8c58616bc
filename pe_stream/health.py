"""How a source does, in words and seconds: for MQTT, and for the page."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from pe_stream.core.types import SAMPLE_RATE
from pe_stream.live import Vital

HEALTH_S = 10.0
"""Health is told on change and at least this often (s)."""


class Health:
    """The health of one source, and when it is worth a message."""

    def __init__(self) -> None:
        """Begin with nothing told."""
        self._state = ""
        self._since = ""
        self._trouble: str | None = None
        self._next_s = 0.0

    def due(self, vital: Vital, trouble: str | None, now_s: float) -> dict[str, Any] | None:
        """What is to be told now, None where it is not time. trouble: of the store."""
        changed = vital.account.state != self._state or trouble != self._trouble
        if not changed and now_s < self._next_s:
            return None
        self._next_s = now_s + HEALTH_S
        return self.told(vital, trouble)

    def told(self, vital: Vital, trouble: str | None) -> dict[str, Any]:
        """What there is to tell."""
        account = vital.account
        if account.state != self._state:
            self._state = account.state
            self._since = datetime.now(UTC).isoformat(timespec="milliseconds")
        self._trouble = trouble
        counted = {
            f"{name}_s": round(getattr(account, name) / SAMPLE_RATE, 3)
            for name in ("heard", "lost", "flat", "clipped")
        }
        return {
            "state": account.state,
            "since": self._since.replace("+00:00", "Z"),
            **counted,
            "level_dbfs": account.level_dbfs,
            "rtf": vital.rtf,
            "store": "ok" if trouble is None else trouble,
        }
