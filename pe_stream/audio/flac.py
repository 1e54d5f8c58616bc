"""Writing FLAC: lossless, 16 bits, mono."""

from __future__ import annotations

from pathlib import Path

import av
import numpy as np

from pe_stream.core.types import SAMPLE_RATE, Samples

_PIECE = 4096
"""Samples handed to the encoder at a time: one FLAC frame."""


def write(path: Path, samples: Samples) -> None:
    """Write (n,) float32 in -1..1 at 48 kHz; what is beyond is clipped. Same samples, same bytes.

    Raises OSError where the file cannot be written.
    """
    scaled = np.rint(np.clip(samples, -1, 1) * np.float32(32767)).astype(np.int16)
    # Without "bitexact" the file would name the version of FFmpeg.
    with av.open(path, "w", format="flac", options={"fflags": "bitexact"}) as container:
        stream = container.add_stream("flac", rate=SAMPLE_RATE)
        stream.layout = "mono"
        stream.format = "s16"
        for start in range(0, len(scaled), _PIECE):
            piece = scaled[np.newaxis, start : start + _PIECE]
            frame = av.AudioFrame.from_ndarray(piece, format="s16", layout="mono")
            frame.sample_rate = SAMPLE_RATE
            frame.pts = start
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
