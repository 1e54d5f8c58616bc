"""Secrets that came by reference, and texts without them.

What a password, a token or the path of an address was taken from (`${CAM_PASSWORD}`) is shown in
its place wherever we write: in the log, in errors, on the page, in health.
"""

from __future__ import annotations

import re
import threading
from collections.abc import Mapping
from urllib.parse import quote

_SHORTEST = 4
"""A shorter text is found in too many words."""

_UNMISTAKABLE = 12
"""A shorter one is found only where no letter or digit is beside it: `live` is in `delivery`."""


class _Secrets:
    """What is known; any thread may ask, and add."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._shown: dict[str, str] = {}
        self._pattern: re.Pattern[str] | None = None

    def add(self, shown: Mapping[str, str]) -> None:
        """Take further ones; those of before stay: something may still hold them."""
        with self._lock:
            new = {secret: each for secret, each in shown.items() if len(secret) >= _SHORTEST}
            if new.items() <= self._shown.items():
                return
            every = self._shown | new
            longest_first = sorted(every, key=len, reverse=True)
            self._shown = every
            self._pattern = re.compile("|".join(map(_alone, longest_first)))

    def hide(self, text: str) -> str:
        """The text with each secret's reference in its place."""
        pattern, shown = self._pattern, self._shown
        return text if pattern is None else pattern.sub(lambda found: shown[found[0]], text)


def _alone(secret: str) -> str:
    exact = re.escape(secret)
    return exact if len(secret) >= _UNMISTAKABLE else rf"(?<![^\W_]){exact}(?![^\W_])"


_secrets = _Secrets()


def hide(shown: Mapping[str, str]) -> None:
    """From now on hide these texts: each with what is shown in its place. On any thread."""
    encoded = {quote(secret, safe=""): each for secret, each in shown.items()}
    _secrets.add(encoded | dict(shown))


def redacted(text: str) -> str:
    """`text` with every secret that came by reference replaced by the reference. On any thread."""
    return _secrets.hide(text)
