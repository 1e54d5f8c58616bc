"""The A-weighting of IEC 61672-1 at 48 kHz: what a sound level meter's dB(A) are made with.

The analogue filter has four zeros at 0 Hz and six poles. Here each pole is `exp(-2 pi f / 48000)`.
The four zeros become z = 1, which turns away a constant exactly. The two poles at 12.2 kHz have a
numerator that makes the magnitude right at 0 Hz, at half of Nyquist, and at Nyquist: a bilinear
transform would be 5 dB too low at 16 kHz; this is within 0.1 dB up to 12.5 kHz, and 0.4 dB too
low at 16 kHz.
"""

from __future__ import annotations

from math import pi, sqrt

import numpy as np
from numpy.typing import NDArray

from pe_stream.core.types import SAMPLE_RATE, Samples

POLES_HZ = (20.598997, 20.598997, 107.65265, 737.86223, 12194.217, 12194.217)
"""Corner frequencies (Hz), to the digits that the standard's formulas give."""

_BLOCK = 48
"""Samples of a row of the matrices that sound is filtered with."""

_TOGETHER = 100 * _BLOCK
"""Samples that are filtered by one product: of more, BLAS would wake a thread on every core."""

_Matrix = NDArray[np.float64]


def response(frequencies_hz: NDArray[np.float64]) -> NDArray[np.complex128]:
    """The filter's response at these frequencies, (n,); 1 at 1 kHz in magnitude."""
    z = np.exp(-2j * pi * frequencies_hz / SAMPLE_RATE)
    found: NDArray[np.complex128] = np.ones_like(z)
    for numerator, denominator in _SECTIONS:
        found *= np.polyval(numerator[::-1], z) / np.polyval(denominator[::-1], z)
    return found


class AWeighting:
    """The filter over one stretch of sound. It begins as if the first sample had always been.

    How sound is cut into calls changes results by rounding alone.
    """

    def __init__(self) -> None:
        """Begin a stretch."""
        self._state: _Matrix | None = None

    def filter(self, samples: Samples) -> _Matrix:
        """The next samples (n,), weighted: (n,). All calls but the last take a multiple of 48."""
        state = _SETTLED * float(samples[0]) if self._state is None else self._state
        pieces = []
        for at in range(0, len(samples), _TOGETHER):
            piece, state = _filtered(samples[at : at + _TOGETHER], state)
            pieces.append(piece)
        self._state = state
        return np.concatenate(pieces)


def _filtered(samples: Samples, state: _Matrix) -> tuple[_Matrix, _Matrix]:
    """Samples (n,) weighted, and the state (6,) after them."""
    blocks = np.zeros((-(-len(samples) // _BLOCK), _BLOCK))
    blocks.reshape(-1)[: len(samples)] = samples
    # What each block leaves behind, then what all before it have: a scan in doubling steps.
    after = blocks @ _INTO_STATE.T
    after[0] += _STATE_AFTER @ state
    step, power = 1, _STATE_AFTER
    while step < len(after):
        after[step:] += after[:-step] @ power.T
        step, power = 2 * step, power @ power
    before = np.concatenate([state[None], after[:-1]])
    weighted = blocks @ _FORCED.T + before @ _FROM_STATE.T
    return weighted.reshape(-1)[: len(samples)], after[-1]


def _pole(hz: float) -> float:
    return float(np.exp(-2 * pi * hz / SAMPLE_RATE))


def _high_pass(first_hz: float, second_hz: float) -> tuple[_Matrix, _Matrix]:
    """Two zeros at 0 Hz and two poles; 1 at Nyquist."""
    p, q = _pole(first_hz), _pole(second_hz)
    gain = (1 + p) * (1 + q) / 4
    return gain * np.array([1.0, -2.0, 1.0]), np.array([1.0, -p - q, p * q])


def _low_pass(hz: float) -> tuple[_Matrix, _Matrix]:
    """A double pole, with the analogue magnitude at 0 Hz, 12 kHz and Nyquist."""
    p = _pole(hz)
    denominator = np.array([1.0, -2 * p, p * p])

    def square(at_hz: float) -> float:
        z = np.exp(-2j * pi * at_hz / SAMPLE_RATE)
        wanted = 1 / (1 + (at_hz / hz) ** 2) ** 2
        return float(wanted * abs(np.polyval(denominator[::-1], z)) ** 2)

    # With b = (b0, b1, b2): |b0 + b1 + b2|, |b0 - b1 + b2| and |b0 - b2|, b1 of the middle.
    low, middle, high = sqrt(square(0)), square(SAMPLE_RATE / 4), sqrt(square(SAMPLE_RATE / 2))
    b1, both = (low - high) / 2, (low + high) / 2
    apart = sqrt(max(0.0, middle - b1 * b1))
    return np.array([(both + apart) / 2, b1, (both - apart) / 2]), denominator


def _sections() -> list[tuple[_Matrix, _Matrix]]:
    made = [_high_pass(*POLES_HZ[0:2]), _high_pass(*POLES_HZ[2:4]), _low_pass(POLES_HZ[4])]
    z = np.exp(-2j * pi * 1000 / SAMPLE_RATE)
    at_1_khz = np.prod([abs(np.polyval(b[::-1], z) / np.polyval(a[::-1], z)) for b, a in made])
    return [(made[0][0] / at_1_khz, made[0][1]), *made[1:]]


def _state_space() -> tuple[_Matrix, _Matrix, _Matrix, float]:
    """The sections one after the other: x' = A x + B u, y = C x + D u; A is (6, 6)."""
    a, b, c, d = np.zeros((0, 0)), np.zeros(0), np.zeros(0), 1.0
    for (b0, b1, b2), (_, a1, a2) in _SECTIONS:
        own_c = np.array([b1 - a1 * b0, b2 - a2 * b0])
        size = len(a)
        joined = np.zeros((size + 2, size + 2))
        joined[:size, :size] = a
        joined[size, :size] = c  # the section's input is what the ones before it give
        joined[size:, size:] = [[-a1, -a2], [1.0, 0.0]]
        a, b = joined, np.concatenate([b, [d, 0.0]])
        c, d = np.concatenate([b0 * c, own_c]), b0 * d
    return a, b, c, d


_SECTIONS = _sections()


def _matrices() -> tuple[_Matrix, _Matrix, _Matrix, _Matrix, _Matrix]:
    """Of a block: output by its samples and by the state before; the state after by both.

    The last is the state in which a constant 1 has settled.
    """
    a, b, c, d = _state_space()
    powers = [np.eye(len(a))]
    for _ in range(_BLOCK):
        powers.append(a @ powers[-1])
    impulse = np.array([d, *(c @ power @ b for power in powers[: _BLOCK - 1])])
    shift = np.subtract.outer(np.arange(_BLOCK), np.arange(_BLOCK))
    forced = np.where(shift >= 0, impulse[shift], 0.0)
    from_state = np.array([c @ power for power in powers[:_BLOCK]])
    into_state = np.array([power @ b for power in powers[:_BLOCK]])[::-1].T.copy()
    settled = np.linalg.solve(np.eye(len(a)) - a, b).astype(np.float64)
    return forced, from_state, into_state, powers[-1], settled


_FORCED, _FROM_STATE, _INTO_STATE, _STATE_AFTER, _SETTLED = _matrices()
