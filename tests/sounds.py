"""Signals and WAV files for tests that know what they hear."""

from __future__ import annotations

import struct
from pathlib import Path

import numpy as np

from pe_stream.core.types import SAMPLE_RATE, Samples


def noise(*parts: tuple[float, float]) -> Samples:
    """White noise: (seconds, RMS level) one after the other, at 48 kHz."""
    rng = np.random.default_rng(0)
    pieces = [rng.uniform(-1, 1, round(s * SAMPLE_RATE)) * rms * 3**0.5 for s, rms in parts]
    return np.concatenate(pieces).astype(np.float32)


def write_float_wav(path: Path, samples: Samples) -> Path:
    """32-bit float WAV of (n,) samples at 48 kHz: what they hold, bit for bit, NaN too."""
    data = samples.astype("<f4").tobytes()
    form = struct.pack("<HHIIHH", 3, 1, SAMPLE_RATE, 4 * SAMPLE_RATE, 4, 32)
    body = b"WAVEfmt " + struct.pack("<I", len(form)) + form
    body += b"data" + struct.pack("<I", len(data)) + data
    path.write_bytes(b"RIFF" + struct.pack("<I", len(body)) + body)
    return path
