"""Decoding with FFmpeg's libraries (PyAV): a file or URL becomes blocks of float samples.

Encoder delay (MP3, AAC, Opus) is skipped by the decoders themselves. What FFmpeg logs stays
with FFmpeg: PyAV is silent unless asked, and what matters is raised or counted here.
"""

from __future__ import annotations

import logging
import math
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import chain
from typing import Any, Protocol

import av.error
import numpy as np
from av.audio.frame import AudioFrame, format_dtypes
from av.audio.stream import AudioStream
from av.container import InputContainer
from av.packet import Packet
from numpy.typing import NDArray

from pe_stream.audio.hls import HlsTimes
from pe_stream.audio.limits import (
    LONGEST_BLOCK_S,
    MOST_FRAME_BYTES,
    check_format,
)
from pe_stream.audio.pcm import to_float
from pe_stream.audio.rtsp import RtspWay
from pe_stream.core.words import visible
from pe_stream.errors import UnavailableError

log = logging.getLogger(__name__)


class NoTrackError(UnavailableError):
    """There is no sound in it, or not the track that is wanted."""


@dataclass(frozen=True, slots=True)
class Block:
    """Decoded audio as it comes.

    planes: (channels, n) float32, at most LONGEST_BLOCK_S; rate: samples per second; time_s:
    presentation time of the first sample on the container's clock, None where it has none; sent_s:
    the same in UTC (s), where the sender says so.
    """

    planes: NDArray[np.float32]
    rate: float
    time_s: float | None
    sent_s: float | None = None

    @property
    def duration_s(self) -> float:
        """Length (s)."""
        return float(self.planes.shape[1] / self.rate)


class OtherTracks(Protocol):
    """Who wants what comes beside the sound, in the same container; on the decoder's thread.

    Nothing raises because of what is in it, and nothing takes long: the sound waits meanwhile.
    """

    def begin(self, container: InputContainer) -> None:
        """It was opened; what came of another one before is over."""

    def hear(self, heard_s: float, stamp_s: float | None) -> None:
        """So much sound has come in all (s); stamp_s: of its end, on the container's clock."""

    def take(self, packet: Packet[Any]) -> None:
        """A packet of another track has come."""


