"""A length of time before now, as people write it: 90m, 24h, 7d."""

from __future__ import annotations

import re
from datetime import datetime, timedelta

_UNITS = {"s": "seconds", "m": "minutes", "h": "hours", "d": "days", "w": "weeks"}

PATTERN = r"\d+(\.\d+)?[smhdw]"
"""A number and its unit: seconds, minutes, hours, days, weeks."""


def ago(text: str, now: datetime) -> datetime | None:
    """When that was; None where the text is no length of time.

    Raises OverflowError where no calendar goes back so far.
    """
    told = text.strip()
    if not re.fullmatch(PATTERN, told, re.ASCII):
        return None
    return now - timedelta(**{_UNITS[told[-1]]: float(told[:-1])})
