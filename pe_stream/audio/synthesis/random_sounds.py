"""Labelled sounds without end: a label in plain English to a function that makes a new instance.

Pitch, tempo, rhythm, waveform, loudspeaker and level differ from one instance to the next, so
that who learns from them learns the kind of sound and not one device.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import MappingProxyType

import numpy as np

from pe_stream.audio.synthesis import alarms, ambience, bells, hard_negatives, impacts, traffic
from pe_stream.core.types import Samples

SOUNDS: Mapping[str, Callable[[np.random.Generator], Samples]] = MappingProxyType(
    {
        "smoke alarm": alarms.smoke_alarm,
        "carbon monoxide alarm": alarms.carbon_monoxide_alarm,
        "doorbell": bells.doorbell,
        "phone ringing": bells.phone_ringing,
        "microwave beep": alarms.microwave_beep,
        "reversing beeps": alarms.reversing_beeps,
        "siren": traffic.siren,
        "clock alarm": alarms.clock_alarm,
        "gunshot": impacts.gunshot,
        "door knock": impacts.door_knock,
        "car horn": traffic.car_horn,
        "glass breaking": impacts.glass_breaking,
        "whistle": traffic.whistle,
        "single beep": alarms.single_beep,
        "low battery chirp": hard_negatives.low_battery_chirp,
        "flute": hard_negatives.flute,
        "kettle whistle": hard_negatives.kettle_whistle,
        "shoe squeak": hard_negatives.shoe_squeak,
        "clapping": hard_negatives.clapping,
        "tone": traffic.tone,
    }
)
"""Each makes one instance: 1 to 10 s, (n,) float32 at 48 kHz, peak 1.

"single beep" and "tone" are what no alarm label should answer to.
"""

BACKGROUNDS: Mapping[str, Callable[[np.random.Generator], Samples]] = MappingProxyType(
    {
        "wind": ambience.wind,
        "crackling fire": ambience.crackling_fire,
        "sea waves": ambience.sea_waves,
    }
)
"""The same for what sounds throughout: each makes 10 s."""
