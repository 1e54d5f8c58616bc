"""A stretch of audio as packets of a codec, without a container: what goes from machine to machine.

Each stretch stands alone: whoever decodes it needs nothing that came before.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from typing import Literal

import av
import numpy as np
from av.audio.codeccontext import AudioCodecContext
from numpy.typing import NDArray

from pe_stream.core.types import SAMPLE_RATE, Samples

PacketCodec = Literal["flac", "opus"]

_FFMPEG = {"flac": "flac", "opus": "libopus"}

_PIECE = 960
"""Samples of an Opus packet."""

_LATE = 312
"""Samples by which Opus is late: its decoder's first are none of the sound's."""

_OPUS_BITS = 64_000
"""Bits a second."""

_SIZE = struct.Struct("<H")

_FULL_SCALE = 32_768


def to_pcm16(samples: Samples) -> NDArray[np.int16]:
    """Samples (n,) in -1..1 as 16 bits; what came in 16 bits is not changed by it."""
    scaled = np.rint(samples * np.float32(_FULL_SCALE))
    values: NDArray[np.int16] = np.clip(scaled, -_FULL_SCALE, _FULL_SCALE - 1).astype(np.int16)
    return values


def from_pcm16(values: NDArray[np.int16]) -> Samples:
    """The reverse."""
    samples: Samples = values.astype(np.float32) / np.float32(_FULL_SCALE)
    return samples


def encode(samples: Samples, codec: PacketCodec) -> bytes:
    """Samples (n,), at least one: FLAC keeps their 16 bits, Opus what one hears."""
    values = to_pcm16(samples)
    context = _context(codec, "w")
    if codec == "opus":
        context.bit_rate = _OPUS_BITS
        values = np.pad(values, (0, -(len(values) + _LATE) % _PIECE + _LATE))
    frame = av.AudioFrame.from_ndarray(values[np.newaxis], format="s16", layout="mono")
    frame.sample_rate, frame.pts = SAMPLE_RATE, 0
    packets = [bytes(each) for each in (*context.encode(frame), *context.encode(None))]
    return b"".join(_SIZE.pack(len(each)) + each for each in packets if each)


def decode(data: bytes, codec: PacketCodec, count: int) -> Samples:
    """The first `count` samples of what `encode` made; raises ValueError where it is not that."""
    context = _context(codec, "r")
    left_out = _LATE if codec == "opus" else 0
    pieces: list[NDArray[np.int16]] = []
    total = -left_out
    try:
        for packet in _packets(data):
            for frame in context.decode(av.Packet(packet)):
                if (frame.format.name, frame.layout.name) != ("s16", "mono"):
                    raise ValueError("not mono of 16 bits")
                if frame.sample_rate != SAMPLE_RATE:
                    raise ValueError(f"not {SAMPLE_RATE} samples a second")
                pieces.append(np.asarray(frame.to_ndarray(), np.int16).ravel())
                total += frame.samples
            if total > count + 2 * _PIECE:
                raise ValueError("more audio than is stated")
    except av.error.FFmpegError as error:
        raise ValueError(f"damaged {codec}: {error.strerror}") from None
    if total < count:
        raise ValueError(f"{total} samples of {count}")
    return from_pcm16(np.concatenate(pieces)[left_out : left_out + count])


def _packets(data: bytes) -> Iterator[bytes]:
    at = 0
    while at < len(data):
        if at + _SIZE.size > len(data):
            raise ValueError("a packet without its length")
        (size,) = _SIZE.unpack_from(data, at)
        at += _SIZE.size
        if not size or at + size > len(data):
            raise ValueError("a packet that is not there")
        yield data[at : at + size]
        at += size


def _context(codec: PacketCodec, mode: Literal["r", "w"]) -> AudioCodecContext:
    made = av.CodecContext.create(_FFMPEG[codec], mode)
    assert isinstance(made, AudioCodecContext)  # noqa: S101 - both are codecs of audio
    made.sample_rate = SAMPLE_RATE
    made.layout = "mono"
    made.format = "s16"
    made.thread_count = 1
    return made
