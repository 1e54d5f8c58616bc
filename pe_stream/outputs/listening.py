"""Sockets that anybody can connect to, of which nobody takes all places.

asyncio accepts from the socket that it is given, so the bounds are in that socket: how many
connections there are at a time, how many come in a second, and who has to go for a new one. Whoever
holds connections without asking anything loses them to those who come later, and whoever shows a
password or token keeps its own.
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import logging
import socket
import time
from collections import Counter
from collections.abc import Callable
from enum import IntEnum
from ipaddress import ip_address, ip_network
from typing import Any

from pe_stream.config.addresses import authority
from pe_stream.core.token_bucket import TokenBucket
from pe_stream.errors import UnavailableError
from pe_stream.outputs.complaints import Complaints
from pe_stream.outputs.shortage import NO_DESCRIPTOR, descriptor_limit, shortage

log = logging.getLogger(__name__)

BACKLOG = 128
"""Connections that the system keeps for us until they are accepted."""

PAUSE_S = 1.0
"""asyncio accepts nothing for so long after an error of the system (ACCEPT_RETRY_DELAY)."""

FRESH_S = 2.0
"""So long a connection may take to begin to ask."""

STALLED_MS = 20_000
"""A connection whose other end takes nothing for so long (ms) is cut."""

BURST_S = 2.0
"""So many seconds' worth of connections may come at once."""

REFUSED_A_TURN = 16
"""So many are sent away before the loop serves the others."""

REFUSED = 20
"""So many times its rate a socket sends away in a second; that costs a few percent of a core."""

SEND_BYTES = 256 * 1024
"""The system holds so much for one that reads slowly; else it may be megabytes."""


class Rank(IntEnum):
    """What a connection has to show for its place: where there are too many, the least goes."""

    WAITING = 0
    """It asks nothing at present."""

    ASKING = 1
    """It has asked, or asks."""

    KNOWN = 2
    """It is somebody who may be here, and goes for nobody."""


class AcceptedSocket(socket.socket):
    """A connection, with what decides who goes first; belongs to the loop that accepted it.

    network: where it comes from, as `network_of`. since_s: when it came (monotonic). rank: tells
    its rank. end: ends it, where another needs its place.
    """

    def __init__(
        self, accepted: socket.socket, network: str, left: Callable[[AcceptedSocket], None]
    ) -> None:
        """Take a socket over. left: called when it is closed."""
        family, kind, protocol = accepted.family, accepted.type, accepted.proto
        super().__init__(family, kind, protocol, fileno=accepted.detach())
        self.network = network
        self.rank: Callable[[], Rank] = lambda: Rank.WAITING
        self.end: Callable[[], None] = self.cut
        self.since_s = time.monotonic()
        self._left = left

    def cut(self) -> None:
        """End it at once: the loop sees that nothing comes any more."""
        try:
            self.shutdown(socket.SHUT_RDWR)
        except OSError:  # the other end was faster
            return

    def close(self) -> None:
        """Give the place back too."""
        self._left(self)
        super().close()


