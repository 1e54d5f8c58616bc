"""The moving picture of a film, of which a stretch is read at a time, a few pictures a second.

Whoever made the film is not trusted: only decoders of moving pictures run, on pictures of a bounded
size, and what they cost is counted. What is wrong with the picture is told once, and is no reason
to leave the sound unheard.
"""

from __future__ import annotations

import math
import time
from collections.abc import Iterator
from dataclasses import dataclass

import av.error
import numpy as np
from av.container import InputContainer
from av.packet import Packet
from av.video.frame import VideoFrame
from av.video.stream import VideoStream
from numpy.typing import NDArray

from pe_stream.audio.container_options import picture_options
from pe_stream.audio.decode import reason
from pe_stream.audio.limits import FileLimits
from pe_stream.audio.opening import open_container
from pe_stream.audio.picture_track import MOST_PIXELS, NoPictureError, moving_picture
from pe_stream.errors import UnavailableError

_LONGEST_STEP_S = 10.0
"""A longer step between two pictures is no time in which decoding may be paid for."""

_BACK_S = (0.0, 2.0, 10.0, 60.0, math.inf)
"""How far before a stretch is looked for a picture to begin with, one after the other (s)."""


@dataclass(frozen=True, slots=True, eq=False)
class FilmPicture:
    """A picture, upright. time_s: on the film's clock (s); rgb: (height, width, 3)."""

    time_s: float
    rgb: NDArray[np.uint8]


class Film:
    """An open film; single-threaded. path: what errors call it.

    start_s: when the picture begins, on the film's clock; duration_s: of the film, as far as known.
    """

    def __init__(self, path: str) -> None:
        """Open it. Raises NoPictureError, and UnavailableError where the file cannot be read."""
        self.path = path
        self._limits = FileLimits()
        self._container, self._stream = self._open()
        base = self._stream.time_base
        start = self._stream.start_time
        self.start_s = float(start * base) if start is not None and base is not None else 0.0
        length = self._container.duration
        self.duration_s = None if length is None else length / 1_000_000

    def close(self) -> None:
        """Close the file."""
        self._container.close()

    def between(self, begin_s: float, end_s: float, per_second: float) -> Iterator[FilmPicture]:
        """The pictures from `begin_s` up to `end_s`, on the film's clock, in order.

        Of each 1 / per_second of the film, counted from its beginning, the first one: so another
        stretch has the same ones. Where there is none, the one that is still shown then, if any.
        Raises NoPictureError where none can be decoded, TooCostlyError where that takes too long.
        """
        from_s = min(begin_s, self.start_s + self._slot(begin_s, per_second) / per_second)
        before: VideoFrame | None = None
        last_slot: int | None = None
        some = False
        for frame, time_s in self._from(from_s):
            if time_s >= end_s:
                break
            slot = self._slot(time_s, per_second)
            if time_s < begin_s:
                before = frame
                last_slot = slot if time_s >= from_s else None
            elif last_slot is None or slot > last_slot:  # some files' stamps go back
                last_slot, some = slot, True
                yield self._picture(frame, time_s)
        if not some and before is not None and before.time is not None:
            yield self._picture(before, before.time)

    def _slot(self, time_s: float, per_second: float) -> int:
        # A little more, as stamps are rounded down to the container's own unit.
        return math.floor((time_s - self.start_s) * per_second + 1e-3)

    def _from(self, time_s: float) -> Iterator[tuple[VideoFrame, float]]:
        """The pictures from the last one at or before `time_s` on, or an earlier one."""
        timed: Iterator[tuple[VideoFrame, float]] = iter(())
        for back_s in _BACK_S:
            everything = time_s - back_s <= self.start_s
            self._seek(None if everything else time_s - back_s)
            timed = ((each, each.time) for each in self._frames() if each.time is not None)
            first = next(timed, None)
            if first is not None and (everything or first[1] <= time_s):
                yield first
                break
        yield from timed

    def _picture(self, frame: VideoFrame, time_s: float) -> FilmPicture:
        if frame.width * frame.height > MOST_PIXELS:
            raise NoPictureError(f"{self.path}: pictures of {frame.width} x {frame.height}")
        begun_s = time.thread_time()
        rgb = frame.to_ndarray(format="rgb24")
        self._spend(time.thread_time() - begun_s, 0.0)
        turns = round(frame.rotation / 90) % 4
        return FilmPicture(time_s, np.rot90(rgb, turns))

    def _open(self) -> tuple[InputContainer, VideoStream]:
        container = open_container(self.path, None, picture_options(), self._limits.spend_cpu)
        try:
            stream = moving_picture(container)
        except NoPictureError as error:
            container.close()
            raise NoPictureError(f"{self.path}: {error}") from None
        return container, stream

    def _seek(self, time_s: float | None) -> None:
        """Go to a picture, from which on others can be decoded, at or before that time."""
        base = self._stream.time_base
        try:
            if time_s is not None and base is not None:
                self._container.seek(math.floor(time_s / base), stream=self._stream)
                return
        except (av.error.FFmpegError, OverflowError):
            pass  # it cannot be done in this format: from the beginning, then
        self._container.close()
        self._container, self._stream = self._open()

    def _frames(self) -> Iterator[VideoFrame]:
        """Pictures as they come; those that are damaged are left out. Counts what it takes."""
        packets = self._container.demux(self._stream)
        last_s: float | None = None
        more = True
        while more:
            begun_s = time.thread_time()
            frames: list[VideoFrame] = []
            try:
                packet = next(packets, None)
                more = packet is not None
                if packet is not None:
                    frames = self._decoded(packet)
            except (av.error.InvalidDataError, av.error.EOFError):
                more = False  # the file ends here, in the middle of something
            except av.error.FFmpegError as error:
                raise NoPictureError(f"{self.path}: its picture: {reason(error)}") from None
            new_s = frames[-1].time if frames else None
            step_s = 0.0 if new_s is None or last_s is None else new_s - last_s
            last_s = last_s if new_s is None else new_s
            self._spend(time.thread_time() - begun_s, min(max(step_s, 0.0), _LONGEST_STEP_S))
            yield from frames

    def _decoded(self, packet: Packet[VideoStream]) -> list[VideoFrame]:
        try:
            return self._stream.decode(packet)
        except av.error.FFmpegError:  # damaged, or of a picture that began before
            return []

    def _spend(self, cpu_s: float, film_s: float) -> None:
        try:
            self._limits.spend_cpu(cpu_s, film_s)
        except UnavailableError as error:
            raise type(error)(f"{self.path}: its picture: {error}") from None
