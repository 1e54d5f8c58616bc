"""Sounds placed in a mixture: where, at what speed and level, in which room."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import soxr
from numpy.typing import NDArray

from pe_stream.audio.synthesis import in_room
from pe_stream.core.types import FRAME, SAMPLE_RATE, Samples
from pe_stream.workbench.training.mixture import FRAMES

COUNT = FRAMES * FRAME
"""Samples of a mixture."""


@dataclass(frozen=True, slots=True)
class Placed:
    """A sound where it is in a mixture.

    samples: (COUNT,) of the mixture; silence around the sound. sounding: (FRAMES,) in which it is
    there.
    """

    label: str
    samples: Samples
    sounding: NDArray[np.bool_]


def place(
    rng: np.random.Generator,
    label: str,
    samples: Samples,
    spans: Sequence[tuple[int, int]],
    room: Samples | None,
) -> Placed:
    """A sound somewhere in the mixture, at the most a third of it outside."""
    if room is not None:
        samples = in_room(samples, room, float(rng.uniform(-18, 3)))
    third = len(samples) // 3
    start = int(rng.integers(-third, max(1, COUNT - len(samples) + third)))
    out = np.zeros(COUNT, np.float32)
    first, last = max(0, start), min(COUNT, start + len(samples))
    out[first:last] = samples[first - start : last - start]
    sounding = np.zeros(FRAMES, bool)
    mark(sounding, [(start + a, start + b) for a, b in spans])
    return Placed(label, out, sounding)


def again_and_again(label: str, samples: Samples, spans: Sequence[tuple[int, int]]) -> Placed:
    """A sound that is repeated until the mixture is full."""
    out = np.resize(samples, COUNT)
    sounding = np.zeros(FRAMES, bool)
    for at in range(0, COUNT, len(samples)):
        mark(sounding, [(at + a, at + b) for a, b in spans])
    return Placed(label, out, sounding)


def within(spans: Sequence[tuple[int, int]], first: int, count: int) -> list[tuple[int, int]]:
    """What of `spans` lies in `count` samples from `first`, counted from there."""
    return [
        (max(0, start - first), min(count, end - first))
        for start, end in spans
        if end > first and start < first + count
    ]


def mark(sounding: NDArray[np.bool_], spans: Sequence[tuple[int, int]]) -> None:
    """Set the frames whose middle lies in one of `spans` (samples), of each span at least one."""
    for start, end in spans:
        first, last = round(start / FRAME), max(round(end / FRAME), round(start / FRAME) + 1)
        sounding[max(0, first) : max(0, last)] = True


def against(part: Placed, power: float, ratio_db: float) -> Placed:
    """The part at `ratio_db` over `power`, by its own power while it sounds.

    Nothing, where its sound fell outside of the mixture: what is left is its silence.
    """
    if not part.sounding.any():
        return Placed(part.label, np.zeros_like(part.samples), part.sounding)
    own = mean_square(part.samples[np.repeat(part.sounding, FRAME)])
    gain = np.sqrt(10 ** (ratio_db / 10) * max(power, 1e-12) / max(own, 1e-12))
    return Placed(part.label, np.asarray(gain * part.samples, np.float32), part.sounding)


def at_other_speed(
    rng: np.random.Generator, samples: Samples, spans: Sequence[tuple[int, int]]
) -> tuple[Samples, list[tuple[int, int]]]:
    """Somewhat faster and higher, or slower and lower, six times in ten."""
    if rng.random() < 0.4:
        return samples, list(spans)
    speed = float(2 ** rng.uniform(-0.35, 0.35))
    out = np.asarray(
        soxr.resample(samples, SAMPLE_RATE * speed, SAMPLE_RATE, quality="MQ"), np.float32
    )
    moved = [(round(a / speed), min(len(out), round(b / speed))) for a, b in spans]
    return out, [(a, b) for a, b in moved if b > a] or [(0, len(out))]


def faded(samples: Samples, seconds: float = 0.004) -> Samples:
    """With ends that do not click."""
    out = samples.copy()
    edge = min(round(seconds * SAMPLE_RATE), len(out) // 4)
    ramp = np.linspace(0, 1, edge, endpoint=False, dtype=np.float32)
    out[:edge] *= ramp
    out[len(out) - edge :] *= ramp[::-1]
    return out


def mean_square(samples: Samples) -> float:
    """Power of samples (n,); 0 of none."""
    return float(np.mean(np.square(samples, dtype=np.float64))) if len(samples) else 0.0
