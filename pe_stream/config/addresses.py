"""Addresses of sound: what is fetched over a network, and how to show one without its secrets."""

from __future__ import annotations

import re

MASK = "********"
"""Stands for a secret wherever one would be shown."""


def is_network(url: str) -> bool:
    """Whether `url` is fetched over a network; anything else is the path of a file."""
    return re.match(r"[a-z][a-z0-9+.-]*://", url, re.IGNORECASE) is not None


def masked_url(url: str) -> str:
    """`url` fit to be shown: no user, no password, no values of parameters; paths stay.

    Cameras take passwords before an `@`, in the query, or as `password=...` in the path.
    """
    if not is_network(url):
        return url
    without_user = re.sub(r"^([^:]+://).*@", rf"\1{MASK}@", url)
    return re.sub(r"=[^&;/?#]*", f"={MASK}", without_user)


def origin(url: str) -> str:
    """Scheme, host and port of a web address, with a mask for all else: paths can be secrets."""
    scheme, _, rest = url.partition("://")
    authority, slash, _ = re.sub(r"[?#]", "/", rest, count=1).partition("/")
    _, at, host = authority.rpartition("@")
    return f"{scheme}://{f'{MASK}@' if at else ''}{host}{f'/{MASK}' if slash else ''}"


def authority(host: str, port: int) -> str:
    """Host and port as a URL has them: an IPv6 address in brackets."""
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
