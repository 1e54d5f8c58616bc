"""Decoding the picture that comes with sound, on a thread of its own: sound never waits for it."""

from __future__ import annotations

import queue
import threading
import time
from collections import deque
from collections.abc import Callable
from typing import Any, NamedTuple

from av.packet import Packet

from pe_stream.audio.limits import PICTURE_BEHIND_S
from pe_stream.audio.picture_decoder import PictureDecoder, TakenPicture
from pe_stream.config.worker import Worker
from pe_stream.core.picture_clock import PictureClock

_MOST_BYTES = 16 * 2**20
"""Of packets that wait to be decoded: three seconds of 40 Mbit/s."""

_MOST_TAKEN = 64
"""Pictures that wait for their sound to be numbered; more are dropped, newest first."""


class _Came(NamedTuple):
    """A packet, when it came (monotonic), and the sound by then; see `PictureClock.hear`."""

    packet: Packet[Any]
    at_s: float
    heard: tuple[float, float | None] | None


class PictureThread:
    """The picture of one connection, beside its sound.

    `hear`, `take`, `finish` and `leave` are of the thread that decodes the sound, and return at
    once, but for `finish`. taken: what is to be kept, oldest first, placed as the sound is counted
    (s); whoever numbers the sound removes it.
    """

    def __init__(self, decoder: PictureDecoder, failed: Callable[[BaseException], None]) -> None:
        """Begin. failed: called on the thread with what ended it, which is an error of ours.

        Raises UnavailableError where the system has no thread.
        """
        self._decoder = decoder
        self._clock = PictureClock()
        self._heard: tuple[float, float | None] | None = None
        # Bounded by _MOST_BYTES, counted by each thread for itself: beyond, the newest is dropped,
        # and pictures rest. None: no more comes.
        self._came: queue.SimpleQueue[_Came | None] = queue.SimpleQueue()
        self._put_bytes = self._got_bytes = 0
        # Bounded by _MOST_TAKEN: beyond, the newest is dropped.
        self.taken: deque[TakenPicture] = deque()
        self._left = threading.Event()
        self._worker = Worker("picture", self._work, failed)
        self._worker.start()

    def hear(self, heard_s: float, stamp_s: float | None) -> None:
        """So much sound has come; see `decode.OtherTracks`."""
        self._heard = heard_s, stamp_s

    def take(self, packet: Packet[Any]) -> None:
        """A packet of any track but the sound's has come."""
        if not self._worker.running or not self._decoder.owns(packet):
            return
        if self._put_bytes - self._got_bytes + packet.size > _MOST_BYTES:
            self._decoder.fall_behind()
            return
        self._put_bytes += packet.size
        self._came.put(_Came(packet, time.monotonic(), self._heard))

    def finish(self, timeout_s: float) -> None:
        """No more comes: wait for what has come, but no longer than that (s)."""
        self._came.put(None)
        self._worker.join(timeout_s)

    def leave(self) -> None:
        """Nobody wants what has come; a picture that is being decoded is left to its thread."""
        self._left.set()
        self._came.put(None)

    def _work(self) -> None:
        while (came := self._came.get()) is not None and not self._left.is_set():
            self._got_bytes += came.packet.size
            if time.monotonic() - came.at_s > PICTURE_BEHIND_S:
                self._decoder.fall_behind()
            if came.heard is not None:
                self._clock.hear(*came.heard)
            self._decode(came.packet)

    def _decode(self, packet: Packet[Any]) -> None:
        for frame in self._decoder.frames(packet):
            stamp_s = frame.time if frame.pts is not None else None
            position_s = self._clock.position_s(stamp_s)
            if position_s is None or len(self.taken) >= _MOST_TAKEN:
                continue
            if (taken := self._decoder.taken(frame, position_s)) is not None:
                self.taken.append(taken)
