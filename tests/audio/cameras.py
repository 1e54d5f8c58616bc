"""Cameras as people have them, on loopback: RTSP, a picture, moods, and a clock of their own."""

from __future__ import annotations

import base64
import contextlib
import socket
import socketserver
import ssl
import struct
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pe_stream.core.types import Samples

RATE = 8000
PACKET = 160
"""Samples of a packet: 20 ms."""

_PICTURE = (
    "m=video 0 RTP/AVP 97\r\na=rtpmap:97 H264/90000\r\na=fmtp:97 packetization-mode=1;"
    "sprop-parameter-sets=Z0LAHtkDxWhAAAADAEAAAAwDxYuS,aMuMsg==\r\na=control:picture\r\n"
)
_BACKCHANNEL = "m=audio 0 RTP/AVP 0\r\na=rtpmap:0 PCMU/8000\r\na=control:talk\r\na=sendonly\r\n"
_SOUND = "m=audio 0 RTP/AVP 96\r\na=rtpmap:96 L16/8000/1\r\na=control:sound\r\n"


@dataclass(frozen=True)
class Payloads:
    """Sound as somebody else has put it into RTP, to be sent over and over.

    sdp: how it is described; clock_rate: of the stamps (Hz). packets: each with marker and type
    (its second byte), its stamp from 0, and what is in it. ticks: all of it, in stamps.
    """

    sdp: str
    clock_rate: int
    packets: list[tuple[int, int, bytes]]
    ticks: int

    def stamp(self, number: int) -> int:
        rounds, at = divmod(number, len(self.packets))
        return rounds * self.ticks + self.packets[at][1]


@dataclass
class Camera:
    """What a camera sends and how.

    samples: at 8 kHz, (n,), sent over and over. needs_picture: says nothing unless the picture is
    set up too; only_alone: says nothing if it is. burst_s: without the picture, hangs up after so
    much. udp_only: refuses TCP.
    refuses_alone: answers this request so where the picture is not set up: (method, code). sound:
    whether it has any. login: user and password. backchannel: has a track to talk to it, the first.
    stamp: of a packet by its number, in samples. speed: of its sound card. stall: (at, length) in s
    of a silence, which is lost. pem: certificate and key, for RTSP over TLS. hang_up_s: after so
    much it does. first: number and stamp of the first packet; both wrap.
    payloads: what is sent in the place of the samples.

    asked: requests that came, with the transport. sent: for each packet, the first of its samples
    and when it was due (monotonic), as its sound card counts: a busy machine sends it later.
    """

    samples: Samples
    needs_picture: bool = False
    only_alone: bool = False
    burst_s: float | None = None
    udp_only: bool = False
    refuses_alone: tuple[str, str] | None = None
    sound: bool = True
    login: tuple[str, str] | None = None
    backchannel: bool = False
    stamp: Callable[[int], int] = lambda number: number * PACKET
    speed: float = 1.0
    stall: tuple[float, float] = (1e9, 0.0)
    pem: Path | None = None
    hang_up_s: float = 1e9
    first: int = 0
    payloads: Payloads | None = None
    asked: list[str] = field(default_factory=list)
    sent: list[tuple[int, float]] = field(default_factory=list)
    port: int = 0

    def url(self, login: str = "") -> str:
        return f"rtsp{'s' * (self.pem is not None)}://{login}127.0.0.1:{self.port}/live"

    @property
    def sdp(self) -> str:
        head = "v=0\r\no=- 0 0 IN IP4 127.0.0.1\r\ns=camera\r\nt=0 0\r\n"
        described = _SOUND if self.payloads is None else self.payloads.sdp
        tracks = _BACKCHANNEL * self.backchannel + described * self.sound
        return head + _PICTURE + tracks

    def sent_s(self, number: int) -> float:
        """When a packet is sent, after the first."""
        at_s = number * 0.02
        if self.payloads is not None:
            at_s = self.payloads.stamp(number) / self.payloads.clock_rate
        return at_s / self.speed

    def packet(self, number: int) -> bytes:
        if self.payloads is not None:
            kind, _, payload = self.payloads.packets[number % len(self.payloads.packets)]
            head = (0x80, kind, number & 0xFFFF, self.payloads.stamp(number) & 0xFFFFFFFF, 7)
            return struct.pack(">BBHII", *head) + payload
        at = number * PACKET % (len(self.samples) - PACKET + 1)
        payload = np.round(self.samples[at : at + PACKET] * 32767).astype(">i2").tobytes()
        stamp = self.first * PACKET + self.stamp(number)
        head = (0x80, 96, self.first + number & 0xFFFF, stamp & 0xFFFFFFFF, 7)
        return struct.pack(">BBHII", *head) + payload


@contextlib.contextmanager
def serving(camera: Camera) -> Iterator[Camera]:
    """Have the camera answer, each connection on a thread of its own."""
    handler = type("Handler", (_Connection,), {"camera": camera})
    with _Server(("127.0.0.1", 0), handler) as server:
        if camera.pem is not None:
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            context.load_cert_chain(camera.pem)
            server.socket = context.wrap_socket(server.socket, server_side=True)
        camera.port = server.server_address[1]
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
        thread.start()
        try:
            yield camera
        finally:
            server.ending.set()
            server.shutdown()
            thread.join()


