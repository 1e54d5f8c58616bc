"""Who gets a place, who has to go, and what happens when the system has none."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import logging
import os
import resource
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import Self

import pytest
from mosquitto import wait_until
from ports import HOST
from timing import within

from pe_stream.outputs import complaints
from pe_stream.outputs import listening as listening_module
from pe_stream.outputs.listening import (
    BACKLOG,
    FRESH_S,
    AcceptedSocket,
    ListeningSocket,
    Rank,
    network_of,
    places,
)

REFUSED = b"no room\n"


@contextmanager
def listener(
    most: int, share: int, rate: int = 1000, rate_share: int | None = None
) -> Iterator[ListeningSocket]:
    made = ListeningSocket(
        socket.AF_INET,
        name="test",
        most=most,
        share=share,
        rate=rate,
        rate_share=rate_share or rate,
        words=REFUSED,
    )
    with made:
        made.begin("0.0.0.0", 0, "choose another")
        yield made


class Room:
    """A listener, and connections to it from several addresses of loopback."""

    def __init__(self, stack: ExitStack, listening: ListeningSocket) -> None:
        self._stack, self._listening = stack, listening
        self.port = listening.getsockname()[1]

    def enter(self, source: str, rank: Rank = Rank.WAITING) -> tuple[socket.socket, AcceptedSocket]:
        """Connect, and be accepted: both ends."""
        outside = self.knock(source)
        try:
            inside, _ = self._listening.accept()
        except BlockingIOError:  # asyncio serves the others before it asks again
            inside, _ = self._listening.accept()
        assert isinstance(inside, AcceptedSocket)
        self._stack.enter_context(inside)
        inside.rank = lambda: rank
        inside.since_s -= FRESH_S
        return outside, inside

    def knock(self, source: str) -> socket.socket:
        outside = socket.create_connection((HOST, self.port), within(5), (source, 0))
        return self._stack.enter_context(outside)


@contextmanager
def room(most: int, share: int, rate: int = 1000, rate_share: int | None = None) -> Iterator[Room]:
    with ExitStack() as stack, listener(most, share, rate, rate_share) as listening:
        yield Room(stack, listening)


A, B = "127.0.0.1", "127.0.0.2"


def gone(outside: socket.socket) -> bool:
    outside.setblocking(False)
    try:
        return outside.recv(100) == b""
    except BlockingIOError:
        return False


def test_the_oldest_that_asks_nothing_goes_for_one_that_comes() -> None:
    with room(most=4, share=4) as there:
        first, second, third, fourth = (
            there.enter(A, rank)[0]
            for rank in (Rank.KNOWN, Rank.ASKING, Rank.WAITING, Rank.WAITING)
        )
        there.enter(A, Rank.KNOWN)
        assert [gone(each) for each in (first, second, third, fourth)] == [False] * 2 + [
            True,
            False,
        ]
        there.enter(A, Rank.KNOWN)
        assert gone(fourth)
        there.enter(A, Rank.KNOWN)
        assert gone(second)
        assert not gone(first)


def test_who_has_just_come_is_heard_before_it_has_to_go() -> None:
    with room(most=3, share=3) as there:
        asking = [there.enter(A, Rank.ASKING)[0] for _ in range(3)]
        fresh, inside = there.enter(A)
        inside.since_s += FRESH_S
        there.enter(A, Rank.ASKING)
        assert not gone(fresh)
        assert [gone(each) for each in asking] == [True, True, False]


def test_where_all_are_known_the_new_one_is_told_why_not() -> None:
    with room(most=2, share=2) as there:
        kept = [there.enter(A, Rank.KNOWN)[0] for _ in range(2)]
        late = there.knock(A)
        with pytest.raises(BlockingIOError):  # by which asyncio goes on
            there._listening.accept()
        assert late.recv(100) == REFUSED
        assert not any(gone(each) for each in kept)


def test_an_address_has_a_share_and_takes_it_from_itself() -> None:
    with room(most=6, share=2) as there:
        mine = there.enter(B)[0]
        theirs = [there.enter(A)[0] for _ in range(5)]
        assert [gone(each) for each in theirs] == [True] * 3 + [False] * 2
        assert not gone(mine)


def test_where_all_places_are_taken_whoever_has_most_gives_one() -> None:
    with room(most=4, share=3) as there:
        mine = there.enter(B)[0]
        theirs = [there.enter(A)[0] for _ in range(3)]
        there.enter("127.0.0.3")
        assert not gone(mine)
        assert [gone(each) for each in theirs] == [True, False, False]


def test_a_connection_that_is_closed_gives_its_place_back() -> None:
    with room(most=1, share=1) as there:
        for _ in range(3):
            _, inside = there.enter(A, Rank.KNOWN)
            assert there._listening.of(inside) is inside
            inside.close()
            inside.close()
            assert there._listening.of(inside) is None


def test_the_log_tells_it_once_with_a_count(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    with room(most=1, share=1) as there, caplog.at_level(logging.WARNING):
        for _ in range(50):
            there.enter(A)
        assert len(caplog.messages) == 1
        monkeypatch.setattr(complaints, "TELL_S", 0.0)
        there.enter(A)
    assert (
        caplog.messages[1] == "test: connections, of which there may be 1: 49 ended, as others came"
    )


def test_what_the_log_was_not_told_yet_it_is_told_at_the_end(
    caplog: pytest.LogCaptureFixture,
) -> None:
    with room(most=1, share=1) as there, caplog.at_level(logging.WARNING):
        for _ in range(50):
            there.enter(A)
    assert [each.rpartition(": ")[2] for each in caplog.messages] == [
        "1 ended, as others came",
        "48 ended, as others came",
    ]


class Clock:
    """Monotonic time, as it is set."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.now_s = time.monotonic()
        monkeypatch.setattr(time, "monotonic", lambda: self.now_s)


