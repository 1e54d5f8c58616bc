"""Arrivals: what comes from the broker on a connection."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Acknowledged:
    """The broker has the message sent under `packet_id`, or refuses it for the reason given."""

    packet_id: int
    refusal: str | None


@dataclass(frozen=True, slots=True)
class Received:
    """A message from the broker; `retained`: it was said before we subscribed."""

    topic: str
    payload: bytes
    retained: bool


@dataclass(frozen=True, slots=True)
class TooLarge:
    """A message from the broker that is left out: its payload has `size` bytes."""

    topic: str
    size: int


@dataclass(frozen=True, slots=True)
class SubscriptionRefused:
    """The broker does not let us subscribe, for this reason."""

    reason: str


Arrival = Acknowledged | Received | TooLarge | SubscriptionRefused
