"""Writing recordings: FLAC (lossless, 16 bits) or Opus; mono, 48 kHz."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Literal, Self

import av
import numpy as np
from av.audio.stream import AudioStream
from numpy.typing import NDArray

from pe_stream.core.types import SAMPLE_RATE, Samples

Format = Literal["flac", "opus"]

_CONTAINERS = {"flac": "flac", "opus": "ogg"}

_PIECE = {"flac": 4096, "opus": 960}
"""Samples handed to the encoder at a time: one frame of its own."""


_PAGE_US = "100000"
"""Sound in a page of Ogg of a stream (0.1 s): it is sent once it is full."""


class AudioWriter:
    """A recording being written; a context manager. Same samples, same bytes.

    What is beyond -1..1 is clipped. Raises OSError where the file cannot be written.
    """

    def __init__(
        self,
        to: Path | _Written,
        form: Format = "flac",
        tags: Mapping[str, str] | None = None,
        **options: str,
    ) -> None:
        """Begin to write; tags: words that the file carries, by name in capital letters.

        options: FFmpeg's, of the container.
        """
        # Without "bitexact" the file would name the version of FFmpeg.
        options = {"fflags": "bitexact"} | options
        with _as_os_error():
            self._container = av.open(to, "w", format=_CONTAINERS[form], options=options)
        self._stream: AudioStream = self._container.add_stream(
            "flac" if form == "flac" else "libopus", rate=SAMPLE_RATE
        )
        # FLAC's are the file's, Opus' the stream's.
        self._container.metadata.update(tags or {})
        self._stream.metadata.update(tags or {})
        self._stream.layout = "mono"
        self._stream.format = "s16"
        self._size = _PIECE[form]
        self._waiting = np.empty(0, np.int16)
        self._written = 0

    def write(self, samples: Samples) -> None:
        """Add (n,) float32 in -1..1."""
        scaled = np.rint(np.clip(samples, -1, 1) * np.float32(32767)).astype(np.int16)
        self._waiting = np.concatenate([self._waiting, scaled])
        whole = len(self._waiting) // self._size * self._size
        for start in range(0, whole, self._size):
            self._encode(self._waiting[start : start + self._size])
        self._waiting = self._waiting[whole:]

    def close(self) -> None:
        """Write what is left, and the end."""
        with _as_os_error():
            try:
                if len(self._waiting):
                    self._encode(self._waiting)
                self._container.mux(self._stream.encode(None))
            finally:
                self._container.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _encode(self, piece: NDArray[np.int16]) -> None:
        frame = av.AudioFrame.from_ndarray(piece[np.newaxis], format="s16", layout="mono")
        frame.sample_rate = SAMPLE_RATE
        frame.pts = self._written
        self._written += len(piece)
        with _as_os_error():
            self._container.mux(self._stream.encode(frame))


class OpusStream:
    """Opus in Ogg that is sent while it is made; for any thread.

    Raises OSError where it cannot be encoded.
    """

    def __init__(self) -> None:
        """Begin; the first bytes come with the first sound."""
        # Who is cut off closes it while a thread may still encode.
        self._lock = threading.Lock()
        self._written = _Written()
        self._writer: AudioWriter | None = AudioWriter(
            self._written, "opus", page_duration=_PAGE_US, flush_packets="1"
        )

    def encode(self, samples: Samples) -> bytes:
        """Add (n,) float32 in -1..1; returns what is complete: all but the last 0.1 s or so.

        Once closed, nothing.
        """
        with self._lock:
            if self._writer is not None:
                self._writer.write(samples)
            return self._written.take()

    def close(self) -> bytes:
        """The rest; nothing the second time."""
        with self._lock:
            writer, self._writer = self._writer, None
            if writer is not None:
                writer.close()
            return self._written.take()


class _Written:
    """A file that FFmpeg writes to, in one go."""

    def __init__(self) -> None:
        self._pieces: list[bytes] = []

    def write(self, data: bytes) -> int:
        self._pieces.append(bytes(data))
        return len(data)

    def take(self) -> bytes:
        pieces, self._pieces = self._pieces, []
        return b"".join(pieces)


@contextmanager
def _as_os_error() -> Iterator[None]:
    """Not all of FFmpeg's errors are OSErrors."""
    try:
        yield
    except av.error.FFmpegError as error:
        raise OSError(error.errno, str(error)) from error


def read_tags(path: Path) -> dict[str, str]:
    """The tags of a recording. Raises OSError where it cannot be read."""
    with _as_os_error(), av.open(path) as container:
        tags = dict(container.metadata)
        for stream in container.streams:
            tags.update(stream.metadata)
        return tags


def write(path: Path, samples: Samples, form: Format = "flac") -> None:
    """Write a whole recording, as an AudioWriter does."""
    with AudioWriter(path, form) as encoder:
        encoder.write(samples)
