"""The A-weighting against the table of IEC 61672-1, and against cutting sound anywhere."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from pe_stream.core.a_weighting import AWeighting, response
from pe_stream.core.types import SAMPLE_RATE

INFINITE = float("inf")

CLASS_1 = (
    (10, -70.4, 3.0, INFINITE),
    (12.5, -63.4, 2.5, INFINITE),
    (16, -56.7, 2.0, 4.0),
    (20, -50.5, 2.0, 2.0),
    (25, -44.7, 2.0, 1.5),
    (31.5, -39.4, 1.5, 1.5),
    (40, -34.6, 1.0, 1.0),
    (50, -30.2, 1.0, 1.0),
    (63, -26.2, 1.0, 1.0),
    (80, -22.5, 1.0, 1.0),
    (100, -19.1, 1.0, 1.0),
    (125, -16.1, 1.0, 1.0),
    (160, -13.4, 1.0, 1.0),
    (200, -10.9, 1.0, 1.0),
    (250, -8.6, 1.0, 1.0),
    (315, -6.6, 1.0, 1.0),
    (400, -4.8, 1.0, 1.0),
    (500, -3.2, 1.0, 1.0),
    (630, -1.9, 1.0, 1.0),
    (800, -0.8, 1.0, 1.0),
    (1000, 0.0, 0.7, 0.7),
    (1250, 0.6, 1.0, 1.0),
    (1600, 1.0, 1.0, 1.0),
    (2000, 1.2, 1.0, 1.0),
    (2500, 1.3, 1.0, 1.0),
    (3150, 1.2, 1.0, 1.0),
    (4000, 1.0, 1.0, 1.0),
    (5000, 0.5, 1.5, 1.5),
    (6300, -0.1, 1.5, 2.0),
    (8000, -1.1, 1.5, 2.5),
    (10000, -2.5, 2.0, 3.0),
    (12500, -4.3, 2.0, 5.0),
    (16000, -6.6, 2.5, 16.0),
    (20000, -9.3, 3.0, INFINITE),
)
"""Nominal frequency (Hz), A-weighting, and how far above and below a class 1 meter may be (dB).

Table 3 of IEC 61672-1:2013.
"""

OURS_DB = 0.5
"""What we ask of the filter itself, up to 16 kHz: the microphone needs the rest."""


def exact_hz(nominal_hz: float) -> float:
    """The third-octave frequency (base ten) that the table's nominal one stands for."""
    return float(1000 * 10 ** (np.round(10 * np.log10(nominal_hz / 1000)) / 10))


def noise(count: int, seed: int, offset: float = 0.0) -> NDArray[np.float32]:
    return np.random.default_rng(seed).normal(offset, 0.3, count).astype(np.float32)


@pytest.mark.parametrize(("nominal_hz", "weighting_db", "above", "below"), CLASS_1)
def test_the_response_is_within_class_1(
    nominal_hz: float, weighting_db: float, above: float, below: float
) -> None:
    hz = exact_hz(nominal_hz)
    error_db = 20 * float(np.log10(abs(response(np.array([hz]))[0]))) - weighting_db
    assert -below <= error_db <= above
    assert nominal_hz > 16_000 or abs(error_db) <= OURS_DB
    # And the filter does what its response says, once a tone has settled.
    sine = np.sin(2 * np.pi * hz * np.arange(2 * SAMPLE_RATE) / SAMPLE_RATE).astype(np.float32)
    filtered = AWeighting().filter(sine)[SAMPLE_RATE:]
    heard_db = 10 * float(np.log10(2 * np.square(filtered).mean()))
    assert heard_db == pytest.approx(weighting_db + error_db, abs=0.05)


def test_a_constant_is_nothing_from_the_first_sample_on() -> None:
    assert np.abs(AWeighting().filter(np.full(4800, 0.7, np.float32))).max() < 1e-7  # -140 dBFS
    beside = AWeighting().filter(noise(4800, 1) + np.float32(0.5))
    assert beside == pytest.approx(AWeighting().filter(noise(4800, 1)), abs=1e-6)


@given(st.lists(st.integers(1, 40), max_size=6), st.integers(0, 200))
@settings(max_examples=30, deadline=None)
def test_sound_may_be_cut_between_any_blocks(blocks: list[int], rest: int) -> None:
    samples = noise(48 * 7 * sum(blocks) + rest + 1, 2, 0.2)
    whole = AWeighting().filter(samples)
    filter_, pieces, at = AWeighting(), list[NDArray[np.float64]](), 0
    for count in (*(48 * 7 * each for each in blocks), rest + 1):
        pieces.append(filter_.filter(samples[at : at + count]))
        at += count
    assert np.concatenate(pieces) == pytest.approx(whole, abs=1e-8)


def test_it_does_what_the_difference_equations_do() -> None:
    """The slow, obvious twin: the sections sample by sample."""
    from pe_stream.core.a_weighting import _SECTIONS

    samples = noise(3000, 3)
    samples[0] = 0.0  # what was before is nothing
    signal = samples.astype(np.float64)
    for (b0, b1, b2), (_, a1, a2) in _SECTIONS:
        out = np.zeros(len(signal))
        for n in range(len(signal)):
            x = [signal[n - k] if n >= k else 0.0 for k in range(3)]
            y = [out[n - k] if n >= k else 0.0 for k in range(3)]
            out[n] = b0 * x[0] + b1 * x[1] + b2 * x[2] - a1 * y[1] - a2 * y[2]
        signal = out
    assert AWeighting().filter(samples) == pytest.approx(signal, abs=1e-8)
