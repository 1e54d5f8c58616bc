"""Who answers at a web address, and whether everybody can reach them."""

from __future__ import annotations

import socket
from collections.abc import Collection, Sequence
from ipaddress import IPv4Address, IPv6Address, ip_address, ip_network
from itertools import chain, zip_longest
from typing import NamedTuple
from urllib.parse import urlsplit

from pe_stream.config.addresses import authority

PORTS = {"http": 80, "https": 443}

MOST_ADDRESSES = 4
"""Addresses of one server that are tried. Whoever has a name can give it thousands."""

_WRAPPING = {
    ip_network("::/96"): 0,  # compatible with IPv4
    ip_network("::ffff:0:0/96"): 0,  # mapped
    ip_network("::ffff:0:0:0/96"): 0,  # translated (SIIT)
    ip_network("64:ff9b::/96"): 0,  # NAT64
    ip_network("2002::/16"): 80,  # 6to4
}
"""Networks of IPv6 whose addresses have one of IPv4 in them, so many bits from their end."""

_HANDED_OUT = ip_network("2000::/3")
"""Where all addresses of IPv6 are that anybody has. Python takes others for global, some of which
were local to a site, or are to a carrier."""

_NOBODYS = (
    ip_network("3fff::/20"),  # for examples
    ip_network("192.88.99.0/24"),  # was whatever translates 6to4, nearby
)
"""Python takes these for global, too."""

_ISATAP = 0x5EFE
_ISATAP_MASK = 0xFDFF_FFFF  # with or without the bit that says "universal"


class HostPort(NamedTuple):
    """Who answers at an address."""

    host: str
    port: int


def server_of(url: str) -> HostPort | None:
    """Whom a web address names; None where it is none."""
    try:
        parts = urlsplit(url)
        usual = PORTS[parts.scheme.lower()]
        return HostPort(parts.hostname or "", parts.port or usual) if parts.hostname else None
    except (ValueError, KeyError):
        return None


def addresses_of(server: HostPort) -> list[str]:
    """The addresses that its name has at present, as the system sorts them; none on failure."""
    try:
        found = socket.getaddrinfo(*server, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError):
        return []
    return list(dict.fromkeys(str(each[4][0]) for each in found))


def some_of(addresses: Sequence[str]) -> list[str]:
    """As many as are tried, in their order, but by turns of IPv4 and IPv6: one may lead nowhere."""
    of_kind = [[each for each in addresses if (":" in each) == six] for six in (False, True)]
    if addresses and ":" in addresses[0]:
        of_kind.reverse()
    by_turns = chain.from_iterable(zip_longest(*of_kind))
    return [each for each in by_turns if each is not None][:MOST_ADDRESSES]


def are_public(addresses: Sequence[str]) -> bool:
    """Whether there are some, and all can be reached from everywhere."""
    return bool(addresses) and all(map(_is_public, addresses))


def _is_public(address: str) -> bool:
    """Also through what translates it to one of IPv4."""
    found = ip_address(address.partition("%")[0])
    if isinstance(found, IPv6Address):
        last = IPv4Address(int(found) & 0xFFFF_FFFF)
        if int(found) >> 32 & _ISATAP_MASK == _ISATAP and not _is_global(last):
            return False
        for network, shift in _WRAPPING.items():
            if found in network:
                return _is_global(IPv4Address(int(found) >> shift & 0xFFFF_FFFF))
    return _is_global(found)


def is_named(server: HostPort, names: Collection[str]) -> bool:
    """Whether it is among those: names or addresses, with a port or without, or `*.` and a name."""
    if {server.host, f"[{server.host}]", authority(*server)} & set(names):
        return True
    try:
        ip_address(server.host)
    except ValueError:
        above = server.host
        while "." in above:
            above = above.partition(".")[2]
            if {f"*.{above}", f"*.{above}:{server.port}"} & set(names):
                return True
    return False


def _is_global(address: IPv4Address | IPv6Address) -> bool:
    handed_out = isinstance(address, IPv4Address) or address in _HANDED_OUT
    nobodys = any(address in network for network in _NOBODYS)
    return address.is_global and not address.is_multicast and handed_out and not nobodys
