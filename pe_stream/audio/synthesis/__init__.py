"""Everyday sounds made from formulas, and the room they sound in.

Every sound is mono float32 at 48 kHz, shape (n,), with its loudest sample at 1. What is
random comes from the generator that is passed in, so that the same seed gives the same sound.
`SOUNDS` makes a new instance of a labelled sound at every call.
"""

from __future__ import annotations

from pe_stream.audio.synthesis.household import (
    alarm_clock,
    car_horn,
    dog_barks,
    glass_breaking,
    knocks,
    rooster,
    siren,
    smoke_alarm,
    telephone,
    tone,
)
from pe_stream.audio.synthesis.random_sounds import SOUNDS
from pe_stream.audio.synthesis.rooms import in_room, room_noise, room_response
from pe_stream.audio.synthesis.signals import Partial, Signal

__all__ = [
    "SOUNDS",
    "Partial",
    "Signal",
    "alarm_clock",
    "car_horn",
    "dog_barks",
    "glass_breaking",
    "in_room",
    "knocks",
    "room_noise",
    "room_response",
    "rooster",
    "siren",
    "smoke_alarm",
    "telephone",
    "tone",
]
