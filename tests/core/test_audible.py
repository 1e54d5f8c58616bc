"""What one may listen to: silence around what withholds, and nothing that is not known of yet."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pe_stream.core.audible import MARGIN, MOST_HELD, AudibleRun, AudibleSound
from pe_stream.core.types import Samples

SECOND = MARGIN


def sound(begin: int, end: int) -> Samples:
    """Every sample is its own index, in quarters of a second, and never zero."""
    return (1 + np.arange(begin, end)).astype(np.float32)


def heard(runs: list[AudibleRun]) -> list[int]:
    """Indices of the samples that are no silence; each run is what it says."""
    indices: list[int] = []
    for start, samples in runs:
        at = start + np.flatnonzero(samples)
        np.testing.assert_array_equal(samples[at - start], 1 + at)
        indices += at.tolist()
    return indices


def reach(runs: list[AudibleRun]) -> tuple[int, int]:
    """From where to where, without a break."""
    for before, after in pairwise(runs):
        assert after[0] == before[0] + len(before[1])
    return runs[0][0], runs[-1][0] + len(runs[-1][1])


def test_without_a_label_that_withholds_it_is_passed_on_as_it_is() -> None:
    audible, samples = AudibleSound(()), sound(100, 200)
    audible.opened("speech", 120)
    (run,) = audible.take(100, samples, 0, last=False)
    assert run == (100, samples)
    assert run[1] is samples
    assert audible.take(200, samples[:0], 0, last=True) == []


def test_it_is_held_back_until_no_event_can_begin_in_it() -> None:
    audible = AudibleSound({"speech"})
    runs = audible.take(0, sound(0, 4 * SECOND), 4 * SECOND, last=False)
    assert reach(runs) == (0, 3 * SECOND)
    # something has begun that may become an event
    assert audible.take(4 * SECOND, sound(4 * SECOND, 5 * SECOND), 4 * SECOND, last=False) == []
    # and was none
    runs = audible.take(5 * SECOND, sound(5 * SECOND, 6 * SECOND), 6 * SECOND, last=False)
    assert reach(runs) == (3 * SECOND, 5 * SECOND)
    assert len(heard(runs)) == 2 * SECOND
    runs = audible.take(6 * SECOND, sound(6 * SECOND, 6 * SECOND), 6 * SECOND, last=True)
    assert reach(runs) == (5 * SECOND, 6 * SECOND)
    assert len(heard(runs)) == SECOND


@settings(max_examples=40, deadline=None)
@given(
    cuts=st.lists(st.integers(1, 12 * SECOND - 1), max_size=12),
    onset=st.integers(2 * SECOND, 5 * SECOND),
    length=st.integers(0, 4 * SECOND),
    known_after=st.integers(0, SECOND),
)
def test_an_event_is_silence_with_a_margin_whenever_it_is_told(
    cuts: list[int], onset: int, length: int, known_after: int
) -> None:
    """Never any of it, and all that is far from it, whatever the pieces are."""
    audible, total = AudibleSound({"speech"}), 12 * SECOND
    offset = onset + length
    runs: list[AudibleRun] = []
    told = ended = False
    for a, b in pairwise([0, *sorted(set(cuts)), total]):
        if not told and b >= onset + known_after:
            audible.opened("speech", onset)
            told = True
        if told and not ended and b >= offset + known_after:
            audible.closed("speech", offset)
            ended = True
        # open, or a run that may become an event
        settled = onset if b >= onset and not ended else b
        runs += audible.take(a, sound(a, b), settled, last=b == total)
    assert reach(runs) == (0, total)
    told_of = np.array(heard(runs))
    assert not np.any((told_of >= onset - MARGIN) & (told_of < offset + MARGIN))
    assert set(range(0, onset - MARGIN, 997)) <= set(told_of.tolist())
    assert total - 1 in told_of


def test_while_it_is_on_silence_comes_at_once() -> None:
    audible = AudibleSound({"speech"})
    audible.take(0, sound(0, 2 * SECOND), 2 * SECOND, last=False)
    audible.opened("speech", SECOND)
    runs = audible.take(2 * SECOND, sound(2 * SECOND, 3 * SECOND), SECOND, last=False)
    assert reach(runs) == (SECOND, 3 * SECOND)
    assert heard(runs) == []


def test_other_labels_withhold_nothing() -> None:
    audible = AudibleSound({"speech"})
    audible.opened("dog", 0)
    runs = audible.take(0, sound(0, 3 * SECOND), 3 * SECOND, last=True)
    audible.closed("dog", SECOND)
    assert len(heard(runs)) == 3 * SECOND


def test_two_that_withhold_are_silence_together() -> None:
    audible = AudibleSound({"speech", "crying"})
    audible.opened("speech", 3 * SECOND)
    audible.opened("crying", 4 * SECOND)
    audible.closed("speech", 5 * SECOND)
    runs = audible.take(0, sound(0, 9 * SECOND), 4 * SECOND, last=False)
    audible.closed("crying", 8 * SECOND)
    runs += audible.take(9 * SECOND, sound(9 * SECOND, 12 * SECOND), 12 * SECOND, last=True)
    assert set(heard(runs)) == {*range(2 * SECOND), *range(9 * SECOND, 12 * SECOND)}


def test_what_is_never_known_is_silence_in_the_end() -> None:
    audible = AudibleSound({"speech"})
    runs: list[AudibleRun] = []
    for second in range(20):
        a, b = second * SECOND, (second + 1) * SECOND
        runs += audible.take(a, sound(a, b), min(b, 2 * SECOND), last=False)
    assert reach(runs) == (0, 20 * SECOND - MOST_HELD)
    assert heard(runs) == list(range(SECOND))


@pytest.mark.parametrize("lost", [0, 7 * SECOND])
def test_a_new_segment_follows_on_what_was_held_of_the_last(lost: int) -> None:
    audible = AudibleSound({"speech"})
    audible.opened("speech", SECOND)
    audible.closed("speech", 2 * SECOND)
    runs = audible.take(0, sound(0, 4 * SECOND), 4 * SECOND, last=False)
    begin = 4 * SECOND + lost
    runs += audible.take(begin, sound(begin, begin + SECOND), begin + SECOND, last=True)
    assert set(heard(runs)) == {*range(3 * SECOND, 4 * SECOND), *range(begin, begin + SECOND)}
