"""Recordings made on the spot whose truth is known."""

from __future__ import annotations

import shutil
import subprocess
import wave
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from timing import within

ONSETS_S = (0.5, 1.345)
LENGTH_S = 2.0
BURST_S = 0.05
TONE_HZ = 1000


def bursts(rate: int) -> NDArray[Any]:
    """Silence of 2 s with a tone of 50 ms at each of ONSETS_S, at half of full scale."""
    t = np.arange(round(LENGTH_S * rate)) / rate
    samples = np.zeros(len(t))
    for onset_s in ONSETS_S:
        inside = (t >= onset_s) & (t < onset_s + BURST_S)
        samples[inside] = 0.5 * np.sin(2 * np.pi * TONE_HZ * (t[inside] - onset_s))
    return samples


def onsets_s(samples: NDArray[Any]) -> list[float]:
    """Where bursts begin in 48 kHz audio, from the middle of what is loud."""
    carrier = np.exp(-2j * np.pi * TONE_HZ * np.arange(len(samples)) / 48_000)
    envelope = np.abs(np.convolve(samples * carrier, np.ones(240) / 240, "same"))
    loud = np.flatnonzero(envelope > 0.125) / 48_000
    runs = np.split(loud, np.flatnonzero(np.diff(loud) > 0.1) + 1)
    return [(run[0] + run[-1] - BURST_S) / 2 for run in runs if len(run)]


def write_wav(path: Path, samples: NDArray[Any], rate: int) -> Path:
    """16-bit WAV of (n,) or (n, channels) floats."""
    with wave.open(str(path), "wb") as file:
        file.setnchannels(1 if samples.ndim == 1 else samples.shape[1])
        file.setsampwidth(2)
        file.setframerate(rate)
        file.writeframes(np.round(samples * 32767).astype("<i2").tobytes())
    return path


def ffmpeg(*arguments: str | Path) -> None:
    """Run it, or skip the test where there is none."""
    if shutil.which("ffmpeg") is None:
        pytest.skip("ffmpeg is missing: apt install ffmpeg")
    command = ["ffmpeg", "-v", "error", "-nostdin", "-y", *map(str, arguments)]
    subprocess.run(command, check=True, timeout=within(60))
