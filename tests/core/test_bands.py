from __future__ import annotations

import numpy as np
import pytest

from pe_stream.core.bands import Bands
from pe_stream.core.types import FRAME, SAMPLE_RATE


@pytest.mark.parametrize("hertz", [60.0, 440.0, 1000.0, 3150.0, 12_000.0])
def test_a_tone_is_in_its_band_at_its_level(hertz: float) -> None:
    bands = Bands(64)
    tone = 0.1 * np.sin(2 * np.pi * hertz * np.arange(3 * FRAME) / SAMPLE_RATE)
    found = bands.decibels(tone.astype(np.float32))
    assert found.shape == (3, 64)
    for row in found:
        loudest = int(row.argmax())
        # Low bands are narrower than a bin of the transform (23 Hz).
        near = 30 if hertz < 500 else 0
        assert bands.edges_hz[loudest] - near <= hertz <= bands.edges_hz[loudest + 1] + near
        assert row[loudest] == pytest.approx(-20, abs=1.5)


def test_silence_is_low_and_finite() -> None:
    assert (Bands(64).decibels(np.zeros(FRAME, np.float32)) <= -119).all()


def test_only_whole_frames_have_bands() -> None:
    assert Bands(8).decibels(np.zeros(0, np.float32)).shape == (0, 8)
    with pytest.raises(ValueError, match="reshape"):
        Bands(8).decibels(np.zeros(FRAME - 1, np.float32))
