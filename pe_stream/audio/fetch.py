"""What lies behind an HTTP address, as bytes, fetched from nowhere else than it may be.

FFmpeg's own client does the fetching, so cameras and radios find what they know: its raw demuxer
hands the body over as packets. It follows no redirect; where one leads is looked up and decided
here, as is every further address that a playlist names.
"""

from __future__ import annotations

import contextlib
import errno
import threading
from collections.abc import Collection, Iterator, Mapping

import av
import av.error
from av.container import InputContainer

from pe_stream.audio.allowed_servers import AllowedServers
from pe_stream.audio.libavformat import follows_redirects
from pe_stream.audio.limits import SilenceLimits
from pe_stream.audio.redirects import USER_AGENT, location_of
from pe_stream.errors import UnavailableError

MOST_REDIRECTS = 8
"""One after the other, as in FFmpeg."""

_PROTOCOLS = "http,https,httpproxy,crypto,tcp,tls"
_PACKET = 32_768
_ENCRYPTED = "crypto+"
_ELSEWHERE = {
    errno.EADDRNOTAVAIL,
    errno.ECONNREFUSED,
    errno.EHOSTUNREACH,
    errno.ENETDOWN,
    errno.ENETUNREACH,
    errno.ETIMEDOUT,
}
"""Errors after which another address of the same server may do."""

_PASSED_ON = {"offset", "end_offset", "key", "iv", "user_agent", "referer", "cookies", "headers"}
"""Options of FFmpeg's demuxers for an address that they want opened. All others are ours."""


class Fetcher:
    """Opens addresses for one stream. For one thread, but for `closed`.

    FFmpeg calls it back, and is told of the first error alone: PyAV keeps one, and prints the rest.
    After it there is nothing more to be had.

    error: the first one.
    """

    def __init__(
        self,
        url: str,
        *,
        timeout_s: float,
        other_hosts: Collection[str] = (),
        closed: threading.Event | None = None,
        what: str = "audio",
    ) -> None:
        """url: where the stream is said to be. timeout_s: of opening and of every read.

        other_hosts: names or addresses, with a port or without, of servers that it may lead to, or
        `*.` and a name.
        closed: once it is set, nothing more is fetched. what: is waited for.
        """
        self.error: UnavailableError | None = None
        self._timeout_s = timeout_s
        self._silence = SilenceLimits(timeout_s, closed, what)
        self._url = url
        self._servers = AllowedServers(url, other_hosts)

    def main(self) -> HttpBody:
        """The stream itself. Redirects to another server need two public addresses.

        Raises UnavailableError for one that may not be followed, and FFmpeg's errors.
        """
        return self._follow(self._url, {}, "a redirect")

    def nested(self, url: str, _flags: int, options: Mapping[str, str]) -> HttpBody | NoBody:
        """What FFmpeg is to open for a playlist: PyAV's `io_open`, called while it reads.

        On the same server only. What cannot be had there is empty: FFmpeg then goes on to the next
        segment. Raises UnavailableError, once, for what may not be fetched.
        """
        encrypted = url.startswith(_ENCRYPTED)
        address = url.removeprefix(_ENCRYPTED)
        passed = {name: value for name, value in options.items() if name in _PASSED_ON}
        prefix = _ENCRYPTED if encrypted else ""
        if not self.count(_PACKET):
            return NoBody()
        try:
            self._servers.check(address, "its playlist")
            return self._follow(address, passed, "a redirect in its playlist", prefix)
        except av.error.FFmpegError:
            return NoBody()
        except UnavailableError as error:
            self.error = error
            raise

    def heard(self) -> None:
        """Audio was decoded of what came, or nothing more comes; raises `error`."""
        if self.error is not None:
            raise self.error
        self._silence.heard()

    def count(self, size: int) -> bool:
        """Count bytes that came, or were asked for; whether there may be more.

        Raises, once, UnavailableError where no audio came of them for too long, and TooCostlyError
        where none is in so many.
        """
        if self.error is not None:
            return False
        try:
            self._silence.spend(size)
        except UnavailableError as error:
            self.error = error
            raise
        return True

    def check(self, _size: int) -> None:
        """Raise `error`: a packet came, of bytes that were counted. There may be none for long."""
        if not self.count(0) and self.error is not None:
            raise self.error

    def open(self, url: str, options: Mapping[str, str], prefix: str = "") -> InputContainer:
        """A body as raw packets; raises FFmpeg's errors, and UnavailableError for an old FFmpeg."""
        if follows_redirects():
            raise UnavailableError(
                f"FFmpeg {av.ffmpeg_version_info} cannot be kept from following redirects, so HTTP "
                "is not taken; PyAV 17.1 and later bring one that can"
            )
        ours = {
            "protocol_whitelist": _PROTOCOLS,
            "max_redirects": "0",
            "raw_packet_size": str(_PACKET),
            "probesize": "32",
        }
        asked = {"user_agent": USER_AGENT, **options, **ours}
        limits = (self._timeout_s, self._timeout_s)
        for way in (ways := self._servers.ways(url, asked, prefix)):
            self.check(0)  # all of them together have no more time than a stream
            try:
                container = av.open(
                    way.url, "r", format="data", options=way.options, timeout=limits
                )
            except av.error.FFmpegError as error:
                silent = isinstance(error, av.error.ExitError) or error.errno in _ELSEWHERE
                if not silent:
                    self._servers.answered(url, way.address)
                if not silent or way is ways[-1]:
                    raise
            else:
                self._servers.answered(url, way.address)
                return container
        raise AssertionError("there is a way at least")

    def _follow(
        self, url: str, options: Mapping[str, str], what: str, prefix: str = ""
    ) -> HttpBody:
        for _ in range(MOST_REDIRECTS):
            try:
                return HttpBody(self, url, prefix, options)
            except av.error.FFmpegError as error:
                if error.errno != errno.EIO:  # not what a redirect ends with
                    raise
                addresses = self._servers.addresses(url)
                location = location_of(
                    url,
                    options,
                    timeout_s=self._timeout_s,
                    addresses=addresses,
                    verified=bool(addresses),
                )
                if location is None:
                    raise
            self._servers.check_redirect(location, what)
            url = location
        raise UnavailableError(f"more than {MOST_REDIRECTS} redirects")


