"""What cameras send their sound in, as FFmpeg puts it into RTP."""

from __future__ import annotations

import contextlib
import re
import socket
import struct
import subprocess
import threading
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from audio.cameras import Camera, Payloads, serving, ticks
from audio.heard import Heard
from audio.recordings import write_wav

from pe_stream.audio.network import NetworkStream
from pe_stream.audio.rtsp import RtspWays

pytestmark = pytest.mark.realtime

SECONDS = 4

STATIC = {"0": 8000, "9": 8000, "10": 44_100, "14": 90_000}
"""Clock rates (Hz) of types that are not described (RFC 3551); G.722 counts half of its samples."""

CODECS = {
    "Opus": ("-ar", "48000", "-ac", "2", "-c:a", "libopus"),
    "L16 at 44.1 kHz": ("-ar", "44100", "-ac", "2", "-c:a", "pcm_s16be"),
    "AAC": ("-ar", "16000", "-ac", "1", "-c:a", "aac"),
    "AAC in LATM": ("-ar", "44100", "-ac", "2", "-c:a", "aac", "-rtpflags", "latm"),
    "G.711 mu-law": ("-ar", "8000", "-ac", "1", "-c:a", "pcm_mulaw"),
    "G.722": ("-ar", "16000", "-ac", "1", "-c:a", "g722"),
    "G.726": ("-ar", "8000", "-ac", "1", "-c:a", "g726", "-b:a", "32k"),
    "MP3": ("-ar", "44100", "-ac", "2", "-c:a", "libmp3lame", "-b:a", "96k"),
}


def in_rtp(wav: Path, *codec: str) -> Payloads:
    """A recording as FFmpeg sends it."""
    with socket.socket(type=socket.SOCK_DGRAM) as here:
        here.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 8 << 20)
        here.bind(("127.0.0.1", 0))
        here.settimeout(1.0)
        came: list[bytes] = []
        ended = threading.Event()

        def take() -> None:
            while True:
                with contextlib.suppress(TimeoutError):
                    came.append(here.recv(65_536))
                    continue
                if ended.is_set():
                    return

        taker = threading.Thread(target=take)
        taker.start()
        # At four times its pace, so that nothing is dropped.
        to = f"rtp://127.0.0.1:{here.getsockname()[1]}?pkt_size=1200"
        how = ["ffmpeg", "-v", "error", "-readrate", "4", "-i", str(wav), *codec, "-f", "rtp", to]
        described = subprocess.run(how, check=True, capture_output=True, text=True).stdout
        ended.set()
        taker.join()
    packets = []
    begin = struct.unpack_from(">BBHII", came[0])[3]
    for packet in came:
        _, kind, _, stamp, _ = struct.unpack_from(">BBHII", packet)
        if not 72 <= kind & 0x7F <= 76:  # RTCP comes to another port
            packets.append((kind, stamp - begin & 0xFFFFFFFF, packet[12:]))
    track = described[described.index("m=audio") :].replace("\n", "\r\n").replace("\r\r", "\r")
    media = re.sub(r"m=audio \d+", "m=audio 0", track)
    found = re.search(r"a=rtpmap:\d+ [^/]+/(\d+)", media)
    rate = int(found[1]) if found else STATIC[media.split()[3]]
    return Payloads(f"{media.rstrip()}\r\na=control:sound\r\n", rate, packets, SECONDS * rate)


@pytest.mark.parametrize("codec", CODECS)
def test_what_cameras_send_is_heard(codec: str, tmp_path: Path) -> None:
    wav = write_wav(tmp_path / "ticks.wav", ticks(SECONDS), 8000)
    payloads = in_rtp(wav, *CODECS[codec])
    heard = Heard()
    with serving(Camera(ticks(1), payloads=payloads)) as camera:
        stream = NetworkStream(camera.url(), ways=RtspWays(), timeout_s=10.0)
        for chunk in stream:
            heard.chunks.append(chunk)
            if sum(len(each.samples) for each in heard.chunks) > 3.3 * 48_000:
                stream.close()
    assert stream.describe.endswith("(audio alone over TCP)")
    assert heard.segments == 1
    assert len(heard.ticks_s) >= 3
    assert [b - a for a, b in pairwise(heard.ticks_s)] == pytest.approx(
        [1.0] * (len(heard.ticks_s) - 1), abs=0.1
    )
    peak = max(float(np.abs(chunk.samples).max()) for chunk in heard.chunks)
    assert 0.3 < peak < 0.8  # two channels are each 3 dB less