class ListeningSocket(socket.socket):
    """A socket for asyncio to accept from: at most `most` at a time, `share` of one network.

    Where there are too many, one of the least rank is ended, of the network with the most, the
    oldest first; where all are known, the new one is refused, with `words`. rate: connections
    accepted in a second; the others wait in the system. rate_share: of one network, which cannot
    keep others waiting: what is over that is refused, too. name: whose it is, in the log.
    """

    def __init__(
        self,
        family: socket.AddressFamily,
        *,
        name: str,
        most: int,
        share: int,
        rate: int,
        rate_share: int,
        words: bytes = b"",
    ) -> None:
        """Make a socket that is not bound yet."""
        super().__init__(family, socket.SOCK_STREAM)
        self.name, self.most, self._share = name, most, share
        self._rate_share, self._words = rate_share, words
        self._open: dict[int, AcceptedSocket] = {}  # by descriptor, oldest first
        now_s = time.monotonic()
        self._may_accept = TokenBucket(BURST_S * rate, rate, now_s)
        self._may_refuse = TokenBucket(REFUSED * rate, REFUSED * rate, now_s)
        self._may_come = dict[str, TokenBucket]()  # by network; who has not come of late is in none
        self._looked_s = now_s
        self._paused_until_s = 0.0
        self._made_room = False  # in this turn of the loop
        self._complaints = Complaints(log, f"{name}: connections, of which there may be {most}")
        self._tell = self._complaints.tell

    def begin(self, host: str, port: int, advice: str) -> None:
        """Listen there. Raises UnavailableError, which ends with the advice, and closes itself."""
        try:
            self.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            # Connections inherit both.
            self.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, SEND_BYTES)
            if hasattr(socket, "TCP_USER_TIMEOUT"):  # Linux
                self.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, STALLED_MS)
            self.bind((host, port))
            self.listen(BACKLOG)
        except OSError as error:
            self.close()
            raise UnavailableError(
                f"{self.name}: cannot listen on {authority(host, port)}: "
                f"{error.strerror or error}; {advice}"
            ) from error

    def close(self) -> None:
        """Listen no more, and tell what was not told yet."""
        super().close()
        self._complaints.tell_rest()

    def of(self, transport_socket: Any) -> AcceptedSocket | None:
        """The connection that a transport has; None where it has had to go already."""
        return self._open.get(transport_socket.fileno())

    def spares(self, kept: int) -> bool:
        """Whether one more may be known, with `kept` places left for others; if not, it is told."""
        if sum(each.rank() is Rank.KNOWN for each in self._open.values()) < self.most - kept:
            return True
        self._tell("refused: all places are taken")
        return False

    def accept(self) -> tuple[socket.socket, Any]:
        """Accept as asyncio asks for it, on its loop; raises OSError, by which asyncio pauses."""
        now_s = time.monotonic()
        # Some versions of asyncio ask on in the same turn. And whoever was accepted is to be heard
        # before somebody has to go again.
        if now_s < self._paused_until_s or self._made_room:
            self._made_room = False
            raise BlockingIOError
        if not self._may_accept.has(1, now_s) or not self._may_refuse.has(1, now_s):
            self._paused_until_s = now_s + 0.9 * PAUSE_S
            raise OSError(errno.ENOBUFS, "enough for this second")
        for _ in range(REFUSED_A_TURN):
            accepted, address = self._next(now_s)
            network = network_of(address[0])
            if not self._comes_too_often(network, now_s):
                break
            self._may_refuse.spend(1, now_s)
            self._refuse(accepted, "one address came too often")
        else:
            raise BlockingIOError
        self._may_accept.spend(1, now_s)
        if not self._make_room(network):
            self._refuse(accepted, "all places are taken")
            raise BlockingIOError
        made = AcceptedSocket(accepted, network, self._forget)
        self._open[made.fileno()] = made
        return made, address

    def _next(self, now_s: float) -> tuple[socket.socket, Any]:
        try:
            return super().accept()
        except OSError as error:
            if error.errno in NO_DESCRIPTOR:
                self._paused_until_s = now_s + 0.9 * PAUSE_S
                self._tell(f"waiting: {shortage(error)}")
            raise

    def _comes_too_often(self, network: str, now_s: float) -> bool:
        """Count one that comes from there."""
        if now_s - self._looked_s > BURST_S:
            self._looked_s = now_s
            self._may_come = {
                each: bucket for each, bucket in self._may_come.items() if not bucket.is_full(now_s)
            }
        bucket = self._may_come.get(network)
        if bucket is None:
            bucket = TokenBucket(BURST_S * self._rate_share, self._rate_share, now_s)
            self._may_come[network] = bucket
        if not bucket.has(1, now_s):
            return True
        bucket.spend(1, now_s)
        return False

    def _refuse(self, accepted: socket.socket, why: str) -> None:
        self._tell(f"refused: {why}")
        with accepted, contextlib.suppress(OSError):
            accepted.setblocking(False)
            accepted.send(self._words)

    def _make_room(self, network: str) -> bool:
        """End another where that is needed; False where nobody has to go."""
        counts = Counter(each.network for each in self._open.values())
        if len(self._open) >= self.most:
            rivals = list(self._open.values())
        elif counts[network] >= self._share:
            rivals = [each for each in self._open.values() if each.network == network]
        else:
            return True
        now_s = time.monotonic()

        def worth(each: AcceptedSocket) -> tuple[Rank, int]:
            # Who has just come was not heard yet, and would go for the very next.
            fresh = Rank.ASKING if now_s - each.since_s < FRESH_S else Rank.WAITING
            return max(each.rank(), fresh), -counts[each.network]

        first = min(rivals, key=worth)
        if first.rank() is Rank.KNOWN:
            return False
        self._forget(first)
        self._made_room = True
        first.end()
        self._tell("ended, as others came")
        return True

    def _forget(self, accepted: AcceptedSocket) -> None:
        if self._open.get(accepted.fileno()) is accepted:
            del self._open[accepted.fileno()]


def places(wanted: int, part: int) -> int:
    """How many connections may be open: as wanted, and no more than 1/`part` of all descriptors."""
    return max(2, min(wanted, descriptor_limit() // part))


def network_of(host: str) -> str:
    """Who counts as one: an address of IPv4, or the /64 of one of IPv6, which one house has."""
    try:
        address = ip_address(host.partition("%")[0])
    except ValueError:
        return host
    if address.version == 4:
        return str(address)
    if address.ipv4_mapped is not None:
        return str(address.ipv4_mapped)
    return str(ip_network((address, 64), strict=False))


def tell_of_loop(name: str, _: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
    """Log what a loop could tell nobody else; pauses of ListeningSocket are told there."""
    error = context.get("exception")
    if "accept" in context["message"] and isinstance(error, OSError):
        return
    what = "" if error is None else f": {type(error).__name__}: {error}".removesuffix(": ")
    log.warning("%s: %s%s", name, context["message"], what)
