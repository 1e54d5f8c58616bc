"""Every state of a connection has its time, and places go to those who ask."""

from __future__ import annotations

import asyncio
import logging
import socket
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

import pytest
from mosquitto import wait_until
from ports import HOST
from timing import within

from pe_stream.outputs import http_server
from pe_stream.outputs.http_server import ENDLESS, KNOWN, TOO_MANY, HttpServer
from pe_stream.outputs.listening import ListeningSocket

GET = b"GET / HTTP/1.1\r\nHost: x\r\n"


async def app(scope: Any, receive: Any, send: Any) -> None:
    """Answers /; /slow never; /endless without an end; a POST once it has the whole body."""
    if scope["path"] == "/slow":
        await asyncio.Event().wait()
    scope["state"][KNOWN] = scope["path"] == "/known"
    while scope["method"] == "POST":
        message = await receive()
        if message["type"] == "http.disconnect":
            return
        if not message["more_body"]:
            break
    headers = [(b"content-length", b"2")] if scope["path"] not in ("/endless", "/big") else []
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    if scope["path"] == "/endless":
        scope["state"][ENDLESS] = True
        await send({"type": "http.response.body", "body": b"...", "more_body": True})
        while (await receive())["type"] != "http.disconnect":
            pass
    if scope["path"] == "/big":
        for _ in range(1000):
            await send({"type": "http.response.body", "body": b"x" * 65536, "more_body": True})
    await send({"type": "http.response.body", "body": b"ok"})


class Standing:
    """A server, and connections to it."""

    def __init__(self, stack: ExitStack, server: HttpServer, port: int) -> None:
        self._stack, self.server, self.port = stack, server, port

    def say(self, *said: bytes, source: str = HOST) -> socket.socket:
        """Connect and say something; what comes back is waited for in between."""
        made = self._stack.enter_context(socket.socket())
        made.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        made.bind((source, 0))
        made.settimeout(within(10))
        made.connect((HOST, self.port))
        for number, each in enumerate(said):
            if number:
                answered(made)
            made.sendall(each)
        return made


def answered(connection: socket.socket) -> None:
    """Read a whole answer."""
    answer = b""
    while not answer.endswith(b"\r\n\r\nok"):
        more = connection.recv(65536)
        assert more
        answer += more
    assert answer.startswith(b"HTTP/1.1 200 OK")


@contextmanager
def standing(most: int = 20, share: int = 20) -> Iterator[Standing]:
    failed: list[BaseException] = []
    listening = ListeningSocket(
        socket.AF_INET,
        name="test",
        most=most,
        share=share,
        rate=1000,
        rate_share=1000,
        words=TOO_MANY,
    )
    listening.begin(HOST, 0, "choose another")
    port = listening.getsockname()[1]
    server = HttpServer(app, listening, failed.append)
    server.start()
    with ExitStack() as stack:
        yield Standing(stack, server, port)
        assert server.stop(within(5))
    assert not failed


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, seconds in {
        "HEAD_S": 0.3,
        "IDLE_S": 0.4,
        "BODY_S": 0.3,
        "RESPONSE_S": 0.5,
        "LINGER_S": 0.2,
    }.items():  # a test that has to wait for a core is no slow client
        monkeypatch.setattr(http_server, name, within(seconds))
    monkeypatch.setattr(http_server, "LOOK_S", 0.05)


def rest(connection: socket.socket) -> bytes:
    """What comes until the other end closes."""
    answer = b""
    try:
        while more := connection.recv(1 << 20):
            answer += more
    except ConnectionResetError:
        answer += b"<reset>"
    return answer


POST = b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 9\r\n\r\nx"


@pytest.mark.usefixtures("quick")
@pytest.mark.parametrize(
    ("said", "answer"),
    [
        ((b"",), ""),
        ((b"GET / HT",), "408"),
        ((GET + b"\r\n",), "200"),
        ((GET + b"\r\n", b"GET"), "408"),
        ((POST,), "408"),
        # what the keep-alive of uvicorn ends at the first byte
        ((GET + b"Content-Length: 60000\r\n\r\nx", b"y"), ""),
        ((GET + b"\r\n", GET + b"Content-Length: 60000\r\n\r\nx", b"z"), ""),
        ((b"GET /slow HTTP/1.1\r\nHost: x\r\n\r\n",), "408"),
        ((b"GET /big HTTP/1.1\r\nHost: x\r\n\r\n",), "200"),
    ],
)
def test_a_connection_ends_in_every_state(said: tuple[bytes, ...], answer: str) -> None:
    with standing() as there:
        connection = there.say(*said)
        began_s = time.monotonic()
        if said[0].startswith(b"GET /big"):  # takes nothing
            wait_until(lambda: not there.server._connections(), "it is cut")
        told = rest(connection)
        assert time.monotonic() - began_s < within(2)
        assert (told.split(b" ", 2)[1].decode() if told else "") == answer


