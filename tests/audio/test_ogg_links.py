"""Chains of Ogg streams, and WAV files that are longer than they say."""

from __future__ import annotations

import io
import subprocess
from pathlib import Path

import numpy as np
import pytest
from sounds import noise, write_float_wav

from pe_stream.audio import media, ogg_links
from pe_stream.errors import UnavailableError


def ogg(folder: Path, name: str, *options: str) -> bytes:
    """Silence, and noise from 1 to 1.5 s of 2 s."""
    wav = write_float_wav(folder / "x.wav", noise((1.0, 0.001), (0.5, 0.2), (0.5, 0.001)))
    path = folder / name
    command = ["ffmpeg", "-v", "error", "-y", "-i", str(wav), *options, str(path)]
    subprocess.run(command, check=True)
    return path.read_bytes()


def onsets_s(path: Path) -> list[float]:
    samples = np.concatenate([chunk.samples for chunk in media.read(str(path))])
    loud = np.abs(samples).reshape(-1, 480).max(axis=1) > 0.05
    begins = np.flatnonzero(loud & ~np.concatenate([[False], loud[:-1]]))
    first = np.diff(begins, prepend=-100) > 50  # frames of 10 ms
    return [float(each) / 100 for each in begins[first]]


VORBIS = ("-c:a", "libvorbis")


def test_every_link_of_a_chain_is_read_whatever_its_rate_and_channels(tmp_path: Path) -> None:
    chain = tmp_path / "chain.ogg"
    chain.write_bytes(
        ogg(tmp_path, "a.ogg", *VORBIS)
        + ogg(tmp_path, "b.ogg", "-ar", "44100", "-ac", "2", *VORBIS)
        + ogg(tmp_path, "c.ogg", "-ar", "16000", *VORBIS)
        + ogg(tmp_path, "d.ogg", "-c:a", "flac")
        + ogg(tmp_path, "e.opus", "-c:a", "libopus")
    )
    assert onsets_s(chain) == pytest.approx([1.0, 3.0, 5.0, 7.0, 9.0], abs=0.06)


def test_a_link_that_cannot_be_read_is_told_after_those_before_it(tmp_path: Path) -> None:
    chain = tmp_path / "chain.ogg"
    first = ogg(tmp_path, "a.ogg", *VORBIS)
    chain.write_bytes(first + first[:200])
    recording = media.read(str(chain))
    heard = [len(next(recording).samples) for _ in range(15)]
    with pytest.raises(UnavailableError, match=r"chain\.ogg: "):
        heard += [len(chunk.samples) for chunk in recording]
    assert sum(heard) > 48_000


def test_where_links_begin_and_end(tmp_path: Path) -> None:
    one, two = ogg(tmp_path, "a.ogg", *VORBIS), ogg(tmp_path, "b.opus", "-c:a", "libopus")
    found = ogg_links.links(io.BytesIO(one + two + one))
    ends = [len(one), len(one + two), len(one + two + one)]
    assert found == [(0, ends[0]), (ends[0], ends[1]), (ends[1], ends[2])]
    assert ogg_links.links(io.BytesIO(one)) == [(0, len(one))]
    assert ogg_links.links(io.BytesIO(one + b"junk")) == [(0, len(one) + 4)]
    assert ogg_links.links(io.BytesIO(b"RIFF")) == ogg_links.links(io.BytesIO(b"")) == []
    # Two tracks that lie side by side begin together: that is one link.
    together = b"".join(b"OggS\0\2" + bytes(20) + bytes([n, *[0] * n]) for n in (1, 2))
    assert ogg_links.links(io.BytesIO(together)) == [(0, len(together))]


@pytest.mark.parametrize(
    ("told_s", "warned"), [(5.0, True), (0.0, False), (9.5, False), (99, False)]
)
def test_a_wav_file_that_is_longer_than_it_says_is_told_of(
    told_s: float, warned: object, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path = write_float_wav(tmp_path / "x.wav", noise((10.0, 0.1)))
    content = bytearray(path.read_bytes())
    data = content.index(b"data")
    told = round(told_s * 48_000) * 4
    content[4:8] = (data + told).to_bytes(4, "little")
    content[data + 4 : data + 8] = told.to_bytes(4, "little")
    path.write_bytes(content)
    read = sum(len(chunk.samples) for chunk in media.read(str(path)))
    said = f"{path}: longer than its header says: the last {10 - told_s:.1f} s are not read"
    assert caplog.messages == ([said] if warned else [])
    assert read == round((told_s if told_s in (5.0, 9.5) else 10) * 48_000)
