"""A broker that answers as it should, and then sends anything; and what it may send."""

from __future__ import annotations

import contextlib
import random
import socket
import struct
import threading
from collections.abc import Iterator
from typing import IO

from ports import HOST

TOPIC = b"pe_stream/test_node/kitchen/loud/set"

BARRIER = b"nobody/listens"

AT_ONCE = 20
"""Well-formed packets that are sent together."""

PATIENCE_S = 0.3
"""A packet whose end does not come is waited for so long."""


def packet(first: int, body: bytes) -> bytes:
    return bytes([first]) + length(len(body)) + body


def length(number: int) -> bytes:
    made = b""
    while True:
        low, number = number % 128, number // 128
        made += bytes([low | (128 if number else 0)])
        if not number:
            return made


def text(content: bytes) -> bytes:
    return struct.pack("!H", len(content)) + content


def cases(*, v5: bool) -> list[bytes]:
    """Packets that each break a rule of MQTT, or look as if."""
    p = b"\x00" if v5 else b""
    connacks = [b"", b"\x00", b"\x00\x00\x05\x99\x01\x02\x03\x04", b"\x00\x00\xff\x7f\x21"]
    connacks += [
        b"\x00\x55\x00",
        b"\x00\x00\x03\x21\x00\x00",
        b"\x00\x00\x06\x21\x00\x05\x21\x00\x06",
    ]
    connacks += [
        b"\x00\x00\x03\x13\x00\x00",
        b"\x00\x00\x02\x24\x00",
        b"\x00\x00\x05\x27\x00\x00\x00\x01",
    ]
    connacks += [b"\x00\x00\x08\x26" + text(b"\xff\xfe") + text(b"x"), b"\x00\x00" + p]
    payloads = [b'{"threshold": NaN}', b"[" * 4000, b'{"threshold":' + b"9" * 4060 + b"}"]
    payloads += [b'{"threshold":1e999}', bytes(range(256)), b"x" * 70_000, b'{"threshold": "0.5"}']
    topics = [
        b"pe_stream/test_node/\xff\xfe/x/set",
        b"",
        b"a\x00b",
        b"#",
        b"\xed\xa0\x80",
        b"/" * 999,
    ]
    properties = [b"\x03\x99\x00\x00", b"\x03\x23\x00\x00", b"\xff\xff\x7f", b"\x02\x01", b"\x80"]
    return [
        *(packet(0x20, body) for body in connacks),
        *(packet(0x30, text(topic) + p + b"{}") for topic in topics),
        *(packet(0x30, text(TOPIC) + p + payload) for payload in payloads),
        *(packet(0x30, text(TOPIC) + each + b"{}") for each in properties),
        *(packet(0x30, body) for body in (b"", b"\x00", b"\xff\xffab")),
        packet(0x36, text(TOPIC) + b"\x00\x01" + p + b"{}"),
        packet(0x32, text(TOPIC)),
        packet(0x34, text(TOPIC) + b"\x00\x07" + p + b"{}"),
        b"\x30\xff\xff\xff\xff\x01",
        b"HTTP/1.1 400 Bad Request\r\n\r\n",
        *(packet(0x40, body) for body in (b"\x12\x34", b"\x12", b"", b"\x00\x01\x77\x00")),
        packet(0x40, b"\x00\x01\x00\x03\x99\x00\x00"),
        *(packet(0x90, body) for body in (b"", b"\x00\x01\x00", b"\x00\x01\x00\x55")),
        packet(0x90, b"\x00\x01\x03\x99\x00\x00\x01"),
        *(packet(0xE0, body) for body in (b"\x55\x00", b"\x8b\x00", b"\x8b\x03\x99\x00\x00")),
        packet(0xF0, b"\x00\x00"),
        b"\x00\x00",
        packet(0x10, b"\x00\x04MQTT\x05\x02\x00\x3c\x00\x00\x00"),
        packet(0x82, b"\x00\x01\x00\x00\x01a\x00"),
        b"\xc0\x00",
        packet(0xC0, b"x"),
        b"\xd0\x00",
        *(packet(first, b"\x00\x09") for first in (0x50, 0x62, 0x70)),
        *(packet(first, b"\x00") for first in (0x62, 0xB0)),
        random.Random(1).randbytes(400),
    ]


_FIRST = (0x20, 0x30, 0x31, 0x32, 0x34, 0x40, 0x50, 0x62, 0x70, 0x90, 0xB0, 0xD0, 0xE0, 0xF0)


def packets(count: int, seed: int, *, v5: bool) -> Iterator[tuple[bytes, bool]]:
    """So many, and whether each is well formed: each case, then damaged cases, random bodies.

    Most are well formed, as whatever is not mostly ends the connection; nearly all have the length
    that they tell.
    """
    rng, known = random.Random(seed), cases(v5=v5)
    yield from ((each, False) for each in known[:count])
    for _ in range(count - len(known)):
        kind = rng.random()
        if kind < 0.001:  # its end may never come
            yield rng.randbytes(rng.randint(1, 40)), False
        elif kind < 0.75:
            yield _well_formed(rng, b"\x00" if v5 else b""), True
        elif kind < 0.87:
            yield packet(rng.choice(_FIRST), _body(rng)), False
        else:
            made = bytearray(rng.choice(known))
            head = 2 if len(made) < 130 else 4
            for _ in range(rng.randint(1, 4)):
                if len(made) > head:
                    made[rng.randrange(head, len(made))] = rng.randrange(256)
            yield packet(made[0], bytes(made[head:])), False


