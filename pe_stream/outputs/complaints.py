"""What happens again and again, told now and then, with counts."""

from __future__ import annotations

import logging
import math
import time
from collections import Counter

TELL_S = 10.0
"""The log tells at most this often."""


class Complaints:
    """Counts what strangers do too much of, and logs it; for one thread."""

    def __init__(self, log: logging.Logger, about: str) -> None:
        """about: how each line begins."""
        self._log, self._about = log, about
        self._told_s, self._untold = -math.inf, Counter[str]()

    def tell(self, what: str) -> None:
        """Count one; the first is logged at once."""
        self._untold[what] += 1
        now_s = time.monotonic()
        if now_s - self._told_s >= TELL_S:
            self._told_s = now_s
            told = "; ".join(f"{count} {each}" for each, count in self._untold.items())
            self._log.warning("%s: %s", self._about, told)
            self._untold.clear()
