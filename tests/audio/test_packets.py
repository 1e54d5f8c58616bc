"""Audio as packets: FLAC keeps 16 bits, Opus what one hears, and damage is told."""

from __future__ import annotations

import numpy as np
import pytest

from pe_stream.audio.packets import PacketCodec, decode, encode, from_pcm16, to_pcm16
from pe_stream.core.types import Samples


def tone(count: int) -> Samples:
    rng = np.random.default_rng(count)
    swell = 0.3 * np.sin(np.arange(count) / 20) * np.hanning(count + 2)[1:-1]
    return from_pcm16(to_pcm16((swell + 0.01 * rng.standard_normal(count)).astype(np.float32)))


def test_sixteen_bits_come_back_as_they_were_and_what_is_louder_is_clipped() -> None:
    values = np.arange(-32768, 32768).astype(np.int16)
    assert np.array_equal(to_pcm16(from_pcm16(values)), values)
    loud = np.array([-1.5, 1.0, 1.5], np.float32)
    assert to_pcm16(loud).tolist() == [-32768, 32767, 32767]


@pytest.mark.parametrize("count", [1, 17, 4608, 23_130, 480_000])
def test_flac_is_exact_whatever_the_length(count: int) -> None:
    samples = tone(count)
    data = encode(samples, "flac")
    assert np.array_equal(decode(data, "flac", count), samples)
    assert count < 4608 or len(data) < 1.6 * count


@pytest.mark.parametrize("count", [9600, 23_130, 96_000])
def test_opus_is_neither_late_nor_short(count: int) -> None:
    samples = tone(count)
    data = encode(samples, "opus")
    heard = decode(data, "opus", count)
    assert len(heard) == count
    assert np.corrcoef(heard, samples)[0, 1] > 0.99
    assert np.corrcoef(heard[1:], samples[:-1])[0, 1] < np.corrcoef(heard, samples)[0, 1]
    assert len(data) < 0.3 * count


@pytest.mark.parametrize("codec", ["flac", "opus"])
def test_what_is_none_of_it_is_refused(codec: PacketCodec) -> None:
    data = encode(tone(9600), codec)
    for wrong, count in (
        (b"", 10),
        (data[:-1], 9600),
        (data + b"\0\0", 9600),
        (b"\xff\xff" + data, 9600),
        (data, 96_000),
        (data, 1),
        (b"\x04\x00abcd", 100),
    ):
        with pytest.raises(ValueError, match=r"."):
            decode(wrong, codec, count)
