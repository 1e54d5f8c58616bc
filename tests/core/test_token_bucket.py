"""An allowance that comes back with time."""

from __future__ import annotations

from pe_stream.core.token_bucket import TokenBucket


def test_a_bucket_is_full_at_first_and_refills_with_its_clock() -> None:
    bucket = TokenBucket(10, 2, now_s=100)
    assert bucket.spend(10, 100) == 0
    assert bucket.spend(4, 100) == 2  # 4 too much, at 2 a second
    assert bucket.spend(0, 101) == 1
    assert bucket.spend(0, 102) == 0
    assert bucket.spend(1, 102) == 0.5
    assert bucket.spend(10, 200) == 0  # no more than it holds
    assert bucket.spend(0.5, 200) == 0.25


def test_a_bucket_says_what_it_has_and_keeps_it() -> None:
    bucket = TokenBucket(2, 1)
    assert bucket.is_full(0)
    assert bucket.has(2, 0)
    assert bucket.has(2, 0)
    bucket.spend(2, 0)
    assert not bucket.has(1, 0.9)
    assert bucket.has(1, 1)
    assert not bucket.is_full(1.9)
    assert bucket.is_full(2)
