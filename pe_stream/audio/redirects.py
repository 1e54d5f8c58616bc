"""Where a web server sends whoever asks, which FFmpeg does not tell."""

from __future__ import annotations

import base64
import contextlib
import io
import os
import re
import socket
import ssl
import time
from collections.abc import Mapping, Sequence
from http.client import HTTPException, parse_headers
from urllib.parse import quote, unquote, urljoin, urlsplit

import av
import certifi

from pe_stream.audio.servers import MOST_ADDRESSES, HostPort, server_of
from pe_stream.config.addresses import authority

USER_AGENT = "Lavf/" + ".".join(map(str, av.library_versions["libavformat"]))
"""Whom we say we are, as FFmpeg itself does: some servers answer only those whom they know."""

_REDIRECTS = {"301", "302", "303", "307", "308"}

_LONGEST_HEAD = 65_536

_ANSWER = re.compile(rb"HTTP/\d\.\d (\d{3})[ \r\n]")


def location_of(
    url: str,
    options: Mapping[str, str],
    *,
    timeout_s: float,
    addresses: Sequence[str] = (),
    verified: bool = False,
) -> str | None:
    """Where the server sends whoever asks for `url`; None where it does not, or is not heard of.

    options: FFmpeg's, of which it is told what it is told of the stream. timeout_s: for everything.
    addresses: of the server, where its name is not to be asked for again. verified: whether its
    certificate has to be that of its name.
    """
    server = server_of(url)
    if server is None:
        return None
    try:
        head = _head(url, options, server, addresses, verified, time.monotonic() + timeout_s)
        status, _, fields = head.partition(b"\n")
        answer = _ANSWER.match(status + b"\n")
        if answer is None or answer[1].decode() not in _REDIRECTS:
            return None
        to = parse_headers(io.BytesIO(fields)).get("Location")
        return urljoin(url, to) if to else None
    except (OSError, HTTPException, ValueError):
        return None


def certificates() -> str:
    """The file of authorities that are trusted: `SSL_CERT_FILE`, or what certifi brings."""
    return os.environ.get("SSL_CERT_FILE") or certifi.where()


def _head(  # noqa: PLR0917 - one place calls it
    url: str,
    options: Mapping[str, str],
    server: HostPort,
    addresses: Sequence[str],
    verified: bool,  # noqa: FBT001 - likewise
    due_s: float,
) -> bytes:
    with contextlib.ExitStack() as stack:
        connection = stack.enter_context(_connected(server, addresses, due_s))
        if urlsplit(url).scheme.lower() == "https":
            connection.settimeout(_left_s(due_s))
            context = _context(verified=verified)
            connection = context.wrap_socket(connection, server_hostname=server.host)
            stack.enter_context(connection)
        connection.settimeout(_left_s(due_s))
        connection.sendall(_request(url, server, options))
        head = b""
        while b"\r\n\r\n" not in head and b"\n\n" not in head and len(head) < _LONGEST_HEAD:
            connection.settimeout(_left_s(due_s))
            more = connection.recv(4096)
            if not more:
                break
            head += more
        return head


def _connected(server: HostPort, addresses: Sequence[str], due_s: float) -> socket.socket:
    """A connection to the first of the addresses that takes one; each may take its share of time.

    addresses: none means those of its name. Raises OSError where there is none.
    """
    found = [
        each
        for host in addresses or [server.host]
        for each in socket.getaddrinfo(host, server.port, type=socket.SOCK_STREAM)
    ][:MOST_ADDRESSES]
    for more, (family, kind, protocol, _, to) in zip(range(len(found), 0, -1), found, strict=True):
        connection = socket.socket(family, kind, protocol)
        try:
            connection.settimeout(_left_s(due_s) / more)
            connection.connect(to)
        except OSError:
            connection.close()
        else:
            return connection
    raise TimeoutError


def _left_s(due_s: float) -> float:
    left_s = due_s - time.monotonic()
    if left_s <= 0:
        raise TimeoutError
    return left_s


def _request(url: str, server: HostPort, options: Mapping[str, str]) -> bytes:
    parts = urlsplit(url)
    path = parts._replace(scheme="", netloc="", fragment="").geturl() or "/"
    lines = [
        f"GET {quote(path, safe=_PRINTABLE)} HTTP/1.1",
        f"User-Agent: {options.get('user_agent', USER_AGENT)}",
        "Accept: */*",
        "Connection: close",
        f"Host: {host_of(url, server)}",
    ]
    if "referer" in options:
        lines.append(f"Referer: {options['referer']}")
    if parts.username is not None:
        login = f"{unquote(parts.username)}:{unquote(parts.password or '')}"
        lines.append(f"Authorization: Basic {base64.b64encode(login.encode()).decode()}")
    lines += [line for line in options.get("headers", "").splitlines() if line.strip()]
    return ("\r\n".join(lines) + "\r\n\r\n").encode("utf-8", "replace")


_PRINTABLE = "".join(map(chr, range(0x21, 0x7F)))


def host_of(url: str, server: HostPort) -> str:
    """The name of a server, and its port where the address gives one."""
    bare = f"[{server.host}]" if ":" in server.host else server.host
    return authority(*server) if urlsplit(url).port else bare


def _context(*, verified: bool) -> ssl.SSLContext:
    """Certificates are verified where another server led there: cameras sign their own."""
    if verified:
        return ssl.create_default_context(cafile=certificates())
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    return context
