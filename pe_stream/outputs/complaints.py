"""What happens again and again, told now and then, with counts."""

from __future__ import annotations

import asyncio
import logging
import math
import time
from collections import Counter

TELL_S = 10.0
"""The log tells of each kind at most this often."""


class Complaints:
    """Counts what strangers do too much of, and logs it; for one thread, that of a loop."""

    def __init__(self, log: logging.Logger, about: str) -> None:
        """about: how each line begins."""
        self._log, self._about = log, about
        self._told_s = dict[str, float]()  # by kind; monotonic
        self._untold = Counter[str]()
        self._later = dict[str, asyncio.TimerHandle]()

    def tell(self, what: str) -> None:
        """Count one of a kind; the first is logged at once, and others when it is time again."""
        self._untold[what] += 1
        left_s = self._told_s.get(what, -math.inf) + TELL_S - time.monotonic()
        if left_s <= 0:
            self._say(what)
        elif what not in self._later:
            try:
                loop = asyncio.get_running_loop()
            except RuntimeError:  # before it begins: then `tell_rest` does
                return
            self._later[what] = loop.call_later(left_s, self._say, what)

    def tell_rest(self) -> None:
        """Log what was not told yet: nothing more comes."""
        for what in list(self._untold):
            self._say(what)

    def _say(self, what: str) -> None:
        if later := self._later.pop(what, None):
            later.cancel()
        self._told_s[what] = time.monotonic()
        self._log.warning("%s: %d %s", self._about, self._untold.pop(what), what)
