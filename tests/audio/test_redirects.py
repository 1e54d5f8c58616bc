"""Where a server sends whoever asks: what it is told, and how long it may take."""

from __future__ import annotations

import socket
import time

import pytest
from audio.hostile_servers import serving
from timing import within

from pe_stream.audio.redirects import USER_AGENT, location_of

MOVED = b"HTTP/1.1 302 Found\r\nLocation: ../b?c\r\n\r\n"


def test_it_is_told_what_it_is_told_of_the_stream() -> None:
    options = {"referer": "http://page/", "headers": "X-One: 1\r\n", "user_agent": "radio"}
    with serving(lambda connection, _: connection.sendall(MOVED)) as server:
        url = server.url("/a/x y?q#z").replace("//", "//user:p%2Fw@")
        assert location_of(url, options, timeout_s=5) == url.replace("/a/x y?q#z", "/b?c")
        assert location_of(server.url(), {}, timeout_s=5) is not None
    first, second = server.requests
    assert first.startswith("GET /a/x%20y?q HTTP/1.1\r\n")
    for line in ("User-Agent: radio", "Referer: http://page/", "X-One: 1"):
        assert f"\r\n{line}\r\n" in first
    assert "\r\nAuthorization: Basic dXNlcjpwL3c=\r\n" in first
    assert f"\r\nUser-Agent: {USER_AGENT}\r\n" in second
    assert USER_AGENT.startswith("Lavf/")


@pytest.mark.parametrize(
    "answer",
    [
        b"",
        b"\xff" * 100,
        b"HTTP/1.1 302 Found\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nLocation: /b\r\n\r\n",
        b"HTTP/1.1 3020 Found\r\nLocation: /b\r\n\r\n",
        b"HTTP/1.1 302 Found\r\nLocation: http://[/b\r\n\r\n",
        b"HTTP/1.1 302 Found\r\n" + b"a: b\r\n" * 20_000,
    ],
)
def test_whatever_else_is_answered_leads_nowhere(answer: bytes) -> None:
    with serving(lambda connection, _: connection.sendall(answer)) as server:
        assert location_of(server.url(), {}, timeout_s=5) is None


@pytest.mark.parametrize("piece", [b"", b"a: b\r\n"])
def test_it_has_so_much_time_in_all(piece: bytes) -> None:
    def trickle(connection: socket.socket, _: str) -> None:
        connection.sendall(b"HTTP/1.1 302 Found\r\n")
        while True:
            connection.sendall(piece)
            time.sleep(0.05)

    with serving(trickle) as server:
        began_s = time.monotonic()
        assert location_of(server.url(), {}, timeout_s=0.3) is None
        assert time.monotonic() - began_s < within(5)
