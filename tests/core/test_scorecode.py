"""Scores to bytes and back: near, in order, 0 and 1 exactly, and never anything else in silence."""

from __future__ import annotations

import zlib

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from pe_stream.core.scorecode import ERROR, decode, encode

SCORES = st.lists(
    st.floats(0, 1, width=32) | st.floats(0, 2**-20, width=32) | st.sampled_from([0.0, 0.5, 1.0]),
    max_size=200,
)


def array(scores: list[float]) -> NDArray[np.float32]:
    return np.array(scores, np.float32)


@given(SCORES)
def test_what_comes_back_is_near_and_in_order(given_: list[float]) -> None:
    scores = array(given_)
    back = decode(encode(scores))
    assert back.dtype == np.float32
    assert back.shape == scores.shape
    assert np.abs(back.astype(float) - scores).max(initial=0) <= ERROR
    assert ((back == 0) == (scores == 0)).all()  # a suppressed label, and no other
    assert (back[scores == 1] == 1).all()
    order = np.argsort(scores)
    assert (np.diff(back[order]) >= 0).all()


@given(SCORES)
def test_what_came_back_once_comes_back_the_same(given_: list[float]) -> None:
    once = decode(encode(array(given_)))
    assert (decode(encode(once)) == once).all()


def test_every_score_errs_within_the_bound() -> None:
    scores = np.linspace(0, 1, 200_001, dtype=np.float32)
    error = np.abs(decode(encode(scores)).astype(float) - scores).max()
    assert 0.0019 < error <= ERROR


def test_low_scores_are_as_fine_as_high_ones() -> None:
    """In proportion: a threshold of 0.01 means something."""
    scores = np.geomspace(1e-6, 0.1, 5000, dtype=np.float32)
    assert np.abs(decode(encode(scores)) / scores - 1).max() < 0.01


def test_extremes_follow_each_other() -> None:
    scores = array([0, 1, 0, 0, 1, 1, 1e-40, 1 - 2**-24, 0])
    assert decode(encode(scores)).tolist() == pytest.approx(scores.tolist(), abs=2e-7)


def test_none_at_all() -> None:
    assert decode(encode(array([]))).shape == (0,)


def test_a_quiet_minute_is_small() -> None:
    rng = np.random.default_rng(0)
    logits = -4 + np.cumsum(rng.normal(0, 0.05, 1500))
    scores = (1 / (1 + np.exp(-logits))).astype(np.float32)
    assert len(encode(scores)) < 1500
    assert len(encode(np.full(1500, 0.03, np.float32))) < 50  # a microphone that is off
    assert len(encode(np.zeros(1500, np.float32))) < 50


@pytest.mark.parametrize(
    "scores",
    [[np.nan], [0.5, np.inf], [-0.001], [1.001], [[0.5], [0.5]], [-np.inf, 0.1]],
)
def test_what_is_no_score_is_refused(scores: list[float]) -> None:
    with pytest.raises(ValueError, match="from 0 to 1"):
        encode(array(scores))


MADE = encode(np.linspace(0, 1, 100, dtype=np.float32))


@pytest.mark.parametrize(
    ("code", "said"),
    [
        (b"", "unknown format"),
        (b"\x02" + MADE[1:], "unknown format"),
        (MADE[:-8], "damaged"),
        (MADE[:20] + b"x" + MADE[21:], "damaged"),
        (b"\x01" + zlib.compress(b"\xff\xff\xff\xff"), "no such code"),
        (b"\x01" + zlib.compress(b"\x01\x00"), "no such code"),
        (b"\x01" + zlib.compress(b"\x01\x00\x00"), "reshape"),
    ],
)
def test_what_is_no_code_is_refused(code: bytes, said: str) -> None:
    with pytest.raises(ValueError, match=said):
        decode(code)
