import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pe_stream.core.ring import NotYetError, OverwrittenError, Ring


def test_reads_back_what_was_appended_and_tells_gone_from_to_come() -> None:
    ring = Ring(10)
    ring.restart(100)
    ring.append(np.arange(100, 107, dtype=np.float32))
    assert ring.read(102, 107).tolist() == [102, 103, 104, 105, 106]
    with pytest.raises(NotYetError, match="up to 108"):
        ring.read(102, 108)
    with pytest.raises(OverwrittenError, match="from 99"):
        ring.read(99, 103)
    ring.append(np.arange(107, 120, dtype=np.float32))
    assert (ring.start, ring.end) == (110, 120)
    with pytest.raises(OverwrittenError):
        ring.read(109, 112)
    assert ring.read(110, 120).tolist() == list(range(110, 120))


@given(
    capacity=st.integers(1, 50),
    begin=st.integers(0, 1000),
    sizes=st.lists(st.integers(0, 70), max_size=12),
)
def test_equals_a_list_that_keeps_everything(capacity: int, begin: int, sizes: list[int]) -> None:
    ring = Ring(capacity)
    ring.restart(begin)
    everything: list[float] = []
    for size in sizes:
        new = np.arange(len(everything), len(everything) + size, dtype=np.float32)
        ring.append(new)
        everything += new.tolist()
        assert ring.end == begin + len(everything)
        assert ring.start == begin + max(0, len(everything) - capacity)
        held = ring.read(ring.start, ring.end)
        assert held.tolist() == everything[ring.start - begin :]
