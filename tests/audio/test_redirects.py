"""Where a server sends whoever asks: what it is told, and how long it may take."""

from __future__ import annotations

import contextlib
import socket
import time
from typing import Any

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


@pytest.mark.parametrize("silent", [False, True])
def test_where_one_address_does_not_answer_another_does(*, silent: bool) -> None:
    with (
        serving(lambda connection, _: connection.sendall(MOVED)) as server,
        contextlib.ExitStack() as stack,
    ):
        if silent:  # it answers no connection any more, not even with a refusal
            full = stack.enter_context(socket.create_server(("127.0.0.2", server.port), backlog=0))
            for _ in range(3):
                waiting = stack.enter_context(socket.socket())
                waiting.setblocking(False)
                waiting.connect_ex(full.getsockname())
        found = ["127.0.0.2", "127.0.0.1"]
        assert location_of(server.url(), {}, timeout_s=2, addresses=found) is not None
        assert location_of(server.url(), {}, timeout_s=2, addresses=found[:1]) is None


def test_few_addresses_of_a_name_are_tried(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever answers for the name decides how many there are."""
    asked: list[str] = []

    class Refusing(socket.socket):
        def connect(self, address: Any) -> None:
            asked.append(address[0])
            raise ConnectionRefusedError

    kind = (socket.AF_INET, socket.SOCK_STREAM, 0, "")
    found = [(*kind, (f"127.0.1.{number}", 80)) for number in range(1, 21)]
    monkeypatch.setattr(socket, "getaddrinfo", lambda *_, **__: found)
    monkeypatch.setattr(socket, "socket", Refusing)
    assert location_of("http://radio.example/", {}, timeout_s=5) is None
    assert asked == ["127.0.1.1", "127.0.1.2", "127.0.1.3", "127.0.1.4"]
