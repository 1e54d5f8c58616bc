"""Addresses of sound: what is fetched over a network, and how to show one without its secrets."""

from __future__ import annotations

import re
from urllib.parse import quote

from pe_stream.config.redaction import redacted

MASK = "********"
"""Stands for a secret wherever one would be shown."""


def is_network(url: str) -> bool:
    """Whether `url` is fetched over a network; anything else is the path of a file."""
    return re.match(r"[a-z][a-z0-9+.-]*://", url, re.IGNORECASE) is not None


def is_rtsp(url: str) -> bool:
    """Whether `url` is a camera's, over RTSP."""
    return re.match(r"rtsps?://", url, re.IGNORECASE) is not None


def is_secure_rtsp(url: str) -> bool:
    """Whether that is RTSP over TLS."""
    return url.lower().startswith("rtsps://")


_SCHEME = r"(?:rtsps?|rtmps?|https?|mms|srt|rtp|udp|tcp|ftps?)"
_SLIP = re.compile(
    rf"\s*(?:{_SCHEME}\s*[:;][\s/\\]*|{_SCHEME}[/\\]{{2,}}|[/\\]{{2}})", re.IGNORECASE
)
"""How an address begins that lacks a character of `://`, or has another in its place."""

_USER = re.compile(r"[^/\\\s@:]*:[^/\\@]*@")
"""What stands before a host: the user and the password."""

_LONG_USER = re.compile(r"(?:^|(?<=[\s\"'(\[{<=,;]))(?!\.{0,2}/|~|[A-Za-z]:[/\\])[^/\\\s@:]*:\S*@")
"""The same where the password has anything in it, and the text is no path of a file: up to the last
`@`, as in an address."""

_PARAMETER = re.compile(
    r"\b(user\w*|login|pass\w*|pwd|secret|token|auth\w*|\w*key)=[^&;/?#\s]*", re.IGNORECASE
)


_VALUE = re.compile(r"=(\$\{([^{}]|\$\{[^{}]*\})*\}|[^&;/?#])*")
"""Of a parameter: to the next; a reference may have what ends one."""


def is_misspelt(url: str) -> bool:
    """Whether what is no address must have been meant as one: `rtsp:/cam`, `admin:password@cam`.

    A path that looks like one is no such slip where it begins with `/`, or with `./`.
    """
    if is_network(url) or re.match(r"\.{0,2}/[^/]", url):
        return False
    looks_so = _SLIP.match(url) or _USER.match(url) or _LONG_USER.match(url)
    return looks_so is not None or "://" in url


def masked_url(url: str) -> str:
    """`url` fit to be shown: no user, no password, no values of parameters; paths stay.

    What came by a reference is shown as the reference.
    """
    return masked_text(redacted(url))


def masked_text(url: str) -> str:
    """The same of what was written there, without references.

    Cameras take passwords before an `@`, in the query, or as `password=...` in the path. What only
    looks like an address, as one with a character too few, is masked too; the path of a file stays.
    """
    slip = _SLIP.match(url)
    if is_network(url) or slip or "://" in url:
        begin = url.partition("://")[0] + "://" if "://" in url else slip.group() if slip else ""
        rest = url[len(begin) :]
        _, at, after = rest.rpartition("@")
        shown = f"{MASK}@{after}" if at else rest
        return _masked_words(begin) + _VALUE.sub(f"={MASK}", shown)
    return _masked_words(url)


_HOST = r"(?:\[[0-9A-Fa-f:.%]+\]|[A-Za-z0-9._-]+)(?::\d{1,5})?(?=[/?#]|$)"
_AUTHORITY = re.compile(rf"(?:([^@/?#]*)@)?({_HOST})")
_LAST_HOST = re.compile(rf"(.*)@({_HOST})", re.DOTALL)
_RAW = re.compile(r"%(?![0-9A-Fa-f]{2})|[^A-Za-z0-9._~!$&'()*+,;=%-]")
_TWO_HOSTS = re.compile(r"[^@/?#.]+:\d+[/?].*@(?:[A-Za-z0-9_-]+\.[A-Za-z0-9._-]+|\[|[^@/?#]+:\d)")

PERCENT_ENCODE = "percent-encode the password: %23 for #, %2F for /, %40 for @, %3A for :"
"""What mends an address whose password is taken for something else."""


def encoded_url(url: str) -> str:
    """`url` with user and password percent-encoded, where they were given as they are.

    What stands before the host may hold `/`, `#`, `?`, `@`, `:` and `%`; what is encoded already
    stays. An address that can be read as it is, such as `cam:80/a@b`, is.
    """
    scheme, mark, rest = url.partition("://")
    found = _AUTHORITY.match(rest)
    if found is None or "#" in rest.partition("/")[0].rpartition("@")[0]:
        found = _LAST_HOST.match(rest)
    if not mark or found is None or found[1] is None:
        return url
    user, colon, password = found[1].partition(":")
    return f"{scheme}{mark}{_encoded(user)}{colon}{_encoded(password)}@{rest[found.start(2) :]}"


def is_ambiguous(url: str) -> bool:
    """Whether what reads as a path must have been meant as a password: `me:12/3@cam.lan/live`."""
    return _TWO_HOSTS.match(url.partition("://")[2]) is not None


def _encoded(text: str) -> str:
    """With all that would end it percent-encoded; what is encoded already stays."""
    return _RAW.sub(lambda raw: quote(raw[0], safe=""), text)


def _masked_words(text: str) -> str:
    """Without what stands before an `@`, and without values of parameters that are secrets."""
    masked = _LONG_USER.sub(f"{MASK}@", text)
    return _PARAMETER.sub(rf"\1={MASK}", _USER.sub(f"{MASK}@", masked))


def origin(url: str) -> str:
    """Scheme, host and port of a web address, with a mask for all else: paths can be secrets."""
    scheme, _, rest = url.partition("://")
    authority, slash, _ = re.sub(r"[?#]", "/", rest, count=1).partition("/")
    _, at, host = authority.rpartition("@")
    return f"{scheme}://{f'{MASK}@' if at else ''}{host}{f'/{MASK}' if slash else ''}"


def authority(host: str, port: int) -> str:
    """Host and port as a URL has them: an IPv6 address in brackets."""
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