def _well_formed(rng: random.Random, properties: bytes) -> bytes:
    """What a broker may send, about nothing that was ever sent or asked for."""
    identifier = struct.pack("!H", rng.randint(1, 65_535))
    topic = rng.choice([TOPIC, b"a/b", "pe_stream/\u00e9/\U0001f415/x/set".encode(), b"$SYS/x"])
    payload = rng.choice([b"{}", b'{"threshold": 1e-320}', rng.randbytes(rng.randint(0, 60))])
    return rng.choice(
        [
            packet(0x30 | rng.randrange(2), text(topic) + properties + payload),
            packet(0x32, text(topic) + identifier + properties + payload),
            packet(0x40, identifier),
            packet(0x50, identifier),
            packet(0x70, identifier),
            packet(0x90, identifier + properties + b"\x01"),
            b"\xd0\x00",
        ]
    )


def _body(rng: random.Random) -> bytes:
    return rng.choice(
        [
            rng.randbytes(rng.randint(0, 30)),
            text(TOPIC) + b"\x00" + rng.randbytes(9),
            b"\x00\x01" + rng.randbytes(rng.randint(0, 6)),
            text(TOPIC) + rng.randbytes(8),
            text(rng.randbytes(rng.randint(0, 9))) + rng.randbytes(rng.randint(0, 9)),
        ]
    )


class OneByOne:
    """A broker on a free port that serves its clients one after the other, on a thread."""

    def __init__(self) -> None:
        self.connections = 0
        self._listening = socket.create_server((HOST, 0))
        self.port: int = self._listening.getsockname()[1]
        threading.Thread(target=self._serve, daemon=True).start()

    def close(self) -> None:
        self._listening.close()

    def speak(self, client: socket.socket) -> None:
        """With one client, until it has gone; what that raises ends the connection."""
        raise NotImplementedError

    def _serve(self) -> None:
        while True:
            try:
                client, _ = self._listening.accept()
            except OSError:
                return
            self.connections += 1
            client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            client.settimeout(20)
            with client, contextlib.suppress(OSError, EOFError):
                self.speak(client)


class HostileBroker(OneByOne):
    """Sends `said` to whoever connects, packet after packet, over as many connections as it takes.

    After one that may end the connection, it waits until the client has taken it, or has gone. When
    all is said, it is a good broker, and keeps the events of a source. It speaks the version of
    MQTT that it is asked in.
    """

    def __init__(self, said: Iterator[tuple[bytes, bool]]) -> None:
        self._said = said
        self.sent = self.ended = 0
        self.last = b""
        self.events: list[bytes] = []
        self.good = threading.Event()
        super().__init__()

    def speak(self, client: socket.socket) -> None:
        stream = client.makefile("rb")
        _, connect = read(stream)
        v5 = connect[6] == 5
        client.sendall(packet(0x20, b"\x00\x00\x00" if v5 else b"\x00\x00"))
        answers = _Answers(client, stream, v5=v5, events=self.events)
        if self.good.is_set():
            answers.go_on()
            return
        some: list[bytes] = []
        for each, well_formed in self._said:
            some.append(each)
            self.sent += 1
            if well_formed and len(some) < AT_ONCE:
                continue
            self.last, some = b"".join(some), []
            client.sendall(self.last + answers.barrier())
            if not answers.wait():
                self.ended += 1
                return
        self.good.set()


class _Answers:
    """What the client says, and the acknowledgements that it is owed."""

    def __init__(
        self, client: socket.socket, stream: IO[bytes], *, v5: bool, events: list[bytes]
    ) -> None:
        self._client, self._stream = client, stream
        self._properties = b"\x00" if v5 else b""
        self._events = events
        self._number = 0

    def barrier(self) -> bytes:
        """A message whose acknowledgement says that all before it was taken."""
        self._number = self._number % 60_000 + 1
        return packet(0x32, text(BARRIER) + struct.pack("!H", self._number) + self._properties)

    def wait(self) -> bool:
        """Until the barrier is acknowledged; False where the client has gone, or waits for more."""
        self._client.settimeout(PATIENCE_S)
        try:
            while True:
                first, body = read(self._stream)
                if first >> 4 == 4 and body[:2] == struct.pack("!H", self._number):
                    return True
                self._answer(first, body)
        except (OSError, EOFError):
            return False

    def go_on(self) -> None:
        """Acknowledge events, and keep them."""
        self._client.settimeout(60)
        while True:
            first, body = read(self._stream)
            self._answer(first, body)
            if first >> 4 == 3:
                end = 2 + struct.unpack("!H", body[:2])[0]
                if first & 6:
                    self._client.sendall(packet(0x40, body[end : end + 2]))
                    end += 2
                if body[2:].startswith(b"pe_stream/test_node/kitchen/events"):
                    self._events.append(body[end + len(self._properties) :])

    def _answer(self, first: int, body: bytes) -> None:
        if first >> 4 == 8:
            self._client.sendall(packet(0x90, body[:2] + self._properties + b"\x01"))
        elif first >> 4 == 12:
            self._client.sendall(b"\xd0\x00")


def read(stream: IO[bytes]) -> tuple[int, bytes]:
    def exactly(count: int) -> bytes:
        got = stream.read(count)
        if len(got) < count:
            raise EOFError
        return got

    first, number, shift = exactly(1)[0], 0, 0
    while True:
        byte = exactly(1)[0]
        number |= (byte & 127) << shift
        shift += 7
        if not byte & 128:
            return first, exactly(number)
