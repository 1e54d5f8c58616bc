"""Servers on loopback that send what no camera would, mostly over HTTP: one handler each."""

from __future__ import annotations

import contextlib
import itertools
import re
import socket
import ssl
import struct
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

import numpy as np

Handler = Callable[[socket.socket, str], None]
"""Answers a request: the connection, and the path asked for; see `serving` for ranges."""

UNBOUNDED = 0xFFFFFFFF
"""Stated as the length of what goes on for ever."""

LINGER_S = 60.0


@dataclass
class Hostile:
    """A server and what it was asked for."""

    port: int
    paths: list[str] = field(default_factory=list)
    requests: list[str] = field(default_factory=list)

    def url(self, path: str = "/live", scheme: str = "http") -> str:
        return f"{scheme}://127.0.0.1:{self.port}{path}"


@contextlib.contextmanager
def serving(
    handler: Handler,
    *,
    ranges: bool = False,
    asked: bool = True,
    tls: ssl.SSLContext | None = None,
) -> Iterator[Hostile]:
    """A server that answers every connection with `handler`, each on a thread of its own.

    ranges: the path is followed by the bytes asked for, as in "/live 0-99", "/live 100-". asked:
    wait for a request, which clients of bare TCP do not send. tls: speak it.
    """
    listening = socket.create_server(("127.0.0.1", 0), backlog=50)
    hostile = Hostile(listening.getsockname()[1])
    connections: list[socket.socket] = []

    def answer(connection: socket.socket) -> None:
        with contextlib.ExitStack() as stack:
            stack.enter_context(contextlib.suppress(OSError, IndexError))
            stack.enter_context(connection)
            connection.settimeout(LINGER_S)
            if tls is not None:
                connection = stack.enter_context(tls.wrap_socket(connection, server_side=True))
            if not asked:
                handler(connection, "")
                return
            request = connection.recv(4000).decode("latin-1")
            path = request.split()[1]
            hostile.requests.append(request)
            hostile.paths.append(path)
            if ranges and (part := re.search(r"\r\nRange: bytes=(\S+)", request)):
                path += f" {part[1]}"
            handler(connection, path)

    def accept() -> None:
        with contextlib.suppress(OSError):
            while True:
                connection, _ = listening.accept()
                connections.append(connection)
                threading.Thread(target=answer, args=(connection,), daemon=True).start()

    thread = threading.Thread(target=accept, daemon=True)
    thread.start()
    try:
        yield hostile
    finally:
        listening.shutdown(socket.SHUT_RDWR)
        listening.close()
        for connection in connections:
            with contextlib.suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)
        thread.join()


def head(kind: str = "audio/wav", length: int | None = None, status: str = "200 OK") -> bytes:
    lines = [f"HTTP/1.0 {status}", f"Content-Type: {kind}"]
    if length is not None:
        lines.append(f"Content-Length: {length}")
    return ("\r\n".join(lines) + "\r\n\r\n").encode()


def wav_head(rate: int, channels: int = 1, bits: int = 8, size: int = UNBOUNDED) -> bytes:
    """The header of a WAV file, with any numbers in it."""
    frame = channels * bits // 8
    numbers = (16, 1, channels, rate, rate * frame & 0xFFFFFFFF, frame & 0xFFFF, bits)
    form = b"WAVEfmt " + struct.pack("<IHHIIHH", *numbers) + b"data" + struct.pack("<I", size)
    return b"RIFF" + struct.pack("<I", UNBOUNDED) + form


def tone(rate: int = 48_000, seconds: float = 1.0) -> bytes:
    """16-bit samples that vary."""
    rng = np.random.default_rng(0)
    return rng.normal(0, 3000, round(rate * seconds)).astype("<i2").tobytes()


def wav(rate: int, channels: int = 1) -> Handler:
    """WAV of that rate, 40 kB a second, as long as somebody listens."""

    def answer(connection: socket.socket, _: str) -> None:
        connection.sendall(head() + wav_head(rate, channels))
        while True:
            connection.sendall(b"\x80\x90" * 4096)
            time.sleep(0.2)

    return answer


def flood(rate: int = 48_000, channels: int = 1) -> Handler:
    """Good audio without end, as fast as it is read."""

    def answer(connection: socket.socket, _: str) -> None:
        connection.sendall(head() + wav_head(rate, channels, bits=16))
        some = tone(rate)
        while True:
            connection.sendall(some)

    return answer


def garbage(connection: socket.socket, _: str) -> None:
    """MP3, it says, in which no frame ever begins; as fast as it is read."""
    connection.sendall(head("audio/mpeg") + b"ID3\x04\0\0\x7f\x7f\x7f\x7f")
    chunk = np.random.default_rng(0).integers(0, 255, 2**20, np.uint8).tobytes()
    while True:
        connection.sendall(chunk)


def drip(connection: socket.socket, _: str) -> None:
    """A byte now and then, so that the line is never silent."""
    connection.sendall(head() + wav_head(48_000, bits=16))
    while True:
        connection.sendall(b"\0")
        time.sleep(0.5)


def endless_playlist(connection: socket.socket, path: str) -> None:
    """HLS whose segments are not there, as many as one likes to ask for."""
    if path != "/live":
        connection.sendall(head(status="404 Not Found", length=0))
        return
    segments = "".join(f"#EXTINF:1,\nsegment{number}.ts\n" for number in range(20_000))
    body = f"#EXTM3U\n#EXT-X-TARGETDURATION:1\n{segments}#EXT-X-ENDLIST\n".encode()
    connection.sendall(head("application/vnd.apple.mpegurl", len(body)) + body)


def changing(frames: list[list[bytes]]) -> Handler:
    """A stream that takes its next frame from another encoder each time: see `adts_frames`."""

    def answer(connection: socket.socket, _: str) -> None:
        connection.sendall(head("audio/aac"))
        began_s = time.monotonic()
        for number in itertools.count():
            kind = frames[number % len(frames)]
            connection.sendall(kind[number // len(frames) % len(kind)])
            time.sleep(max(0.0, began_s + number * 0.02 - time.monotonic()))

    return answer


def undecodable(size: int) -> bytes:
    """AAC in ADTS by its header, with nothing in it that any decoder takes."""
    head = bytes(
        (0xFF, 0xF1, 0x4C, 0x40 | size >> 11, size >> 3 & 0xFF, (size & 7) << 5 | 31, 0xFC)
    )
    return head + b"\xa5" * (size - len(head))


def repeated(packets: bytes, *, most: int, pause_s: float, first: bytes = b"") -> Handler:
    """The same packets again and again, `most` times; bare, as TCP has them."""

    def answer(connection: socket.socket, _: str) -> None:
        connection.sendall(first)
        for _number in range(most):
            connection.sendall(packets)
            time.sleep(pause_s)

    return answer


def adts_frames(data: bytes) -> list[bytes]:
    """The frames of AAC in ADTS."""
    frames, at = [], 0
    while at + 7 <= len(data):
        length = (data[at + 3] & 3) << 11 | data[at + 4] << 3 | data[at + 5] >> 5
        frames.append(data[at : at + length])
        at += length
    return frames
