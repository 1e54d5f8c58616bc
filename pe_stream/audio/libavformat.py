"""What the FFmpeg can do that PyAV has loaded, where PyAV has no call to ask for it."""

from __future__ import annotations

import ctypes
import os
import re
from functools import cache

import av
import av._core

_FIRST_VERSION = (62, 12)
"""Of libavformat: that of FFmpeg 8.1. Distributions have the option in older ones, too."""

_OPTION = b"max_redirects"

_FAKE_OBJECT = 2
"""AV_OPT_SEARCH_FAKE_OBJ: looks into a class, of which there is no object."""


@cache
def follows_redirects() -> bool:
    """Whether its HTTP client follows redirects whatever it is told.

    What keeps it from that is an option, `max_redirects`, and PyAV drops options that FFmpeg does
    not know without a word. Where the libraries cannot be asked, their version decides.
    """
    try:
        library = ctypes.CDLL(av._core.__file__)  # noqa: SLF001 - it is linked with them
        class_of, find = library.avio_protocol_get_class, library.av_opt_find
    except (OSError, AttributeError):
        return av.library_versions["libavformat"][:2] < _FIRST_VERSION
    class_of.argtypes, class_of.restype = [ctypes.c_char_p], ctypes.c_void_p
    text, number = ctypes.c_char_p, ctypes.c_int
    find.argtypes = [ctypes.c_void_p, text, text, number, number]
    find.restype = ctypes.c_void_p
    http = ctypes.c_void_p(class_of(b"http"))
    return not http or not find(ctypes.byref(http), _OPTION, None, 0, _FAKE_OBJECT)


def uses_proxy(host: str) -> bool:
    """Whether its HTTP client asks a proxy for that host, which then finds the host by its name.

    host: a name in lower case, or an address without brackets. It looks at `http_proxy` and
    `no_proxy` alone. What it would ask a proxy for only by the case of letters, it is said not to.
    """
    if not os.environ.get("http_proxy", "").startswith("http://"):
        return False
    patterns = re.split("[ ,]+", os.environ.get("no_proxy", "").lower())
    return not any(_is_meant(host, pattern) for pattern in patterns)


def _is_meant(host: str, pattern: str) -> bool:
    """Whether a pattern of `no_proxy` is for that host: `*`, a name, or one above it."""
    name = pattern.removeprefix("*").removeprefix(".")
    return pattern == "*" or host == name or host.endswith(f".{name}")
