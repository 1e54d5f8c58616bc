"""What a source may cost at most: whoever sends sound decides what is in it.

A sender that is broken or hostile then costs its own source, and no other. Rates, channels and the
length of a block are bounded where they are decoded; how much is decoded, how fast and how often it
breaks off, by buckets that outlive a connection.
"""

from __future__ import annotations

import contextlib
import ctypes
import threading
import time
from functools import cache

import av.utils

from pe_stream.core.token_bucket import TokenBucket
from pe_stream.errors import UnavailableError

LOWEST_RATE = 1_000
HIGHEST_RATE = 768_000
"""Sample rates that are taken (Hz). A block of 4096 samples at 1 Hz would be more than an hour."""

MOST_CHANNELS = 64
"""As many as `sources.NAME.channel` counts."""

LONGEST_BLOCK_S = 1.0
"""Longer blocks are cut, so that a step after decoding takes 200 kB at most."""

MOST_FRAME_BYTES = 16 * 2**20
"""Bytes of a decoded frame, over all channels, as float32."""

MOST_SILENT_BYTES = 64 * 2**20
"""Bytes that may come without any audio in them: an index, pictures, a tag."""

PATIENCE = 3
"""So many time limits may pass before there is audio: the next segment is not there at once."""

MOST_ALLOCATED = 128 * 2**20
"""Bytes that FFmpeg's libraries may allocate at once: the index of a film of a day."""

BURST_S = 30.0
"""Audio that may come at once (s): a server sends what it has stored, three segments of HLS."""

PACE = 1.25
"""After that, audio is read at most so many times as fast as it plays."""

CPU_BURST_S = 5.0
"""CPU time that a live source may take at once (s): opening one looks into several tracks."""

CPU_SHARE = 0.3
"""After that, the part of a core that it may take for reading, decoding and resampling."""

FILE_CPU_BURST_S = 30.0
FILE_CPU_PER_S = 3.0
"""The same for a recording: CPU time (s), and more of it for every second that it plays."""

PICTURE_CPU_BURST_S = 5.0
PICTURE_CPU_SHARE = 0.5
"""The same for a live source's picture, beside its sound: what decoding takes at once (s), and the
part of a core after that."""

PICTURE_BEHIND_S = 5.0
"""So long (s) a picture may wait to be decoded: on a busy machine CPU time alone says little."""

PICTURE_REST_S = 30.0
"""A picture that takes more, or waits longer, is left alone for so long (s)."""

BREAKS = 20
BREAKS_PER_S = 2.0
"""New segments at once, and in a second: each closes events, and is scored on its own."""


class TooCostlyError(UnavailableError):
    """A source takes more than it may: it is stopped, and tried again after a long pause."""


class LiveLimits:
    """What one live source has left, over all its connections; used by one connection at a time."""

    def __init__(self) -> None:
        """Begin with everything left."""
        now_s = time.monotonic()
        self._audio = TokenBucket(BURST_S, PACE, now_s)
        self._cpu = TokenBucket(CPU_BURST_S, CPU_SHARE, now_s)
        self._breaks = TokenBucket(BREAKS, BREAKS_PER_S, now_s)

    def ahead_s(self, audio_s: float) -> float:
        """How long (s) to wait, after `audio_s` of audio, before more of it is read."""
        return self._audio.spend(audio_s, time.monotonic())

    def spend_cpu(self, cpu_s: float) -> None:
        """Count CPU time (s); raises TooCostlyError where that is more than there is."""
        if self._cpu.spend(cpu_s, time.monotonic()):
            raise TooCostlyError(
                f"too expensive to decode: it takes more than {CPU_SHARE:.0%} of a processor core"
            )

    def spend_break(self) -> None:
        """Count a new segment; raises TooCostlyError where there are too many."""
        if self._breaks.spend(1, time.monotonic()):
            raise TooCostlyError("its formats change again and again")


