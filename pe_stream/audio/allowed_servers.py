"""Which servers a web stream may be had from, and at which addresses they are asked."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import NamedTuple
from urllib.parse import urlsplit

from pe_stream.audio.libavformat import uses_proxy
from pe_stream.audio.redirects import certificates, host_of
from pe_stream.audio.servers import (
    PORTS,
    HostPort,
    addresses_of,
    are_public,
    is_named,
    server_of,
    some_of,
)
from pe_stream.config.addresses import authority, origin
from pe_stream.errors import UnavailableError


class Way(NamedTuple):
    """How FFmpeg asks for an address: what it opens, its options, and the address of the server.

    address: None where FFmpeg finds one by the server's name.
    """

    url: str
    options: dict[str, str]
    address: str | None = None


class AllowedServers:
    """The server of one stream, those that are named for it, and public ones that it led to.

    The addresses of the last are looked up once: whoever answers for their names could otherwise
    have another server asked than the one that was looked at. For one thread.
    """

    def __init__(self, url: str, other_hosts: Collection[str] = ()) -> None:
        """url: where the stream is said to be. other_hosts: see `Fetcher`."""
        self._own = server_of(url)
        self._other_hosts = frozenset(host.lower() for host in other_hosts)
        self._public: dict[HostPort, list[str]] = {}

    def check(self, url: str, what: str) -> None:
        """Raise UnavailableError where `what` may not lead to that address."""
        server = server_of(url)
        if server is None:
            raise UnavailableError(f"{what} leads to {origin(url)}, which is no web address")
        if not self._is_allowed(server):
            raise UnavailableError(
                f"{what} leads to another server, {origin(url)}: name it in `other_hosts` of the "
                "source if that is right"
            )

    def check_redirect(self, url: str, what: str) -> None:
        """Likewise for a redirect, which may go from one public server to another."""
        server = server_of(url)
        if server is not None and not self._is_known(server):
            found = addresses_of(server)
            own = [] if self._own is None else addresses_of(self._own)
            if all(map(are_public, (found, own, *self._public.values()))):
                self._public[server] = some_of(found)
        self.check(url, what)

    def addresses(self, url: str) -> list[str]:
        """Those at which the server is asked; none where it is asked by its name."""
        server = server_of(url)
        return [] if server is None else self._public.get(server, [])

    def answered(self, url: str, address: str | None) -> None:
        """Of the server's addresses that one answered: it is asked first from now on."""
        addresses = self.addresses(url)
        if address in addresses:
            addresses.sort(key=lambda each: each != address)

    def ways(self, url: str, options: Mapping[str, str], prefix: str = "") -> list[Way]:
        """How to ask for an address, one way after the other: its server is the one looked at.

        Where a redirect led to a public server, its addresses are those that were looked at, and
        its name is not asked for again. Over TLS the name is needed, and the certificate is proof.
        prefix: before the address, for FFmpeg.
        """
        server, found = server_of(url), self.addresses(url)
        if server is None or not found:
            return [Way(prefix + url, dict(options))]
        parts = urlsplit(url)
        if parts.scheme.lower() == "https":
            verify = {"tls_verify": "1", "verifyhost": server.host, "ca_file": certificates()}
            return [Way(prefix + url, {**options, **verify})]
        if uses_proxy(server.host):  # it looks up the name itself
            return [Way(prefix + url, dict(options))]
        user, at, _ = parts.netloc.rpartition("@")
        headers = f"{options.get('headers', '')}Host: {host_of(url, server)}\r\n"
        # FFmpeg is told of no proxy: to it, the address is another host than the name.
        further = {**options, "headers": headers, "http_proxy": ""}
        return [
            Way(
                prefix
                + parts._replace(netloc=f"{user}{at}{authority(each, server.port)}").geturl(),
                further,
                each,
            )
            for each in found
        ]

    def _is_allowed(self, server: HostPort) -> bool:
        """Whether it is known, or what the stream's own server is over TLS."""
        return self._is_known(server) or _without_tls(server) == self._own

    def _is_known(self, server: HostPort) -> bool:
        """Whether it need not be looked up: a public one over TLS has the addresses it has."""
        plain = _without_tls(server)
        if server not in self._public and plain in self._public:
            self._public[server] = list(self._public[plain])
        known = server == self._own or server in self._public
        return known or is_named(server, self._other_hosts)


def _without_tls(server: HostPort) -> HostPort | None:
    """The same server at the usual port of HTTP, where it is asked at that of HTTPS."""
    return server._replace(port=PORTS["http"]) if server.port == PORTS["https"] else None
