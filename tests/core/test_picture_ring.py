from __future__ import annotations

from pe_stream.core.picture_ring import FROZEN_S, CameraPicture, PictureRing

S = 48_000


def ring(*seconds: float, keep_s: float = 30.0, most_bytes: int = 10_000) -> PictureRing:
    """With a picture of 100 bytes at each of these times, each another one."""
    made = PictureRing(round(keep_s * S), most_bytes)
    for number, at_s in enumerate(seconds):
        assert made.add(picture(at_s, f"{number:0100}"))
    return made


def picture(at_s: float, what: str) -> CameraPicture:
    return CameraPicture(round(at_s * S), what.encode())


def kept(made: PictureRing, begin_s: float = 0.0, end_s: float = 1e6) -> list[float]:
    return [each.sample / S for each in made.between(round(begin_s * S), round(end_s * S))]


def test_pictures_of_a_stretch_in_their_order() -> None:
    made = ring(0.5, 1.0, 1.5, 2.0)
    assert kept(made) == [0.5, 1.0, 1.5, 2.0]
    assert kept(made, 1.0, 2.0) == [1.0, 1.5]
    assert kept(made, 3.0, 9.0) == []


def test_what_is_older_than_wanted_is_forgotten() -> None:
    assert kept(ring(*range(60))) == list(range(29, 60))


def test_of_too_many_bytes_the_oldest_are_forgotten() -> None:
    assert kept(ring(*range(20), most_bytes=500)) == [15, 16, 17, 18, 19]
    assert kept(ring(1.0, 2.0, most_bytes=99)) == []


def test_pictures_of_before_are_none() -> None:
    made = ring(1.0, 2.0)
    assert made.add(picture(1.5, "late"))
    assert made.add(picture(2.0, "twice"))
    assert kept(made) == [1.0, 2.0]


def test_a_picture_that_stands_still_is_none() -> None:
    made = ring(0.0)
    at_s = 1.0
    while at_s <= 1.0 + FROZEN_S:
        assert made.add(picture(at_s, "same"))
        at_s += 1
    assert kept(made, 5.0) == [*range(5, round(at_s))], "it may go on"
    for _ in range(3):
        assert not made.add(picture(at_s, "same"))
        at_s += 1
    assert kept(made) == [0.0, 1.0], "the first of them was seen"
    assert made.add(picture(at_s, "other"))
    assert kept(made) == [0.0, 1.0, at_s]
    assert made._bytes == sum(len(each.jpeg) for each in made.between(0, 1 << 40))