class PictureLimits:
    """What the picture of a live source has left, over all its connections; from any thread."""

    def __init__(self) -> None:
        """Begin with everything left."""
        self._lock = threading.Lock()  # guards what follows
        self._cpu = TokenBucket(PICTURE_CPU_BURST_S, PICTURE_CPU_SHARE, time.monotonic())
        self._until_s = 0.0
        self._why = ""

    def reason(self, now_s: float) -> str | None:
        """Why nothing may be decoded at present (monotonic), in words; None where it may."""
        with self._lock:
            if now_s >= self._until_s:
                return None
            return (
                f"too expensive to decode: {self._why}; a smaller one as picture.url, or "
                "picture.keyframes, takes less"
            )

    def spend(self, cpu_s: float, now_s: float) -> None:
        """Count CPU time (s); where that is more than there is, nothing is left for a while."""
        with self._lock:
            wait_s = self._cpu.spend(cpu_s, now_s)
            if wait_s:
                self._rest(
                    f"it takes more than {PICTURE_CPU_SHARE:.0%} of a processor core",
                    now_s + max(PICTURE_REST_S, wait_s),
                )

    def fall_behind(self, now_s: float) -> None:
        """Decoding is later than it may be: nothing is left for a while."""
        with self._lock:
            self._rest("it falls behind the sound", now_s + PICTURE_REST_S)

    def _rest(self, why: str, until_s: float) -> None:
        if until_s > self._until_s:
            self._why, self._until_s = why, until_s


class SilenceLimits:
    """What a connection may send, and how long, with no audio in it. One thread's, but `closed`."""

    def __init__(
        self, timeout_s: float, closed: threading.Event | None = None, what: str = "audio"
    ) -> None:
        """timeout_s: of every read. closed: set where nobody waits any more. what: is awaited."""
        self._what = what
        self._timeout_s = timeout_s
        self._closed = closed
        self.heard()

    def heard(self) -> None:
        """Audio was decoded of what came, or it is read on after a pause."""
        self._bytes = 0
        self._due_s = time.monotonic() + PATIENCE * self._timeout_s

    def spend(self, size: int) -> None:
        """Count bytes that came, or were asked for.

        Raises UnavailableError where no audio came of them for too long, or none is waited for, and
        TooCostlyError where none is in so many.
        """
        self._bytes += size
        if self._bytes > MOST_SILENT_BYTES:
            raise TooCostlyError(f"no {self._what} in {MOST_SILENT_BYTES >> 20} MB of it")
        if time.monotonic() > self._due_s or (self._closed is not None and self._closed.is_set()):
            raise UnavailableError(f"no {self._what} within the time limit")


class FileLimits:
    """What a recording has left: it is read as fast as it can be, so its own time is the clock."""

    def __init__(self) -> None:
        """Begin with everything left."""
        self._cpu = TokenBucket(FILE_CPU_BURST_S, FILE_CPU_PER_S)
        self._audio_s = 0.0

    def spend_cpu(self, cpu_s: float, audio_s: float) -> None:
        """Count CPU time that brought `audio_s` of audio; raises TooCostlyError."""
        self._audio_s += audio_s
        if self._cpu.spend(cpu_s, self._audio_s):
            raise TooCostlyError(
                f"too expensive to decode: it takes more than {FILE_CPU_PER_S:g} s of a processor "
                "core for a second of audio"
            )


def check_format(rate: float, channels: int) -> None:
    """Raise UnavailableError for a sample rate (Hz) or a number of channels that is not taken."""
    if not LOWEST_RATE <= rate <= HIGHEST_RATE:
        raise UnavailableError(
            f"a sample rate of {rate:.10g} Hz; {LOWEST_RATE // 1000} kHz to "
            f"{HIGHEST_RATE // 1000} kHz can be read"
        )
    if not 1 <= channels <= MOST_CHANNELS:
        raise UnavailableError(f"{channels} channels; 1 to {MOST_CHANNELS} can be read")


@cache
def bound_allocations() -> None:
    """Have FFmpeg's libraries refuse to allocate more than MOST_ALLOCATED at once.

    PyAV has no call for `av_max_alloc`; the module's library brings it. Where it cannot be found,
    the other limits remain.
    """
    with contextlib.suppress(OSError, AttributeError):
        av_max_alloc = ctypes.CDLL(av.utils.__file__).av_max_alloc
        av_max_alloc.argtypes, av_max_alloc.restype = [ctypes.c_size_t], None
        av_max_alloc(MOST_ALLOCATED)
