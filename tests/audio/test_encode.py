"""FLAC as we write it: what goes in comes out, to 16 bits."""

from __future__ import annotations

from pathlib import Path

import av
import numpy as np
import pytest

from pe_stream.audio import encode, media
from pe_stream.core.types import SAMPLE_RATE, Samples


def sound(count: int) -> Samples:
    return np.random.default_rng(0).uniform(-0.9, 0.9, count).astype(np.float32)


@pytest.mark.parametrize("count", [1, 4096, 10_001])
def test_what_is_written_is_read_to_16_bits(tmp_path: Path, count: int) -> None:
    encode.write(tmp_path / "a.flac", sound(count))
    chunks = [chunk.samples for chunk in media.read(str(tmp_path / "a.flac"))]
    np.testing.assert_allclose(np.concatenate(chunks), sound(count), atol=5e-5)
    with av.open(tmp_path / "a.flac") as container:
        stream = container.streams.audio[0]
        assert stream.codec_context.name == "flac"
        assert (stream.rate, stream.channels, stream.format.name) == (SAMPLE_RATE, 1, "s16")


def test_too_loud_is_clipped_and_does_not_wrap(tmp_path: Path) -> None:
    encode.write(tmp_path / "a.flac", np.array([2.0, -2.0], np.float32))
    (chunk,) = media.read(str(tmp_path / "a.flac"))
    np.testing.assert_allclose(chunk.samples, [1, -1], atol=1e-4)


def test_same_samples_same_bytes(tmp_path: Path) -> None:
    for name in ("a.flac", "b.flac"):
        encode.write(tmp_path / name, sound(9999))
    assert (tmp_path / "a.flac").read_bytes() == (tmp_path / "b.flac").read_bytes()


def test_a_folder_that_is_not_there_is_an_os_error(tmp_path: Path) -> None:
    with pytest.raises(OSError, match="No such file"):
        encode.write(tmp_path / "none" / "a.flac", sound(10))
