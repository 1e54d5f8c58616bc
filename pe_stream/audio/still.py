"""Single pictures as JPEG."""

from __future__ import annotations

import math
from fractions import Fraction

import av
import av.error
import numpy as np
from av.video.codeccontext import VideoCodecContext
from av.video.frame import VideoFrame
from av.video.reformatter import Colorspace, Interpolation
from numpy.typing import NDArray

MOST_KEPT_PIXELS = 1280 * 720
"""A larger picture is made smaller: PE-AV's tower sees 336 x 336 of it."""

_QUALITY = "3"
"""Of the encoder, 2 (best) to 31."""


def to_jpeg(frame: VideoFrame) -> bytes:
    """A decoded picture, of at most MOST_KEPT_PIXELS. Raises FFmpegError and ValueError.

    Equal pictures are equal bytes.
    """
    scale = min(1.0, math.sqrt(MOST_KEPT_PIXELS / (frame.width * frame.height)))
    width, height = (max(2, math.floor(each * scale) // 2 * 2) for each in _size(frame))
    small = frame.reformat(
        width,
        height,
        "yuvj420p",
        dst_colorspace=Colorspace.ITU601,  # as JPEG has it
        interpolation=Interpolation.AREA,
    )
    encoder = _context("w")
    encoder.width, encoder.height, encoder.pix_fmt = width, height, "yuvj420p"
    encoder.time_base = Fraction(1)
    encoder.options = {"qmin": _QUALITY, "qmax": _QUALITY}
    small.pts = 0
    return b"".join(bytes(each) for each in (*encoder.encode(small), *encoder.encode(None)))


def encode_rgb(rgb: NDArray[np.uint8]) -> bytes:
    """A picture (height, width, 3), red first, likewise."""
    return to_jpeg(VideoFrame.from_ndarray(rgb, format="rgb24"))


def from_jpeg(jpeg: bytes) -> NDArray[np.uint8]:
    """What `to_jpeg` made: (height, width, 3), red first. Raises ValueError where it is not."""
    try:
        decoder = _context("r")
        frames = [*decoder.decode(av.Packet(jpeg)), *decoder.decode(None)]
        (frame,) = frames
    except (av.error.FFmpegError, ValueError) as error:
        raise ValueError(f"no JPEG: {error}") from None
    return np.asarray(frame.to_ndarray(format="rgb24"), np.uint8)


def _size(frame: VideoFrame) -> tuple[int, int]:
    return frame.width, frame.height


def _context(mode: str) -> VideoCodecContext:
    made = av.CodecContext.create("mjpeg", "w" if mode == "w" else "r")
    assert isinstance(made, VideoCodecContext)  # noqa: S101 - it is a codec of pictures
    made.thread_count = 1
    return made
