from __future__ import annotations

import numpy as np
import pytest

from pe_stream.core.opinion_vectors import STORED, OpinionProbe, pack, unpack


def test_vectors_go_over_a_pipe_as_they_are() -> None:
    sound, both = np.array([[0.1, -2, 65504], [np.inf, np.nan, 0]], STORED)
    kinds, packed = pack({"sound": sound, "both": both})
    found = unpack(kinds, packed, STORED)
    assert list(found) == ["sound", "both"]
    assert np.array_equal(found["sound"], sound)
    assert np.array_equal(found["both"], both, equal_nan=True)


@pytest.mark.parametrize(
    ("kinds", "packed"),
    [(["sound", "both"], b"x" * 6), (["smell"], b"x" * 4), (["sound"], b"x"), ([], b"")],
)
def test_what_is_no_vector_is_refused(kinds: list[str], packed: bytes) -> None:
    with pytest.raises(ValueError, match=r"kinds of vectors|reshape|buffer size"):
        unpack(kinds, packed, STORED)  # type: ignore[arg-type]  # as it may come over a pipe


def test_a_logit_is_computed_wide_and_is_a_number_or_the_least() -> None:
    probe = OpinionProbe("ab", {"sound": np.array([1000, 1], np.float32)}, {"sound": -0.5})
    vectors = np.array([[100, 1], [np.inf, 0], [np.nan, 0]], STORED)
    assert probe.logits("sound", vectors).tolist() == [100_000.5, -np.inf, -np.inf]