class NoBody:
    """What could not be had, as a file."""

    def read(self, _size: int) -> bytes:
        """Nothing."""
        return b""


class HttpBody:
    """A body as a file that PyAV reads, from its beginning to its end unless `allow_seeking`.

    name: its address, which relative ones in a playlist go on from. length: bytes, 0 if unknown.
    """

    def __init__(self, fetcher: Fetcher, url: str, prefix: str, options: Mapping[str, str]) -> None:
        """Open it; raises FFmpeg's errors."""
        self.name = url
        self._fetcher = fetcher
        self._prefix, self._options = prefix, options
        self._container = fetcher.open(url, options, prefix)
        self.length = max(0, self._container.size)
        self._size = 0
        self._packets = self._read(self._container)
        self._rest = b""
        # Where the next byte is wanted, and where it would come from.
        self._at = self._comes = 0

    def read(self, size: int) -> bytes:
        """At most `size` bytes, as soon as there are any; none at the end."""
        if self._at != self._comes and not self._move():
            return b""
        if not self._rest:
            self._rest = next(self._packets, b"")
        taken, self._rest = self._rest[:size], self._rest[size:]
        self._at += len(taken)
        self._comes = self._at
        return taken

    def peek(self, size: int) -> bytes:
        """What `read` returns next: `size` bytes or more, fewer at the end alone."""
        while len(self._rest) < size and (more := next(self._packets, b"")):
            self._rest += more
        return self._rest

    def allow_seeking(self) -> None:
        """Have it sought in, where its length is known and the server sends parts: it is asked."""
        if self.length > 1:
            with contextlib.suppress(av.error.FFmpegError):
                last = {**self._options, "offset": str(self.length - 1)}
                self._fetcher.open(self.name, last, self._prefix).close()
                self._size = self.length

    def seekable(self) -> bool:
        """Whether `seek` may be called."""
        return self._size > 0

    def tell(self) -> int:
        """Where in the body `read` goes on."""
        return self._at

    def seek(self, offset: int, whence: int = 0) -> int:
        """Go on elsewhere; returns where. The server is asked once something is read there."""
        at = (0, self._at, self._size)[whence] + offset
        self._at = max(0, min(at, self._size))
        return self._at

    def close(self) -> None:
        """Hang up."""
        self._container.close()

    def _move(self) -> bool:
        """Have the body from `_at` on; False at its end, and where the server does not send it."""
        if self._at >= self._size or not self._fetcher.count(0):
            return False
        try:
            options = {**self._options, "offset": str(self._at)}
            container = self._fetcher.open(self.name, options, self._prefix)
        except av.error.FFmpegError:
            return False
        self._container.close()
        self._container, self._packets = container, self._read(container)
        self._rest, self._comes = b"", self._at
        return True

    def _read(self, container: InputContainer) -> Iterator[bytes]:
        packets = container.demux()
        while True:
            try:
                packet = next(packets, None)
            except av.error.OSError as error:
                # What has no length ends with the connection, which FFmpeg takes for too early.
                if error.errno != errno.EIO or self.length:
                    raise
                return
            if packet is None:
                return
            if packet.size:
                if not self._fetcher.count(packet.size):
                    return
                yield bytes(packet)
