from pe_stream.core.timebase import Segment

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
