"""An allowance that is spent by use and comes back with time."""

from __future__ import annotations


class TokenBucket:
    """An allowance: full at first, spent by use, refilled as its clock goes on. One thread's."""

    def __init__(self, most: float, per_s: float, now_s: float = 0.0) -> None:
        """most: it holds, and has at first; per_s: that come back in a second of the clock."""
        self._most, self._per_s = most, per_s
        self._left, self._now_s = most, now_s

    def spend(self, amount: float, now_s: float) -> float:
        """Take `amount`; returns how long (s) it takes until that has come back, 0 if it is there.

        now_s: the clock, which does not go back.
        """
        self._refill(now_s)
        self._left -= amount
        return max(0.0, -self._left / self._per_s)

    def has(self, amount: float, now_s: float) -> bool:
        """Whether `amount` is there; nothing is taken."""
        self._refill(now_s)
        return self._left >= amount

    def is_full(self, now_s: float) -> bool:
        """Whether all has come back that was ever taken."""
        return self.has(self._most, now_s)

    def _refill(self, now_s: float) -> None:
        passed_s, self._now_s = now_s - self._now_s, now_s
        self._left = min(self._most, self._left + passed_s * self._per_s)
