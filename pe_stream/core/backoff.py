"""How long to wait before the next attempt at what has failed."""

from __future__ import annotations

_MOST_DOUBLINGS = 30
"""A float has no room for a thousand."""


def delay_s(attempt: int, longest_s: float, chance: float, *, first_s: float = 1.0) -> float:
    """Seconds to wait after the attempt of that number, counted from 1.

    `first_s`, then twice as much each time up to `longest_s`; less by up to half by chance, so
    that a house full of clients does not come back all at once. chance: a random number in 0..1.
    """
    doubled = first_s * 2.0 ** min(attempt - 1, _MOST_DOUBLINGS)
    return min(doubled, longest_s) * (1 - chance / 2)