def test_an_address_that_comes_too_often_is_told_so_and_others_do_not_wait(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    clock = Clock(monkeypatch)
    with room(most=100, share=100, rate=4, rate_share=2) as there:
        for _ in range(4):  # two seconds' worth
            there.enter(A)
        outsiders = [there.knock(A) for _ in range(3)]
        there.enter(B)  # is accepted in the same turn, after them
        assert [each.recv(100) for each in outsiders] == [REFUSED] * 3
        clock.now_s += 0.5
        there.enter(A)
        late = there.knock(A)
        there.enter(B)
        assert late.recv(100) == REFUSED
    assert "may be 100: 1 refused: one address came too often" in caplog.text


def test_sending_away_has_an_end_too(monkeypatch: pytest.MonkeyPatch) -> None:
    """In a turn, so that the loop serves others, and in a second, so that it costs little."""
    monkeypatch.setattr(listening_module, "REFUSED_A_TURN", 5)
    monkeypatch.setattr(listening_module, "REFUSED", 4)
    clock = Clock(monkeypatch)
    with room(most=100, share=100, rate=2, rate_share=1) as there:
        there.enter(A)
        there.enter(A)
        outsiders = [there.knock(A) for _ in range(20)]
        for _ in range(2):
            with pytest.raises(BlockingIOError):
                there._listening.accept()
        with pytest.raises(OSError, match="enough for this second"):
            there._listening.accept()
        for each in outsiders[:10]:
            assert each.recv(100) == REFUSED
        assert not any(gone(each) for each in outsiders[10:])
        clock.now_s += 0.9
        with pytest.raises(BlockingIOError):
            there._listening.accept()
        assert outsiders[13].recv(100) == REFUSED


def test_who_came_once_is_forgotten(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = Clock(monkeypatch)
    with room(most=100, share=100) as there:
        for number in range(20):
            there.enter(f"127.0.1.{number}")
        clock.now_s += 1.0
        there.enter(A)
        assert len(there._listening._may_come) == 21
        clock.now_s += 3.0
        there.enter(B)
        assert set(there._listening._may_come) == {B}


class Served:
    """asyncio, which accepts from a listener and serves echoes, on a thread."""

    def __init__(self, listening: ListeningSocket) -> None:
        self.told: list[str] = []
        self._listening = listening
        self._stop = asyncio.Event()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._thread = threading.Thread(target=lambda: asyncio.run(self._serve()))

    async def _serve(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._loop.set_exception_handler(lambda _, context: self.told.append(context["message"]))

        async def echo(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            writer.write(await reader.readline())
            writer.close()

        async with await asyncio.start_server(echo, sock=self._listening, backlog=BACKLOG):
            await self._stop.wait()

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        assert self._loop is not None
        self._loop.call_soon_threadsafe(self._stop.set)
        self._thread.join(within(10))
        assert not self._thread.is_alive()

    def ask(self, source: str = A, timeout_s: float = 10.0) -> bytes:
        port = self._listening.getsockname()[1]
        with socket.create_connection((HOST, port), within(timeout_s), (source, 0)) as outside:
            outside.sendall(b"hello\n")
            return outside.recv(100)


def test_no_more_are_accepted_in_a_second_than_allowed_and_none_is_lost() -> None:
    with listener(most=100, share=100, rate=5) as listening, Served(listening) as served:
        began = asyncio.new_event_loop()
        since_s = began.time()
        assert [served.ask() for _ in range(16)] == [b"hello\n"] * 16
        spent_s = began.time() - since_s
        began.close()
    assert spent_s > 1.0  # 10 at once, then 5 a second
    assert len(served.told) <= 4  # it does not spin meanwhile


def test_a_second_address_is_served_while_the_first_floods() -> None:
    with listener(100, share=50, rate=40, rate_share=20) as listening, Served(listening) as served:
        port, ended, count = listening.getsockname()[1], threading.Event(), [0]

        def flood() -> None:
            while not ended.is_set():
                with contextlib.suppress(OSError), socket.socket() as each:
                    each.bind((A, 0))
                    each.settimeout(within(5))
                    each.connect((HOST, port))
                    count[0] += 1

        flooding = [threading.Thread(target=flood) for _ in range(4)]
        for thread in flooding:
            thread.start()
        try:
            wait_until(lambda: count[0] > 200, "more than the burst, five times over")
            began_s = time.monotonic()
            assert [served.ask(B) for _ in range(10)] == [b"hello\n"] * 10
            assert time.monotonic() - began_s < within(10)  # behind the others it were 30
        finally:
            ended.set()
            for thread in flooding:
                thread.join()


def test_without_descriptors_it_waits_and_goes_on(monkeypatch: pytest.MonkeyPatch) -> None:
    """Some versions of asyncio ask on and on where there is none, with a line of the log each."""
    none_left = threading.Event()
    accept = socket.socket.accept

    def failing(self: socket.socket) -> tuple[socket.socket, object]:
        if none_left.is_set():
            raise OSError(errno.EMFILE, os.strerror(errno.EMFILE))
        return accept(self)

    with listener(most=100, share=100) as listening, Served(listening) as served:
        assert served.ask() == b"hello\n"
        monkeypatch.setattr(socket.socket, "accept", failing)
        none_left.set()
        port = listening.getsockname()[1]
        with socket.create_connection((HOST, port), within(5)) as outside:
            outside.sendall(b"hello\n")
            began_s = time.monotonic()
            wait_until(lambda: len(served.told) >= 2, "it tries again")
            none_left.clear()
            assert outside.recv(100) == b"hello\n"
        assert len(served.told) <= 4 + time.monotonic() - began_s


@pytest.mark.parametrize(
    ("host", "network"),
    [
        ("192.168.1.7", "192.168.1.7"),
        ("2001:db8:1:2:3:4:5:6", "2001:db8:1:2::/64"),
        ("2001:db8:1:2:ffff::1", "2001:db8:1:2::/64"),
        ("fe80::1%eth0", "fe80::/64"),
        ("::ffff:192.168.1.7", "192.168.1.7"),
        ("testclient", "testclient"),
    ],
)
def test_a_house_counts_as_one(host: str, network: str) -> None:
    assert network_of(host) == network


def test_places_leave_descriptors_for_the_rest(monkeypatch: pytest.MonkeyPatch) -> None:
    for limit, most in ((256, 64), (1024, 256), (65_536, 464), (resource.RLIM_INFINITY, 464)):
        monkeypatch.setattr(resource, "getrlimit", lambda _, limit=limit: (limit, limit))
        assert places(464, part=4) == most
