"""Decoding a camera's picture as it comes, as far as pictures of it are kept.

A fault of the picture is a reason to have none, and nothing else: nothing here raises because of
what a camera sends, and what decoding takes is bounded.
"""

from __future__ import annotations

import time
from typing import Any, NamedTuple

import av.error
from av.container import InputContainer
from av.packet import Packet
from av.video.frame import VideoFrame
from av.video.stream import VideoStream

from pe_stream.audio.limits import PictureLimits
from pe_stream.audio.picture_track import MOST_PIXELS, NoPictureError, moving_picture
from pe_stream.audio.still import to_jpeg
from pe_stream.core.picture_clock import PicturePace

NO_KEY = "no picture that stands for itself (key frame) has come yet"


class TakenPicture(NamedTuple):
    """A picture that is to be kept: when it was made, on whoever's clock that placed it (s)."""

    time_s: float
    jpeg: bytes


class FrameRate:
    """Of what a camera sends, by what it says, or by how pictures come."""

    def __init__(self) -> None:
        """Begin with none."""
        self._first_s = self._last_s = 0.0
        self._count = 0

    def count(self, at_s: float) -> None:
        """A picture has come (monotonic)."""
        self._last_s = at_s
        if not self._count:
            self._first_s = at_s
        self._count += 1

    @property
    def fps(self) -> float | None:
        """Pictures a second; None before a second has passed."""
        passed_s = self._last_s - self._first_s
        return round((self._count - 1) / passed_s, 1) if passed_s >= 1 else None


class PictureDecoder:
    """The picture of one connection; one thread's, but what is said of it and `fall_behind`.

    damaged: packets that could not be decoded. size: (width, height) of the latest picture.
    """

    def __init__(
        self, container: InputContainer, limits: PictureLimits, fps: float, *, keyframes: bool
    ) -> None:
        """Look for the picture in a container.

        limits: what the camera has left, over all its connections. fps: pictures that are taken a
        second. keyframes: only those that stand for themselves are decoded.
        """
        self._reason: str | None = NO_KEY
        self.damaged = 0
        self.size: tuple[int, int] | None = None
        self._limits, self._keyframes = limits, keyframes
        self._pace = PicturePace(fps)
        self._rate = FrameRate()
        self._waits_for_key = True
        self._stream: VideoStream | None = None
        try:
            self._stream = moving_picture(container)
        except NoPictureError as error:
            self._reason = str(error)

    @property
    def reason(self) -> str | None:
        """Why none comes, in words; None while pictures do."""
        return self._limits.reason(time.monotonic()) or self._reason

    @property
    def codec(self) -> str | None:
        """FFmpeg's name of it."""
        return None if self._stream is None else self._stream.codec_context.name

    @property
    def fps(self) -> float | None:
        """What comes, pictures a second."""
        return self._rate.fps

    def owns(self, packet: Packet[Any]) -> bool:
        """Whether a packet is of the picture."""
        return self._stream is not None and packet.stream.index == self._stream.index

    def frames(self, packet: Packet[Any]) -> list[VideoFrame]:
        """What a packet of the picture completes; counted, and never raises."""
        stream = self._stream
        if stream is None or not packet.size:
            return []
        self._rate.count(time.monotonic())
        if self._limits.reason(time.monotonic()) is not None:
            self._waits_for_key = True
            return []
        if (self._waits_for_key or self._keyframes) and not packet.is_keyframe:
            return []
        begun_s = time.thread_time()
        try:
            frames = self._decoded(stream, packet)
        finally:
            self._spend(begun_s)
        return [each for each in frames if self._is_picture(each)]

    def fall_behind(self) -> None:
        """Packets wait too long, or too many do: they are left alone; from any thread."""
        self._limits.fall_behind(time.monotonic())

    def taken(self, frame: VideoFrame, time_s: float) -> TakenPicture | None:
        """A picture that was decoded, made at `time_s`, where it is to be kept."""
        if not self._pace.takes(time_s):
            return None
        begun_s = time.thread_time()
        try:
            return TakenPicture(time_s, to_jpeg(frame))
        except (av.error.FFmpegError, ValueError, MemoryError) as error:
            self._reason = f"it cannot be converted: {error}"
            return None
        finally:
            self._spend(begun_s)

    def _decoded(self, stream: VideoStream, packet: Packet[Any]) -> list[VideoFrame]:
        context = stream.codec_context
        try:
            if self._waits_for_key:
                context.flush_buffers()
            frames = context.decode(packet)
            if self._keyframes:  # else each would come with the next one
                late = context.decode(None)
                context.flush_buffers()
                for each in late:
                    each.time_base = packet.time_base  # they have none
                frames += late
        except (av.error.FFmpegError, ValueError, MemoryError):
            self.damaged += 1
            return []
        self._waits_for_key = False
        return frames

    def _is_picture(self, frame: VideoFrame) -> bool:
        if frame.is_corrupt:
            return False
        if frame.width * frame.height > MOST_PIXELS:
            self._reason = f"pictures of {frame.width} x {frame.height} are too large"
            return False
        self.size = frame.width, frame.height
        self._reason = None
        return True

    def _spend(self, begun_s: float) -> None:
        self._limits.spend(time.thread_time() - begun_s, time.monotonic())
