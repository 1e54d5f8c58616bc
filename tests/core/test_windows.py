import pytest
from hypothesis import given
from hypothesis import strategies as st

from pe_stream.core.windows import Framing


@pytest.mark.parametrize(
    ("window", "hop", "lookahead"), [(10, 0, 2), (10, 3, -1), (10, 6, 5), (0, 1, 0)]
)
def test_lengths_that_cannot_work_are_refused(window: int, hop: int, lookahead: int) -> None:
    with pytest.raises(ValueError, match="hop"):
        Framing(window, hop, lookahead)


def test_windows_end_on_the_hop_and_the_first_are_short() -> None:
    framing = Framing(window=250, hop=12, lookahead=12)
    assert framing.due(0, 11, stretch=False) is None
    assert framing.due(0, 12, stretch=False) == 12
    assert framing.due(12, 500, stretch=False) == 24
    assert (framing.begin(12), framing.begin(264)) == (0, 14)


def test_stretching_takes_the_newest_hop_and_loses_nothing_within_a_window() -> None:
    framing = Framing(window=250, hop=12, lookahead=12)
    assert framing.due(12, 100, stretch=True) == 96
    assert framing.lost(final=0, available=250) == 0
    assert framing.lost(final=0, available=251) == 1


@given(
    hop=st.integers(1, 20),
    lookahead=st.integers(0, 20),
    spare=st.integers(0, 20),
    arrivals=st.lists(st.integers(0, 60), max_size=40),
)
def test_without_stretching_no_frame_is_ever_out_of_reach(
    hop: int, lookahead: int, spare: int, arrivals: list[int]
) -> None:
    framing = Framing(hop + lookahead + spare, hop, lookahead)
    scored = final = available = 0
    for arrived in arrivals:
        available += arrived
        while (end := framing.due(scored, available, stretch=False)) is not None:
            assert end == scored + hop
            assert framing.begin(end) <= final
            scored, final = end, max(final, end - lookahead)


@given(
    window=st.integers(1, 260),
    hop=st.integers(1, 60),
    lookahead=st.integers(0, 60),
    total=st.integers(1, 900),
)
def test_in_bulk_every_frame_has_its_contexts(
    window: int, hop: int, lookahead: int, total: int
) -> None:
    if hop + lookahead > window:
        return
    framing = Framing(window, hop, lookahead).in_bulk()
    assert (framing.window, framing.lookahead) == (window, lookahead)
    assert framing.hop >= hop
    scored = final = 0
    while scored < total:
        end = framing.due(scored, total, stretch=False) or total
        begin, released = framing.begin(end), total if end == total else end - lookahead
        if framing.hop > hop and released > final:
            assert begin == 0 or final - begin >= window // 5
        assert begin <= final
        scored, final = end, max(final, released)
    assert final == total
    assert Framing(250, 12, 12).in_bulk().hop == 188
