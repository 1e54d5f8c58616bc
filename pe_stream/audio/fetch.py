"""What lies behind an HTTP address, as bytes, fetched from nowhere else than it may be.

FFmpeg's own client does the fetching, so cameras and radios find what they know: its raw demuxer
hands the body over as packets. It follows no redirect; where one leads is looked up and decided
here, as is every further address that a playlist names.
"""

from __future__ import annotations

import base64
import contextlib
import errno
import ipaddress
import socket
import ssl
import threading
from collections.abc import Callable, Collection, Iterator, Mapping
from http.client import HTTPConnection, HTTPException, HTTPSConnection
from typing import NamedTuple
from urllib.parse import unquote, urljoin, urlsplit

import av
import av.error
from av.container import InputContainer

from pe_stream.audio.libavformat import follows_redirects
from pe_stream.audio.limits import SilenceLimits
from pe_stream.config.addresses import authority, origin
from pe_stream.errors import UnavailableError

MOST_REDIRECTS = 8
"""One after the other, as in FFmpeg."""

_PROTOCOLS = "http,https,httpproxy,crypto,tcp,tls"
_PORTS = {"http": 80, "https": 443}
_PACKET = 32_768
_ENCRYPTED = "crypto+"
_REDIRECTS = {301, 302, 303, 307, 308}

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
    ) -> None:
        """url: where the stream is said to be. timeout_s: of opening and of every read.

        other_hosts: names or addresses, with a port or without, of servers that it may lead to.
        closed: once it is set, nothing more is fetched.
        """
        self.error: UnavailableError | None = None
        self._timeout_s = timeout_s
        self._silence = SilenceLimits(timeout_s, closed)
        self._other_hosts = frozenset(host.lower() for host in other_hosts)
        self._url = url
        server = _server(url)
        self._servers = set() if server is None else {server}

    def main(self) -> HttpBody:
        """The stream itself. Redirects to another server need two public addresses.

        Raises UnavailableError for one that may not be followed, and FFmpeg's errors.
        """
        return self._follow(self._url, {}, self._check_redirect)

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
            self._check(address, "its playlist")
            return self._follow(address, passed, self._check_segment, prefix)
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

    def open(self, url: str, options: Mapping[str, str]) -> InputContainer:
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
        limits = (self._timeout_s, self._timeout_s)
        return av.open(url, "r", format="data", options={**options, **ours}, timeout=limits)

    def _follow(
        self,
        url: str,
        options: Mapping[str, str],
        check: Callable[[str], None],
        prefix: str = "",
    ) -> HttpBody:
        for _ in range(MOST_REDIRECTS):
            try:
                return HttpBody(self, url, prefix, options)
            except av.error.FFmpegError as error:
                if error.errno != errno.EIO:  # not what a redirect ends with
                    raise
                location = self._location(url)
                if location is None:
                    raise
            check(location)
            url = location
        raise UnavailableError(f"more than {MOST_REDIRECTS} redirects")

    def _location(self, url: str) -> str | None:
        """Where the server sends whoever asks for `url`; None where it does not."""
        parts = urlsplit(url)
        server = _server(url)
        if server is None:
            return None
        connection = (
            HTTPSConnection(*server, timeout=self._timeout_s, context=_as_ffmpeg_does())
            if parts.scheme.lower() == "https"
            else HTTPConnection(*server, timeout=self._timeout_s)
        )
        path = parts._replace(scheme="", netloc="", fragment="").geturl() or "/"
        with contextlib.closing(connection):
            try:
                connection.request("GET", path, headers={"Accept": "*/*", **_login(url)})
                answer = connection.getresponse()
            except (OSError, HTTPException, ValueError):
                return None
            to = answer.headers.get("Location")
            return urljoin(url, to) if answer.status in _REDIRECTS and to else None

    def _check_segment(self, url: str) -> None:
        self._check(url, "a redirect in its playlist")

    def _check_redirect(self, url: str) -> None:
        """Likewise for a redirect of the stream, which may go from one public server to another."""
        server = _server(url)
        if server is not None and all(_is_public(each) for each in {*self._servers, server}):
            self._servers.add(server)
        self._check(url, "a redirect")

    def _check(self, url: str, what: str) -> None:
        """Raise UnavailableError where `what` may not lead to that address."""
        server = _server(url)
        if server is None:
            raise UnavailableError(f"{what} leads to {origin(url)}, which is no web address")
        upgraded = server.port == _PORTS["https"] and server._replace(port=_PORTS["http"])
        named = {server.host, f"[{server.host}]", authority(*server)} & self._other_hosts
        if server not in self._servers and upgraded not in self._servers and not named:
            raise UnavailableError(
                f"{what} leads to another server, {origin(url)}: name it in `other_hosts` of the "
                "source if that is right"
            )


class HostPort(NamedTuple):
    """Who answers at an address."""

    host: str
    port: int


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
        self._fetched, self._options = prefix + url, options
        self._container = fetcher.open(self._fetched, options)
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
                self._fetcher.open(self._fetched, {"offset": str(self.length - 1)}).close()
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
        if self._at >= self._size:
            return False
        try:
            options = {**self._options, "offset": str(self._at)}
            container = self._fetcher.open(self._fetched, options)
        except av.error.FFmpegError:
            return False
        self._container.close()
        self._container, self._packets = container, self._read(container)
        self._rest, self._comes = b"", self._at
        return True

    def _read(self, container: InputContainer) -> Iterator[bytes]:
        for packet in container.demux():
            if packet.size:
                if not self._fetcher.count(packet.size):
                    return
                yield bytes(packet)


def _server(url: str) -> HostPort | None:
    """Whom a web address names; None where it is none."""
    try:
        parts = urlsplit(url)
        usual = _PORTS[parts.scheme.lower()]
        return HostPort(parts.hostname or "", parts.port or usual) if parts.hostname else None
    except (ValueError, KeyError):
        return None


def _is_public(server: HostPort) -> bool:
    """Whether all its addresses can be reached from everywhere; not where it has none."""
    try:
        found = socket.getaddrinfo(*server, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError):
        return False
    addresses = [ipaddress.ip_address(str(each[4][0]).partition("%")[0]) for each in found]
    return all((getattr(each, "ipv4_mapped", None) or each).is_global for each in addresses)


def _login(url: str) -> dict[str, str]:
    parts = urlsplit(url)
    if parts.username is None:
        return {}
    login = f"{unquote(parts.username)}:{unquote(parts.password or '')}"
    return {"Authorization": f"Basic {base64.b64encode(login.encode()).decode()}"}


def _as_ffmpeg_does() -> ssl.SSLContext:
    """No certificate is verified: cameras sign their own."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    return context