def still_open(connection: socket.socket) -> bool:
    """Whether nothing more comes, but for what came."""
    connection.settimeout(0.01)
    try:
        while connection.recv(4096):
            pass
    except TimeoutError:
        return True
    return False


@pytest.mark.usefixtures("quick")
def test_who_asks_again_and_again_is_served_on_and_an_endless_answer_goes_on() -> None:
    with standing() as there:
        viewer = there.say(b"GET /endless HTTP/1.1\r\nHost: x\r\n\r\n")
        assert b"200 OK" in viewer.recv(4096)
        connection = there.say(GET + b"\r\n")
        for _ in range(8):
            answered(connection)
            time.sleep(within(0.15))
            connection.sendall(GET + b"\r\n")
        assert still_open(viewer)


def test_a_connection_does_not_last_for_ever(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(http_server, "TOTAL_S", within(0.3))
    monkeypatch.setattr(http_server, "LOOK_S", 0.05)
    monkeypatch.setattr(http_server, "IDLE_S", 1000.0)
    with standing() as there:
        assert rest(there.say(GET + b"\r\n")).count(b"200 OK") == 1
        viewer = there.say(b"GET /endless HTTP/1.1\r\nHost: x\r\n\r\n")
        time.sleep(within(0.6))  # one that is being answered ends with its answer
        assert still_open(viewer)


@pytest.mark.parametrize(
    "hold",
    [
        (b"",),
        (b"GET / HT",),
        (GET + b"Content-Length: 60000\r\n\r\nx", b"y"),
        (POST,),
        (b"GET /slow HTTP/1.1\r\nHost: x\r\n\r\n",),
    ],
    ids=["silent", "half a head", "body after the answer", "half a body", "no answer yet"],
)
def test_whoever_holds_connections_keeps_nobody_out(hold: tuple[bytes, ...]) -> None:
    """From the very same address, and with all places taken."""
    with standing(most=20, share=10) as there:
        known = there.say(b"GET /endless HTTP/1.1\r\nHost: x\r\n\r\n")
        assert known.recv(4096)
        held = [there.say(*hold) for _ in range(8)]
        # Who goes in the very turn in which it came was not heard yet.
        wait_until(lambda: _heard(there) == 1 + 8 * (hold[0] != b""), "they are heard")
        held += [there.say(*hold) for _ in range(32)]
        for source in (HOST, "127.0.0.2"):
            answered(there.say(GET + b"\r\n", source=source))
        assert len(there.server._connections()) <= 20
        assert len(there.server._connections()) > 1  # not all were sent away for one
        for each in held:
            each.setblocking(False)
        said = [_said(each) for each in held]
        owed = hold[0] != b"" and len(hold) == 1
        assert any(told.startswith(b"HTTP/1.1 503 ") for told in said) == owed


def _heard(there: Standing) -> int:
    """How many connections have asked, or begun to."""
    protocols = there.server._connections()
    return sum(each.cycle is not None or each.conn.trailing_data[0] != b"" for each in protocols)


def _said(connection: socket.socket) -> bytes:
    try:
        return connection.recv(4096)
    except (BlockingIOError, ConnectionResetError):
        return b""


@pytest.mark.parametrize("path", ["/slow", "/endless", "/big"])
def test_a_stop_ends_all_in_time_and_without_a_word(
    path: str, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.WARNING), standing() as there:
        connection = there.say(f"GET {path} HTTP/1.1\r\nHost: x\r\n\r\n".encode())
        wait_until(lambda: _asked(there), "it is asked")
        began_s = time.monotonic()
        assert there.server.stop(within(3))
        assert time.monotonic() - began_s < within(2)
        rest(connection)
    assert caplog.messages == []


def _asked(there: Standing) -> bool:
    return any(each.cycle is not None for each in there.server._connections())


def test_what_breaks_in_the_server_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    failed: list[BaseException] = []
    listening = ListeningSocket(socket.AF_INET, name="test", most=2, share=2, rate=9, rate_share=9)
    listening.begin(HOST, 0, "")
    server = HttpServer(app, listening, failed.append)
    server.start()

    def broken(*_: object) -> Callable[[], None]:
        raise RuntimeError("broken")

    monkeypatch.setattr(server, "_connections", broken)
    wait_until(lambda: failed != [], "it is told")
    assert "broken" in repr(failed[0])
