"""Decoding with FFmpeg's libraries (PyAV): a file or URL becomes blocks of float samples.

Encoder delay (MP3, AAC, Opus) is skipped by the decoders themselves. What FFmpeg logs stays
with FFmpeg: PyAV is silent unless asked, and what matters is raised or counted here.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import av
import av.error
import numpy as np
from av.audio.frame import AudioFrame, format_dtypes
from av.audio.stream import AudioStream
from av.container import InputContainer
from numpy.typing import NDArray

from pe_stream.audio.pcm import to_float
from pe_stream.config.addresses import masked_url
from pe_stream.errors import RefusedError, UnavailableError

log = logging.getLogger(__name__)

_NETWORK_OPTIONS = {
    # RTP over the RTSP connection itself: nothing lost to firewalls or full radio links.
    "rtsp_transport": "tcp",
    # A camera then need not send its picture.
    "allowed_media_types": "audio",
}


@dataclass(frozen=True, slots=True)
class Block:
    """Decoded audio as it comes.

    planes: (channels, n) float32; rate: samples per second; time_s: presentation time of the
    first sample on the container's clock, None where it has none.
    """

    planes: NDArray[np.float32]
    rate: float
    time_s: float | None

    @property
    def duration_s(self) -> float:
        """Length (s)."""
        return float(self.planes.shape[1] / self.rate)


class Decoder:
    """An open container and the audio track that FFmpeg takes for the best one.

    name: what errors and warnings call it. damaged: packets skipped so far. duration_s: length (s)
    that the container states. picture_start_s: when the moving picture of a film begins, on the
    container's clock (s).
    """

    def __init__(self, container: InputContainer, name: str) -> None:
        self.container = container
        self.name = name
        self.damaged = 0
        stream = container.streams.best("audio")
        if not isinstance(stream, AudioStream):
            container.close()
            raise UnavailableError(f"{name}: it has no audio track")
        self.stream: AudioStream = stream
        self.duration_s = _duration_s(container, stream)
        self.picture_start_s = _picture_start_s(container)

    def blocks(self) -> Iterator[Block]:
        """Everything the track holds, once; damaged packets are skipped and counted.

        Raises UnavailableError where reading fails, or where nothing can be decoded.
        """
        decoded = False
        with self.container:
            for frame in self._frames():
                decoded = True
                yield self._block(frame)
        if self.damaged:
            log.warning("%s: skipped %d damaged packets", self.name, self.damaged)
        if self.damaged and not decoded:
            raise UnavailableError(f"{self.name}: none of its audio can be decoded")

    def _frames(self) -> Iterator[AudioFrame]:
        packets = self.container.demux(self.stream)
        while True:
            try:
                packet = next(packets, None)
            except av.error.InvalidDataError:
                self.damaged += 1
                return
            except av.error.FFmpegError as error:
                raise UnavailableError(f"{self.name}: {_reason(error)}") from None
            if packet is None:
                return
            try:
                yield from packet.decode()
            except av.error.FFmpegError:
                self.damaged += 1

    def _block(self, frame: AudioFrame) -> Block:
        if frame.format.name not in format_dtypes:
            raise UnavailableError(
                f"{self.name}: samples of format {frame.format.name} cannot be read; "
                "convert it, for example to 32-bit float WAV"
            )
        array = frame.to_ndarray()
        if not frame.format.is_planar:
            array = array.reshape(-1, frame.layout.nb_channels).T
        time_s = frame.time if frame.pts is not None else None
        return Block(to_float(array), frame.sample_rate, time_s)


def open_file(path: str) -> Decoder:
    """A recording on disk. Raises UnavailableError naming the file and what is wrong with it."""
    file = Path(path)
    try:
        size = file.stat().st_size
    except OSError as error:
        raise UnavailableError(f"{path}: {error.strerror}") from None
    if file.is_dir():
        raise UnavailableError(f"{path}: this is a folder, not a recording")
    if not os.access(file, os.R_OK):
        raise UnavailableError(f"{path}: no permission to read it")
    if file.is_file() and size == 0:
        raise UnavailableError(f"{path}: the file is empty")
    try:
        # The prefix keeps FFmpeg from taking "12:30.wav" for a protocol of the name "12".
        container = av.open(f"file:{path}")
    except (av.error.InvalidDataError, av.error.EOFError):
        raise UnavailableError(f"{path}: this is no audio that FFmpeg can read") from None
    except (av.error.FFmpegError, UnicodeError) as error:
        raise UnavailableError(f"{path}: {_reason(error)}") from None
    return Decoder(container, path)


def open_network(url: str, *, timeout_s: float) -> Decoder:
    """A stream by its URL; `timeout_s` bounds opening, and every read after it.

    Raises UnavailableError. Its message has the URL masked, and FFmpeg's own error, which has
    not, is kept out of the traceback.
    """
    name = masked_url(url)
    try:
        options = _NETWORK_OPTIONS if url.lower().startswith("rtsp") else {}
        container = av.open(url, options=options, timeout=(timeout_s, timeout_s))
    except av.error.HTTPClientError as error:  # of RTSP too
        raise RefusedError(f"{name}: {_reason(error)}") from None
    except (av.error.FFmpegError, UnicodeError) as error:
        raise UnavailableError(f"{name}: {_reason(error)}") from None
    return Decoder(container, name)


def _duration_s(container: InputContainer, stream: AudioStream) -> float | None:
    if stream.duration is not None and stream.time_base is not None:
        return float(stream.duration * stream.time_base)
    return None if container.duration is None else container.duration / 1_000_000


def _picture_start_s(container: InputContainer) -> float | None:
    for video in container.streams.video:
        if video.start_time is not None and video.time_base is not None:
            return float(video.start_time * video.time_base)
    return None


def _reason(error: Exception) -> str:
    if isinstance(error, av.error.ExitError):  # how PyAV's time limit shows
        return "no answer within the time limit"
    return getattr(error, "strerror", None) or str(error)
