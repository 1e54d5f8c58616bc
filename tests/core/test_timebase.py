from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pe_stream.core.timebase import SampleClock, Segment

ANCHOR_NS = 1_795_221_349_320_000_000  # 2026-11-21T00:35:49.320Z


def test_utc_and_seconds_come_from_the_anchor_and_the_sample_count() -> None:
    segment = Segment(start=96_000, anchor_ns=ANCHOR_NS)
    assert segment.utc(96_000) == "2026-11-21T00:35:49.320Z"
    assert segment.utc(96_000 + 48_000) == "2026-11-21T00:35:50.320Z"
    assert segment.seconds(96_000 + 155_520) == 3.24


def test_a_month_of_samples_adds_no_rounding() -> None:
    month = 30 * 86_400
    segment = Segment(start=0, anchor_ns=0)
    assert segment.utc_ns(month * 48_000) == month * 1_000_000_000
    assert segment.utc(month * 48_000) == "1970-01-31T00:00:00.000Z"


def test_frames_count_over_the_source_and_begin_at_the_segment() -> None:
    segment = Segment(start=1000, anchor_ns=0, first_frame=7)
    assert segment.sample(7) == 1000
    assert segment.sample(10) == 1000 + 3 * 1920


def test_between_points_time_is_straight_and_after_them_counted() -> None:
    segment = Segment(start=1000, anchor_ns=ANCHOR_NS)
    segment.clock.pass_through(49_000, ANCHOR_NS + 1_030_000_000)
    segment.clock.pass_through(97_000, ANCHOR_NS + 1_030_000_000)
    segment.clock.pass_through(97_000, ANCHOR_NS)  # it is known already
    assert segment.utc_ns(1000) == ANCHOR_NS
    assert segment.utc_ns(25_000) == ANCHOR_NS + 515_000_000
    assert segment.utc_ns(73_000) == ANCHOR_NS + 1_030_000_000
    assert segment.utc_ns(145_000) == ANCHOR_NS + 2_030_000_000
    assert segment.utc_ns(520) == ANCHOR_NS - 10_000_000


@given(st.lists(st.tuples(st.integers(1, 48_000), st.floats(-0.05, 0.05)), min_size=1, max_size=60))
def test_what_was_said_of_a_sample_stays_so(runs: list[tuple[int, float]]) -> None:
    segment = Segment(start=0, anchor_ns=ANCHOR_NS)
    sample, ns, said = 0, ANCHOR_NS, {}
    for length, part in runs:
        sample, ns = sample + length, ns + round(length / 48_000 * 1e9 * (1 + part))
        segment.clock.pass_through(sample, ns)
        assert segment.utc_ns(sample) == ns
        said[sample] = ns
    for at, known_ns in said.items():
        assert abs(segment.utc_ns(at) - known_ns) < 5_000_000
    found = [segment.utc_ns(at) for at in range(0, sample, max(1, sample // 97))]
    assert all(later >= earlier for earlier, later in pairwise(found))


@pytest.mark.parametrize("part", [0.0, 5e-5, 0.03])
def test_a_clock_of_weeks_is_small_and_right(part: float) -> None:
    clock = SampleClock()
    for second in range(1, 300_000):
        clock.pass_through(second * 48_000, round(second * 1e9 * (1 + part)))
    assert len(clock._samples) <= 4000
    at = np.arange(299_000, 299_999)
    found = [clock.utc_ns(int(second) * 48_000, 0, 0) for second in at]
    assert np.abs(np.array(found) - at * 1e9 * (1 + part)).max() < 1_000_000
