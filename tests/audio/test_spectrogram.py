"""Pictures of clips: time from left to right, pitch from bottom to top, loud is bright."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import matplotlib as mpl
import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from pe_stream.audio.spectrogram import Spectrogram, _colors, save_clip, shown_db
from pe_stream.core.bands import Bands
from pe_stream.core.types import FRAME, SAMPLE_RATE, AudioChunk, Samples

HZ = 1000.0


def picture(path: Path, samples: Samples, *, fine: bool = False) -> NDArray[np.uint8]:
    half = len(samples) // 2
    chunks = [AudioChunk(0, samples[:half]), AudioChunk(half, samples[half:])]
    save_clip(path, chunks, fine=fine)
    image = Image.open(path)
    assert (image.format, image.mode) == ("PNG", "RGB")
    return np.asarray(image)


def tone_then_silence(seconds: float) -> Samples:
    count = int(seconds * SAMPLE_RATE)
    tone = np.sin(2 * np.pi * HZ * np.arange(count) / SAMPLE_RATE).astype(np.float32)
    tone[count // 2 :] = 0
    return tone


def test_a_tone_is_bright_at_its_time_and_pitch(tmp_path: Path) -> None:
    pixels = picture(tmp_path / "a.png", tone_then_silence(2.0)).astype(int).sum(axis=2)
    edges = Bands(96).edges_hz
    band = int(np.searchsorted(edges, HZ)) - 1
    row = 2 * (len(edges) - 2 - band)
    assert pixels.shape == (2 * 96, 2 * SAMPLE_RATE // FRAME)
    assert abs(int(pixels[:, 10].argmax()) - row) <= 4
    assert pixels[row, 10] > 600
    assert pixels[:, 40:].max() < 20


def test_a_fine_picture_has_a_column_every_10_ms(tmp_path: Path) -> None:
    assert picture(tmp_path / "a.png", tone_then_silence(2.0), fine=True).shape == (192, 200, 3)


@pytest.mark.parametrize("count", [SAMPLE_RATE, 100], ids=["silence", "less than a frame"])
def test_silence_is_black(tmp_path: Path, count: int) -> None:
    black = (0, 0, 4)
    pixels = picture(tmp_path / "a.png", np.zeros(count, np.float32))
    assert (pixels == black).all()
    assert shown_db(Spectrogram().decibels) == (-120, -50)


def test_the_loudest_is_bright_also_where_it_is_quiet(tmp_path: Path) -> None:
    quiet = tone_then_silence(2.0) * 0.01  # -40 dBFS
    assert picture(tmp_path / "a.png", quiet).astype(int).sum(axis=2).max() > 600


def test_the_same_sound_gives_the_same_bytes(tmp_path: Path) -> None:
    one, other = tmp_path / "1.png", tmp_path / "2.png"
    for path in (one, other):
        picture(path, tone_then_silence(0.5))
    assert one.read_bytes() == other.read_bytes()


def test_a_picture_that_cannot_be_written_is_an_os_error(tmp_path: Path) -> None:
    with pytest.raises(OSError, match="No such file"):
        picture(tmp_path / "missing" / "a.png", tone_then_silence(0.5))


def test_colours_are_those_of_magma() -> None:
    decibels = np.linspace(-70, 0, 256, dtype=np.float32)[np.newaxis]
    magma = mpl.colormaps["magma"](np.arange(256), bytes=True)[:, :3]
    assert np.abs(_colors(decibels)[0].astype(int) - magma).max() <= 3


def test_a_clip_s_picture_needs_no_matplotlib() -> None:
    heard = "import sys, pe_stream.audio.spectrogram; sys.exit('matplotlib' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", heard], check=False).returncode == 0
