from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pe_stream.core.opinion import choose, excerpt, spread
from pe_stream.core.types import FRAME

S = 48_000


@pytest.mark.parametrize(
    ("moment", "expected"),
    [
        (10 * S, (6 * S, 14 * S)),
        (2 * S, (0, 6 * S)),
        (10 * S + 100, (6 * S, 14 * S + FRAME)),  # to the frames' edges
        (4 * S + FRAME - 1, (0, 8 * S + FRAME)),
    ],
)
def test_an_excerpt_lies_around_its_moment(moment: int, expected: tuple[int, int]) -> None:
    assert excerpt(moment, 4 * S, 4 * S) == expected


def test_things_are_spread_as_the_processor_does_it() -> None:
    """`sample_frames` of PeVideoVideoProcessor, which fails where one is wanted."""
    for count in (1, 2, 3, 7, 16, 17, 40, 901):
        for wanted in (2, 3, 8, 16, 40):
            expected = [int(i * (count - 1) / (wanted - 1)) for i in range(wanted)]
            assert spread(count, wanted) == expected
    assert spread(5, 1) == [0]
    assert spread(5, 0) == spread(0, 3) == []
    assert spread(16, 16) == list(range(16))
    assert spread(2, 5) == [0, 0, 0, 0, 1]


def test_pictures_are_even_and_the_nearest_is_among_them() -> None:
    places = [half * S // 2 for half in range(17)]
    assert choose(places, 8) == [0, 2, 4, 6, 9, 11, 13, 16]
    assert choose(places, 8, 4 * S) == [0, 2, 4, 6, 8, 11, 13, 16]
    assert choose(places, 8, 16 * S // 4 + S // 2) == [0, 2, 4, 6, 9, 11, 13, 16]
    assert choose(places, 5, 3 * S) == [0, 6, 8, 12, 16]  # as far from 4 as from 8
    assert choose(places, 17, 4 * S) == list(range(17))
    assert choose(places, 1, 4 * S) == [8]
    assert choose(places[:3], 8, 100 * S) == [0, 1, 2]
    assert choose([], 8, 5) == []


@given(
    st.lists(st.integers(0, 40 * S), max_size=70, unique=True).map(sorted),
    st.integers(1, 16),
    st.integers(0, 40 * S) | st.none(),
)
def test_chosen_pictures_are_different_and_in_order(
    places: list[int], most: int, moment: int | None
) -> None:
    chosen = choose(places, most, moment)
    assert chosen == sorted(set(chosen))
    assert len(chosen) == min(most, len(places))
    if moment is not None and places:
        nearest = min(abs(place - moment) for place in places)
        assert min(abs(places[i] - moment) for i in chosen) == nearest
