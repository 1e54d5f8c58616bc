"""Streams over other protocols than HTTP, of senders that mean no good."""

from __future__ import annotations

import io
import socket
import subprocess
import time
from pathlib import Path

import av
import pytest
from audio.hostile_servers import repeated, serving, undecodable
from audio.stream_servers import rtsp_camera
from stand_ins import eventually
from timing import within

from pe_stream.audio import limits
from pe_stream.audio.decode import Decoder
from pe_stream.audio.limits import LiveLimits, SilenceLimits, TooCostlyError
from pe_stream.audio.network import NetworkStream
from pe_stream.errors import UnavailableError

pytestmark = pytest.mark.realtime

PACKETS = undecodable(8000) * 32


@pytest.fixture(scope="module")
def good(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    """Half a second of AAC, which any of them begins with."""
    file = tmp_path_factory.mktemp("aac") / "a.aac"
    source = ("-f", "lavfi", "-i", "sine=1000:r=48000", "-t", "0.5")
    subprocess.run(["ffmpeg", "-v", "error", *source, file], check=True)
    return file.read_bytes()


def test_packets_that_never_decode_are_too_much_at_some_point(
    good: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(limits, "MOST_SILENT_BYTES", 4 << 20)
    with serving(repeated(PACKETS, most=100, pause_s=0.0, first=good), asked=False) as source:
        url = source.url("", "tcp")
        with pytest.raises(TooCostlyError) as caught:
            list(NetworkStream(url))
    assert str(caught.value) == f"{url}: no audio in 4 MB of it"


def test_packets_that_never_decode_end_with_time(good: bytes) -> None:
    few = repeated(undecodable(2000), most=400, pause_s=0.02, first=good)
    with serving(few, asked=False) as source:
        url = source.url("", "tcp")
        began_s = time.monotonic()
        with pytest.raises(UnavailableError) as caught:
            list(NetworkStream(url, timeout_s=1.0))
    assert str(caught.value) == f"{url}: no audio within the time limit"
    assert time.monotonic() - began_s < within(5)


def test_the_work_on_packets_that_never_decode_is_counted(good: bytes) -> None:
    spent = LiveLimits()
    spent.spend_cpu(4.5)  # on the connections before
    small = undecodable(40) * 1000
    with serving(repeated(small, most=1000, pause_s=0.0, first=good), asked=False) as source:
        url = source.url("", "tcp")
        stream = NetworkStream(url, limits=spent)
        with pytest.raises(TooCostlyError) as caught:
            list(stream)
    assert str(caught.value).startswith(f"{url}: too expensive to decode")


def test_nothing_is_read_once_nobody_waits_for_it(good: bytes) -> None:
    gone: list[float] = []
    slow = repeated(undecodable(2000), most=600, pause_s=0.02, first=good)

    def answer(connection: socket.socket, path: str) -> None:
        try:
            slow(connection, path)
        except OSError:
            gone.append(time.monotonic())

    with serving(answer, asked=False) as source:
        stream = NetworkStream(source.url("", "tcp"), timeout_s=10.0)
        time.sleep(1.0)
        assert not gone
        stream.close()
        assert eventually(lambda: gone, within(2))


def test_a_camera_whose_sound_never_decodes() -> None:
    with rtsp_camera(b"\xa5" * 96_000 * 6, encoding="aac") as url:
        began_s = time.monotonic()
        with pytest.raises(UnavailableError, match="no audio within the time limit"):
            list(NetworkStream(url, timeout_s=1.0))
    assert time.monotonic() - began_s < within(5)


def test_a_film_whose_sound_is_over(tmp_path: Path) -> None:
    """Its pictures go on, which PyAV by itself would read for ever, and never come back."""
    file = tmp_path / "a.ts"
    sources = (
        "-f",
        "lavfi",
        "-i",
        "testsrc=s=64x64:r=25",
        "-f",
        "lavfi",
        "-i",
        "sine=1000:r=48000",
    )
    subprocess.run(["ffmpeg", "-v", "error", *sources, "-t", "2", file], check=True)
    data = file.read_bytes()
    packets = [data[at : at + 188] for at in range(0, len(data), 188)]
    pictures = b"".join(each for each in packets if each[1] & 0x1F == 1 and each[2] == 0)
    assert 0 < len(pictures) < len(data)
    film = repeated(pictures, most=300, pause_s=0.1, first=data)
    with serving(film, asked=False) as source:
        url = source.url("", "tcp")
        began_s = time.monotonic()
        with pytest.raises(UnavailableError) as caught:
            list(NetworkStream(url, timeout_s=1.0))
    assert time.monotonic() - began_s < within(7)
    assert str(caught.value) == f"{url}: no audio within the time limit"


def test_a_pause_of_whoever_takes_is_not_the_senders(good: bytes) -> None:
    silence = SilenceLimits(timeout_s=0.05)
    container = av.open(io.BytesIO(good), "r")
    decoder = Decoder(container, "camera", heard=silence.heard, came=silence.spend)
    blocks = decoder.blocks()
    next(blocks)
    time.sleep(0.3)
    assert len(list(blocks)) > 10


def test_the_decoder_works_on_the_thread_whose_time_is_counted(good: bytes) -> None:
    decoder = Decoder(av.open(io.BytesIO(good), "r"), "camera")
    assert decoder.stream.codec_context.thread_count == 1  # 0: as many as there are cores
