import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pe_stream.core.stitch import Stitcher
from pe_stream.core.windows import Framing


def scores(begin: int, end: int) -> "np.ndarray[tuple[int, int], np.dtype[np.float32]]":
    """(end - begin, 2): the frame's number, and where the window ended."""
    return np.array([[f, end] for f in range(begin, end)], np.float32).reshape(-1, 2)


@given(
    hop=st.integers(1, 12),
    lookahead=st.integers(0, 12),
    spare=st.integers(0, 12),
    total=st.integers(1, 120),
)
def test_each_frame_leaves_exactly_once_with_its_right_context(
    hop: int, lookahead: int, spare: int, total: int
) -> None:
    framing = Framing(hop + lookahead + spare, hop, lookahead)
    stitcher, scored, out = Stitcher(lookahead), 0, []
    while scored < total:
        end = framing.due(scored, total, stretch=False) or total
        begin = framing.begin(end)
        out += stitcher.accept(begin, scores(begin, end), last=end == total).tolist()
        scored = end
    assert [frame for frame, _ in out] == list(range(total))
    assert all(end >= frame + 1 + lookahead or end == total for frame, end in out)
    # no frame waits for more context than it was promised
    assert all(end < frame + 1 + lookahead + hop or end == total for frame, end in out)


def test_a_hole_is_refused() -> None:
    stitcher = Stitcher(2)
    stitcher.accept(0, scores(0, 10), last=False)
    with pytest.raises(ValueError, match="8 to 9"):
        stitcher.accept(9, scores(9, 19), last=False)
