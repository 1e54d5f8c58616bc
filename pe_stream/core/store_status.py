"""How well something is kept on disk, for whoever tells of it."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class StoreStatus:
    """How a store does.

    unavailable_reason: why nothing can be written at present, in words; None while it can. lost:
    how much was not kept so far; of events, messages for the broker, and of the rest chunks of up
    to a minute of a source.
    """

    unavailable_reason: str | None
    lost: int
