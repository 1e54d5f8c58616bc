"""Addresses of sound: what is fetched over a network, and how to show one without its secrets."""

from __future__ import annotations

import re
from ipaddress import ip_address
from urllib.parse import quote

from pe_stream.config.redaction import redacted

MASK = "********"
"""Stands for a secret wherever one would be shown."""


def is_loopback(host: str) -> bool:
    """Whether only this machine reaches what listens there."""
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


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

_WORD = re.compile(r"[^\s\"'(\[{<=,;]+")
"""Where a user may begin in a text that is no address."""

_DRIVE = re.compile(r"[A-Z]:\\")
_PATH = re.compile(r"(?:\.{0,2}|~)/(?!/)")
"""How the path of a file begins, where that is beyond doubt."""

_RECORDING = re.compile(
    r"[^/\\:]+\.(?:wave?|flac|mp[34]|m4a|mk[av]|aac|ac3|aiff?|amr|og[ag]|opus|ts|webm|wma)\s*",
    re.IGNORECASE,
)
"""What is the name of a file rather than that of a host."""

_TO_SPACE = re.compile(r".*\s", re.DOTALL)

_NAME = r"\b(user\w*|login|pass\w*|pwd|secret|token|auth\w*|\w*key)"
_PARAMETER = re.compile(_NAME + r"=[^&;/?#\s]*", re.IGNORECASE)
_QUERY_PARAMETER = re.compile(_NAME + r"=[^&;#\s]*", re.IGNORECASE)

_VALUE = re.compile(r"=(\$\{([^{}]|\$\{[^{}]*\})*\}|[^&;/?#])*")
"""Of a parameter: to the next; a reference may have what ends one."""

_QUERY_VALUE = re.compile(r"=(\$\{([^{}]|\$\{[^{}]*\})*\}|[^&;#])*")
"""The same behind a `?`, where a `/` ends nothing."""


def is_misspelt(url: str) -> bool:
    """Whether what is no address must have been meant as one: `rtsp:/cam`, `admin:password@cam`.

    A path that looks like one is no such slip where it begins with `/`, or with `./`.
    """
    if is_network(url) or _PATH.match(url):
        return False
    return _SLIP.match(url) is not None or "://" in url or _begin_of_user(url.lstrip()) == 0


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
    before, separator, _ = url.partition("://")
    # Else the `://` is in a password.
    if separator and ":" not in re.split(r"[\s\"'(\[{<=,;]", before)[-1]:
        begin = before + separator
    elif slip := _SLIP.match(url):
        begin = slip.group()
    else:
        return _masked_words(url)
    rest = url[len(begin) :]
    _, at, after = rest.rpartition("@")
    path, mark, query = (f"{MASK}@{after}" if at else rest).partition("?")
    values = _VALUE.sub(f"={MASK}", path) + mark + _QUERY_VALUE.sub(f"={MASK}", query)
    return _masked_words(begin) + values


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
    begin = None if _PATH.match(text) else _begin_of_user(text)
    if begin is None:
        masked = _without_short_users(text)
    else:
        masked = f"{text[:begin]}{MASK}@{text.rpartition('@')[2]}"
    path, mark, query = masked.partition("?")
    values = _PARAMETER.sub(rf"\1={MASK}", path) + mark
    return values + _QUERY_PARAMETER.sub(rf"\1={MASK}", query)


def _begin_of_user(text: str) -> int | None:
    """Where a user begins, whose password goes up to the last `@`, as in an address.

    None where there is none; `recordings/12:30/a@b.wav` is the path of a file.
    """
    before, _, after = text.rpartition("@")
    is_file = _RECORDING.fullmatch(after) is not None
    for word in _WORD.finditer(before):
        user, colon, _ = word.group().partition(":")
        if colon and not (is_file and "/" in user) and not _DRIVE.match(word.group()):
            spaced = _TO_SPACE.match(text, 0, word.start())
            begin = spaced.end() if spaced else 0
            return word.start() if "/" in text[begin : word.start()] else begin
    return None


def _without_short_users(text: str) -> str:
    """Without users and passwords that have no slash, and stand anywhere in a path."""
    parts = re.split(r"([/\\@])", text)
    for place in range(0, len(parts) - 1, 2):
        user, colon, _ = parts[place].partition(":")
        if colon and parts[place + 1] == "@":
            kept = _TO_SPACE.match(user)
            parts[place] = f"{kept.group() if kept else ''}{MASK}"
    return "".join(parts)


def origin(url: str) -> str:
    """Scheme, host and port of a web address, with a mask for all else: paths can be secrets."""
    scheme, _, rest = url.partition("://")
    authority, slash, _ = re.sub(r"[?#]", "/", rest, count=1).partition("/")
    _, at, host = authority.rpartition("@")
    return f"{scheme}://{f'{MASK}@' if at else ''}{host}{f'/{MASK}' if slash else ''}"


def authority(host: str, port: int) -> str:
    """Host and port as a URL has them: an IPv6 address in brackets."""
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
