"""Small servers of live sound on loopback: RTSP (RTP within the connection) and HTTP."""

from __future__ import annotations

import contextlib
import http.server
import socketserver
import struct
import sys
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

PACKET = 960
"""Samples per RTP packet (20 ms at 48 kHz)."""

_SDP = (
    "v=0\r\no=- 0 0 IN IP4 127.0.0.1\r\ns=camera\r\nt=0 0\r\n"
    "m=audio 0 RTP/AVP 96\r\n{}\r\na=control:sound\r\n"
)
_ENCODINGS = {
    "pcm": "a=rtpmap:96 L16/48000/1",
    "aac": (
        "a=rtpmap:96 mpeg4-generic/48000/1\r\na=fmtp:96 mode=AAC-hbr;config=1188;"
        "sizeLength=13;indexLength=3;indexDeltaLength=3"
    ),
}


class _Camera(socketserver.StreamRequestHandler):
    """One RTSP connection; subclasses say what is sent."""

    pcm: bytes
    encoding: str
    jump_at: int
    stall_at: int
    hang_up: threading.Event

    def handle(self) -> None:
        while request := self.rfile.readline().decode().split():
            headers = dict(self._headers())
            self._answer(request[0], headers["cseq"])
            if request[0] == "PLAY":
                with contextlib.suppress(OSError):  # the client has gone
                    self._play()
                return

    def _headers(self) -> Iterator[tuple[str, str]]:
        while line := self.rfile.readline().decode().strip():
            name, _, value = line.partition(":")
            yield name.lower(), value.strip()

    def _answer(self, method: str, number: str) -> None:
        sdp = _SDP.format(_ENCODINGS[self.encoding])
        head, body = {
            "OPTIONS": ("Public: DESCRIBE, SETUP, PLAY", ""),
            "DESCRIBE": (f"Content-Type: application/sdp\r\nContent-Length: {len(sdp)}", sdp),
            "SETUP": ("Transport: RTP/AVP/TCP;unicast;interleaved=0-1\r\nSession: 1", ""),
        }.get(method, ("Session: 1", ""))
        answer = f"RTSP/1.0 200 OK\r\nCSeq: {number}\r\n{head}\r\n\r\n{body}"
        self.wfile.write(answer.encode())

    def _play(self) -> None:
        began_s = time.monotonic()
        for number in range(len(self.pcm) // 2 // PACKET):
            if number == self.stall_at:
                self.hang_up.wait(30)
                return
            late = 48_000 if 0 <= self.jump_at <= number else 0
            payload = self.pcm[number * PACKET * 2 : (number + 1) * PACKET * 2]
            if self.encoding == "aac":
                payload = struct.pack(">HH", 16, len(payload) << 3) + payload
            packet = struct.pack(">BBHII", 0x80, 96, number, number * PACKET + late, 7) + payload
            self.wfile.write(struct.pack(">cBH", b"$", 0, len(packet)) + packet)
            time.sleep(max(0.0, began_s + number * 0.02 - time.monotonic()))


@contextlib.contextmanager
def rtsp_camera(
    samples: NDArray[Any] | bytes, *, jump_at: int = -1, stall_at: int = -1, encoding: str = "pcm"
) -> Iterator[str]:
    """A camera that sends `samples` (48 kHz) once, in real time, to whoever asks, and hangs up.

    jump_at: the packet before which its clock jumps ahead by 1 s; stall_at: the packet from which
    on nothing is sent any more. encoding: what they are sent as; `samples` may be
    its packets, of 1920 bytes each. Yields the URL, with secrets in it.
    """
    hang_up = threading.Event()
    what = {
        "pcm": samples
        if isinstance(samples, bytes)
        else np.round(samples * 32767).astype(">i2").tobytes(),
        "encoding": encoding,
        "jump_at": jump_at,
        "stall_at": stall_at,
        "hang_up": hang_up,
    }
    with _serving(type("Camera", (_Camera,), what)) as port:
        yield f"rtsp://admin:secret@127.0.0.1:{port}/live?token=secret"
        hang_up.set()


@contextlib.contextmanager
def http_file(data: bytes, *, live: bool, lasts_s: float = 0.0) -> Iterator[str]:
    """A web server with one file: with its length, or without as a radio sends it.

    lasts_s: sent evenly over so long (s); default: at once.
    """
    pieces = max(1, round(lasts_s / 0.02))
    size = -(-len(data) // pieces)

    class Web(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.send_header("Content-Type", "audio/mpeg")
            if not live:
                self.send_header("Content-Length", str(len(data)))
            self.end_headers()
            with contextlib.suppress(OSError):
                began_s = time.monotonic()
                for number in range(pieces):
                    self.wfile.write(data[number * size : (number + 1) * size])
                    due_s = began_s + (number + 1) * lasts_s / pieces
                    time.sleep(max(0.0, due_s - time.monotonic()))

        def log_message(self, *_: Any) -> None:
            """Keep quiet."""

    with _serving(Web) as port:
        yield f"http://127.0.0.1:{port}/a.mp3"


class _Server(socketserver.ThreadingTCPServer):
    daemon_threads = True

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Who hangs up is no error."""
        if not isinstance(sys.exception(), OSError):
            super().handle_error(request, client_address)


@contextlib.contextmanager
def _serving(handler: Callable[..., Any]) -> Iterator[int]:
    with _Server(("127.0.0.1", 0), handler) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
        thread.start()
        try:
            yield server.server_address[1]
        finally:
            server.shutdown()
            thread.join()
