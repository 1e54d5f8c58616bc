"""What a source may cost: the buckets, formats and allocations."""

from __future__ import annotations

import ctypes
import time

import av.utils
import pytest

from pe_stream.audio import limits
from pe_stream.audio.limits import (
    FileLimits,
    LiveLimits,
    PictureLimits,
    TooCostlyError,
    bound_allocations,
    check_format,
)
from pe_stream.errors import UnavailableError


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    now_s = [1000.0]
    monkeypatch.setattr(time, "monotonic", lambda: now_s[0])
    return now_s


def test_stored_audio_comes_at_once_and_what_follows_as_it_plays(clock: list[float]) -> None:
    source = LiveLimits()
    assert source.ahead_s(limits.BURST_S) == 0
    assert source.ahead_s(1.0) == pytest.approx(1 / limits.PACE)
    for _ in range(100_000):  # a clock that runs 1 % fast never has to wait
        clock[0] += 1.0
        assert source.ahead_s(1.01) < 1.0
    assert source.ahead_s(0) == 0


def test_cpu_time_over_connections_is_what_counts(clock: list[float]) -> None:
    source = LiveLimits()
    source.spend_cpu(limits.CPU_BURST_S)
    with pytest.raises(TooCostlyError, match="30% of a processor core"):
        source.spend_cpu(0.1)
    clock[0] += 0.1 / limits.CPU_SHARE + 0.01
    source.spend_cpu(0.0)
    for _ in range(1000):
        clock[0] += 1.0
        source.spend_cpu(limits.CPU_SHARE)


def test_a_picture_that_takes_too_much_is_left_alone_for_a_while(clock: list[float]) -> None:
    picture = PictureLimits()
    picture.spend(limits.PICTURE_CPU_BURST_S, clock[0])
    assert picture.reason(clock[0]) is None
    picture.spend(0.1, clock[0])
    assert "50% of a processor core; a smaller one as picture.url" in str(picture.reason(clock[0]))
    assert picture.reason(clock[0] + limits.PICTURE_REST_S - 0.1) is not None
    clock[0] += limits.PICTURE_REST_S
    assert picture.reason(clock[0]) is None
    for _ in range(1000):
        clock[0] += 1.0
        picture.spend(limits.PICTURE_CPU_SHARE, clock[0])
    assert picture.reason(clock[0]) is None


def test_a_picture_that_falls_behind_is_left_alone_whatever_it_takes(clock: list[float]) -> None:
    picture = PictureLimits()
    picture.fall_behind(clock[0])
    assert "too expensive to decode: it falls behind the sound;" in str(picture.reason(clock[0]))
    assert picture.reason(clock[0] + limits.PICTURE_REST_S) is None


def test_the_longer_rest_of_a_picture_counts(clock: list[float]) -> None:
    picture = PictureLimits()
    picture.spend(limits.PICTURE_CPU_BURST_S + 60, clock[0])
    picture.fall_behind(clock[0])
    assert "processor core" in str(picture.reason(clock[0] + 119))
    assert picture.reason(clock[0] + 120) is None


def test_a_source_may_break_off_now_and_then(clock: list[float]) -> None:
    source = LiveLimits()
    for _ in range(limits.BREAKS):
        source.spend_break()
    with pytest.raises(TooCostlyError, match="again and again"):
        source.spend_break()
    clock[0] += 2 / limits.BREAKS_PER_S + 0.01
    source.spend_break()


def test_a_camera_whose_stamps_jump_every_second_goes_on(clock: list[float]) -> None:
    source = LiveLimits()
    for _ in range(3600):
        clock[0] += 1.0
        source.spend_break()


def test_a_source_that_breaks_off_all_the_time_is_stopped(clock: list[float]) -> None:
    source = LiveLimits()

    def broken_off() -> None:
        for _ in range(100):
            clock[0] += 0.25
            source.spend_break()

    with pytest.raises(TooCostlyError, match="again and again"):
        broken_off()


def test_a_recording_has_its_own_time_for_a_clock() -> None:
    recording = FileLimits()
    for _ in range(1000):
        recording.spend_cpu(limits.FILE_CPU_PER_S * 0.02, 0.02)
    recording.spend_cpu(limits.FILE_CPU_BURST_S - 0.1, 0.0)
    with pytest.raises(TooCostlyError, match="for a second of audio"):
        recording.spend_cpu(0.1, 0.0)


@pytest.mark.parametrize(("rate", "channels"), [(1000, 1), (768_000, 64), (44_100, 2)])
def test_formats_that_are_taken(rate: int, channels: int) -> None:
    check_format(rate, channels)


@pytest.mark.parametrize(
    ("rate", "channels", "said"),
    [
        (999, 1, "a sample rate of 999 Hz; 1 kHz to 768 kHz can be read"),
        (1, 1, "a sample rate of 1 Hz"),
        (768_001, 1, "a sample rate of 768001 Hz"),
        (48_000, 65, "65 channels; 1 to 64 can be read"),
        (48_000, 0, "0 channels"),
    ],
)
def test_formats_that_are_not(rate: int, channels: int, said: str) -> None:
    with pytest.raises(UnavailableError, match=said):
        check_format(rate, channels)


def test_ffmpeg_allocates_no_more_than_it_may() -> None:
    bound_allocations()
    library = ctypes.CDLL(av.utils.__file__)
    library.av_malloc.restype, library.av_malloc.argtypes = ctypes.c_void_p, [ctypes.c_size_t]
    library.av_free.argtypes = [ctypes.c_void_p]
    some = library.av_malloc(limits.MOST_ALLOCATED - 4096)
    assert some is not None
    library.av_free(some)
    assert library.av_malloc(limits.MOST_ALLOCATED + 1) is None
