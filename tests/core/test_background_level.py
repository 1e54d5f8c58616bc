"""The background level of a room: L90 of the last five minutes."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pe_stream.core.background_level import FIRST_S, MINUTES, QUIETEST_DBFS, BackgroundLevel

SECOND = 25
"""Frames of a second."""


def level_db(background: BackgroundLevel) -> float:
    return float(10 * np.log10(background.power))


def heard(*levels_db: tuple[float, float]) -> BackgroundLevel:
    """Levels (dBFS), each for so many seconds."""
    background = BackgroundLevel()
    for level, seconds in levels_db:
        for _ in range(round(seconds * SECOND)):
            background.hear(10 ** (level / 10))
    return background


def test_it_is_known_after_ten_seconds() -> None:
    assert np.isnan(BackgroundLevel().power)
    assert np.isnan(heard((-50, FIRST_S - 0.04)).power)
    assert level_db(heard((-50, FIRST_S))) == pytest.approx(-50, abs=0.11)


def test_what_sounds_for_less_than_nine_tenths_does_not_raise_it() -> None:
    assert level_db(heard((-50, 40), (-10, 200))) == pytest.approx(-50, abs=0.11)
    assert level_db(heard((-50, 300), (-10, 268))) == pytest.approx(-50, abs=0.11)


def test_what_goes_on_becomes_background_and_is_forgotten_when_it_ends() -> None:
    fan = heard((-60, 300), (-30, 271))
    assert level_db(fan) == pytest.approx(-30, abs=0.11)
    for _ in range(31 * SECOND):
        fan.hear(10**-6.0)
    assert level_db(fan) == pytest.approx(-60, abs=0.11)


def test_it_is_never_lower_than_the_last_bit_of_16() -> None:
    assert level_db(heard((-119, 20))) == pytest.approx(QUIETEST_DBFS)
    assert level_db(heard((-200, 20))) == pytest.approx(QUIETEST_DBFS)
    assert level_db(heard((60, 20))) == pytest.approx(40, abs=0.11)


@given(st.integers(0, 2**32 - 1), st.integers(10, 400))
@settings(max_examples=20, deadline=None)
def test_it_is_the_tenth_percentile_of_what_was_heard_lately(seed: int, seconds: int) -> None:
    levels = np.random.default_rng(seed).normal(-50, 15, seconds * SECOND).clip(-89, 0)
    background = BackgroundLevel()
    for level in levels.tolist():
        background.hear(10 ** (level / 10))
    expected = np.quantile(levels[-MINUTES * 60 * SECOND :], 0.1, method="inverted_cdf")
    assert level_db(background) == pytest.approx(expected, abs=0.051)