class _Server(socketserver.ThreadingTCPServer):
    daemon_threads = True
    allow_reuse_address = True

    def __init__(self, *given: Any) -> None:
        super().__init__(*given)
        self.ending = threading.Event()

    def handle_error(self, *_: Any) -> None:
        """Who hangs up is no error."""


class _Connection(socketserver.StreamRequestHandler):
    camera: Camera

    def handle(self) -> None:
        self._lock = threading.Lock()
        self._tracks: dict[str, Callable[[bytes], object]] = {}
        with contextlib.suppress(OSError), contextlib.ExitStack() as self._stack:
            while request := self.rfile.readline().decode().split():
                headers = dict(self._headers())
                if not self._answer(request[0], request[1], headers):
                    return

    def _headers(self) -> Iterator[tuple[str, str]]:
        while line := self.rfile.readline().decode().strip():
            name, _, value = line.partition(":")
            yield name.lower(), value.strip()

    def _answer(self, method: str, url: str, headers: dict[str, str]) -> bool:
        camera, transport = self.camera, headers.get("transport", "")
        track = url.rstrip("/").rpartition("/")[2]
        camera.asked.append(f"{method} {track} {transport}".strip())
        code, more, body = "200 OK", "Session: 7", ""
        if camera.login is not None and method != "OPTIONS":
            basic = base64.b64encode(":".join(camera.login).encode()).decode()
            if headers.get("authorization") != f"Basic {basic}":
                code, more = "401 Unauthorized", 'WWW-Authenticate: Basic realm="camera"'
        refused, how = camera.refuses_alone or ("", "")
        if method == refused and track != "picture" and "picture" not in self._tracks:
            code = how
        if code == "200 OK" and method == "DESCRIBE":
            more, body = f"Content-Base: {url}/\r\nContent-Type: application/sdp", camera.sdp
        if code == "200 OK" and method == "SETUP":
            if camera.udp_only and "TCP" in transport:
                code = "461 Unsupported transport"
            else:
                more = f"Session: 7\r\nTransport: {self._set_up(track, transport)}"
        answer = f"RTSP/1.0 {code}\r\nCSeq: {headers['cseq']}\r\n{more}\r\n"
        self._write(f"{answer}Content-Length: {len(body)}\r\n\r\n{body}".encode())
        if method == "PLAY":
            threading.Thread(target=self._play, daemon=True).start()
        return method != "TEARDOWN"

    def _set_up(self, track: str, transport: str) -> str:
        """Prepare to send a track; returns what is answered of its transport."""
        if "TCP" in transport:
            channels = transport.partition("interleaved=")[2].partition(";")[0]
            number = int(channels.partition("-")[0])
            self._tracks[track] = lambda packet: self._write(
                struct.pack(">cBH", b"$", number, len(packet)) + packet
            )
            return f"RTP/AVP/TCP;unicast;interleaved={channels}"
        ports = transport.partition("client_port=")[2].partition(";")[0]
        datagrams = self._stack.enter_context(socket.socket(type=socket.SOCK_DGRAM))
        datagrams.bind(("127.0.0.1", 0))
        to = ("127.0.0.1", int(ports.partition("-")[0]))
        self._tracks[track] = lambda packet: bool(datagrams.sendto(packet, to))
        own = datagrams.getsockname()[1]
        return f"RTP/AVP;unicast;client_port={ports};server_port={own}-{own + 1}"

    def _write(self, data: bytes) -> None:
        with self._lock:
            self.wfile.write(data)

    def _play(self) -> None:
        camera = self.camera
        send, picture = self._tracks.get("sound"), self._tracks.get("picture")
        if send is None or (camera.needs_picture and picture is None):
            return
        if camera.only_alone and picture is not None:
            return
        burst_s = camera.burst_s if picture is None and camera.burst_s else camera.hang_up_s
        begun_s, number = time.monotonic(), 0
        with contextlib.suppress(OSError):
            while not self._ending(begun_s + camera.sent_s(number) - time.monotonic()):
                if number * 0.02 >= burst_s:
                    self.connection.shutdown(socket.SHUT_RDWR)
                    return
                if number == round(camera.stall[0] * 50):
                    begun_s += camera.stall[1]
                    self._ending(begun_s + camera.sent_s(number) - time.monotonic())
                if picture is not None and number % 50 == 0:
                    head = (0x80, 0x80 | 97, number // 50 & 0xFFFF, number * 1800 & 0xFFFFFFFF, 8)
                    picture(struct.pack(">BBHII", *head) + bytes.fromhex("65888400"))
                camera.sent.append((number * PACKET, begun_s + camera.sent_s(number)))
                send(camera.packet(number))
                number += 1

    def _ending(self, seconds: float) -> bool:
        assert isinstance(self.server, _Server)
        return self.server.ending.wait(max(0.0, seconds))


def ticks(seconds: float) -> NDArray[np.float32]:
    """Quiet noise with a short tone at the beginning of every second."""
    samples = np.random.default_rng(0).normal(0, 0.001, round(seconds * RATE))
    tone = 0.5 * np.sin(np.arange(RATE // 20) * 2 * np.pi * 1000 / RATE)
    for second in range(int(seconds)):
        samples[second * RATE : second * RATE + len(tone)] += tone
    return samples.astype(np.float32)