class Decoder:
    """An open container and the audio track that FFmpeg takes for the best one.

    name: what errors and warnings call it. way: how it was asked for, of a camera. damaged: packets
    skipped so far. duration_s: length (s) that the container states. recorded: whether it has a
    length at all, however long: it is no live stream then. picture_start_s: when the moving picture
    of a film begins, on the container's clock (s).
    """

    def __init__(
        self,
        container: InputContainer,
        name: str,
        *,
        spend: Callable[[float, float], None] = lambda _cpu_s, _audio_s: None,
        heard: Callable[[], None] = lambda: None,
        came: Callable[[int], None] = lambda _size: None,
        recorded: bool = False,
        times: HlsTimes | None = None,
        track: int | None = None,
        others: OtherTracks | None = None,
    ) -> None:
        """spend: told of CPU time and the audio it brought (s), after every packet and frame.

        heard: told whenever audio was decoded, when that was taken, and when no more comes. came:
        told of the bytes of every packet, whatever is in it. All three may raise UnavailableError,
        also for what FFmpeg does not tell of. recorded: known also where no duration is stated.
        times: of the segments that it consists of. track: the audio track to take, from 0, instead
        of the best one. others: told of what else is in the container; default: it is thrown away.

        Raises UnavailableError without that audio track, and for a format that is not taken.
        """
        self.container = container
        self.name = name
        self.way: RtspWay | None = None
        self.damaged = 0
        self._begun: Iterator[Block] | None = None
        self._spend, self._heard, self._came = spend, heard, came
        self._times = times
        self.stream = stream = self._stream(track)
        found = stream.codec_context
        found.thread_count = 1  # the caller's own, whose CPU time is counted
        if found.sample_rate and found.layout.nb_channels:  # some are known with the first frame
            self._check(found.sample_rate, found.layout.nb_channels)
        self.duration_s = _duration_s(container, stream)
        self.recorded = recorded or bool(self.duration_s)
        self.picture_start_s = _picture_start_s(container)
        self._others, self._read_s = others, 0.0
        if others is not None:
            others.begin(container)

    @property
    def batch_s(self) -> float:
        """Audio that the sender makes available together (s), as far as is known."""
        return 0.0 if self._times is None else self._times.target_s

    def blocks(self) -> Iterator[Block]:
        """Everything the track holds, once; damaged packets are skipped and counted.

        Raises UnavailableError where reading fails, or where nothing can be decoded.
        """
        return self._read() if self._begun is None else self._begun

    def wait_for_sound(self) -> None:
        """Return once there is some; raises UnavailableError as `blocks` does, and at the end."""
        blocks = self._read()
        first = next(blocks, None)
        if first is None:
            raise UnavailableError(f"{self.name}: it ended without any sound")
        self._begun = chain([first], blocks)

    def _stream(self, track: int | None) -> AudioStream:
        tracks = self.container.streams.audio
        stream = self.container.streams.best("audio")
        why = "it has no audio track"
        if isinstance(stream, AudioStream):
            if track is None:
                return stream
            if track < len(tracks):
                return tracks[track]
            why = f"there is no audio track {track}; it has {len(tracks)}, counted from 0"
        self.container.close()
        raise NoTrackError(f"{self.name}: {why}")

    def _read(self) -> Iterator[Block]:
        decoded = False
        with self.container:
            frames = self._frames()
            while (frame := self._next(frames)) is not None:
                decoded = True
                yield from self._blocks(frame)
        if self.damaged and not decoded:
            raise UnavailableError(f"{self.name}: none of its audio can be decoded")
        if self.damaged:
            log.warning("%s: skipped %d damaged packets", visible(self.name), self.damaged)

    def _next(self, frames: Iterator[AudioFrame | None]) -> AudioFrame | None:
        """The next frame, None at the end; what it took is counted, also where nothing came."""
        while True:
            begun_s = time.thread_time()
            try:
                frame = next(frames, _END)
            except UnavailableError as error:
                raise self._named(error) from None
            audio_s = 0.0
            if isinstance(frame, AudioFrame) and frame.sample_rate > 0:
                audio_s = frame.samples / frame.sample_rate
            try:
                self._spend(time.thread_time() - begun_s, audio_s)
            except UnavailableError as error:
                raise self._named(error) from None
            if isinstance(frame, AudioFrame):
                return frame
            if frame is _END:
                return None

    def _frames(self) -> Iterator[AudioFrame | None]:
        """The frames of each packet; None after a packet, of which nothing may have come.

        Those of other tracks come too: without them PyAV reads on, uncounted.
        """
        packets = self.container.demux()
        while True:
            try:
                packet = next(packets, None)
                if packet is None:
                    self._heard()
                    return
            except av.error.InvalidDataError:
                self.damaged += 1
                return
            except av.error.FFmpegError as error:
                self._heard()
                raise UnavailableError(reason(error)) from None
            self._came(packet.size)
            if packet.stream.index != self.stream.index:
                if self._others is not None:
                    self._others.take(packet)
                yield None
                continue
            try:
                for frame in self.stream.decode(packet):
                    self._heard()
                    yield frame
                    self._heard()
            except av.error.FFmpegError:
                self.damaged += 1
            yield None

    def _check(self, rate: float, channels: int) -> None:
        try:
            check_format(rate, channels)
        except UnavailableError as error:
            self.container.close()
            raise self._named(error) from None

    def _named(self, error: UnavailableError) -> UnavailableError:
        return type(error)(f"{self.name}: {error}")

    def _blocks(self, frame: AudioFrame) -> Iterator[Block]:
        """A frame, in pieces of LONGEST_BLOCK_S."""
        channels, rate = frame.layout.nb_channels, frame.sample_rate
        self._check(rate, channels)
        if frame.samples * channels * 4 > MOST_FRAME_BYTES:
            raise UnavailableError(
                f"{self.name}: {frame.samples} samples of {channels} channels at once are too many"
            )
        if frame.format.name not in format_dtypes:
            raise UnavailableError(
                f"{self.name}: samples of format {frame.format.name} cannot be read; "
                "convert it, for example to 32-bit float WAV"
            )
        array = frame.to_ndarray()
        if not frame.format.is_planar:
            array = array.reshape(-1, channels).T
        time_s = frame.time if frame.pts is not None else None
        size = math.ceil(rate * LONGEST_BLOCK_S)
        for start in range(0, array.shape[1], size):
            piece = array[:, start : start + size]
            at_s = None if time_s is None else time_s + start / rate
            sent_s = None if at_s is None or self._times is None else self._times.utc_of(at_s)
            block = Block(to_float(piece), rate, at_s, sent_s)
            if self._others is not None:
                self._read_s += block.duration_s
                self._others.hear(self._read_s, None if at_s is None else at_s + block.duration_s)
            yield block


_END = object()
"""No more frames come."""


def reason(error: Exception) -> str:
    """What FFmpeg's error says, without the address."""
    if isinstance(error, av.error.ExitError):  # how PyAV's time limit shows
        return "no answer within the time limit"
    return getattr(error, "strerror", None) or str(error)


def _duration_s(container: InputContainer, stream: AudioStream) -> float | None:
    if stream.duration is not None and stream.time_base is not None:
        return float(stream.duration * stream.time_base)
    return None if container.duration is None else container.duration / 1_000_000


def _picture_start_s(container: InputContainer) -> float | None:
    for video in container.streams.video:
        if video.start_time is not None and video.time_base is not None:
            return float(video.start_time * video.time_base)
    return None
