"""Who may ask an engine: a file of tokens, each with the tenant that it is."""

from __future__ import annotations

import hashlib
import os
import re
from collections.abc import Mapping, Sequence
from pathlib import Path

from pe_stream.config.secrets import warn_of_others
from pe_stream.config.web import SHORTEST_TOKEN
from pe_stream.errors import ConfigError

ANYBODY = "local"
"""The tenant where no tokens are asked for."""

OPERATOR = "operator"
"""The tenant that may see the figures of all."""

_TENANT = re.compile(r"[A-Za-z0-9._-]{1,64}")


class Tokens:
    """Knows tenants by their tokens; without any, all who ask are one tenant."""

    def __init__(self, tenants: Mapping[str, str] | None) -> None:
        """tenants: by token; None: no token is asked for."""
        # Hashes: how long a look-up takes tells nothing of a token.
        self._tenants = (
            None if tenants is None else {_digest(token): of for token, of in tenants.items()}
        )

    @property
    def tenants(self) -> int:
        """How many there are."""
        return 1 if self._tenants is None else len(set(self._tenants.values()))

    def tenant_of(self, authorization: str) -> str | None:
        """Whose a header `Authorization: Bearer TOKEN` is; None where nobody's."""
        if self._tenants is None:
            return ANYBODY
        kind, _, token = authorization.partition(" ")
        return self._tenants.get(_digest(token.strip())) if kind.lower() == "bearer" else None


def read_tokens(path: Path) -> Tokens:
    """Read lines of `TENANT TOKEN`; empty ones, and those that begin with #, are left out.

    Raises ConfigError where it cannot be read or used; no message has a token in it.
    """
    try:
        with path.open("rb") as file:
            warn_of_others("--tokens", path, os.fstat(file.fileno()))
            lines = file.read().decode("utf-8-sig").splitlines()
    except OSError as error:
        raise ConfigError(f"--tokens: cannot read {path}: {error.strerror}") from error
    except UnicodeDecodeError:
        raise ConfigError(f"--tokens: {path} is not UTF-8 text") from None
    found: dict[str, str] = {}
    for number, line in enumerate(lines, 1):
        words = line.split()
        if not words or words[0].startswith("#"):
            continue
        where = f"--tokens: {path}:{number}"
        if why := _wrong(words):
            raise ConfigError(f"{where}: {why}")
        if found.setdefault(words[1], words[0]) != words[0]:
            raise ConfigError(f"{where}: two tenants have the same token")
    if not found:
        raise ConfigError(f"--tokens: {path} has no token: put lines of TENANT TOKEN into it")
    return Tokens(found)


def _wrong(words: Sequence[str]) -> str | None:
    """What is wrong with a line, which never has the token in it."""
    if len(words) != 2 or not _TENANT.fullmatch(words[0]):
        return "a line is TENANT TOKEN, the tenant of A-Z a-z 0-9 . _ -"
    if words[0] == ANYBODY:  # who would see the figures of all
        return f"no tenant may be named {ANYBODY!r}"
    if not words[1].isascii():  # as no header of HTTP can have it
        return "the token has other characters than ASCII"
    if len(words[1]) < SHORTEST_TOKEN:
        return f"the token has fewer than {SHORTEST_TOKEN} characters"
    return None


def _digest(token: str) -> bytes:
    return hashlib.sha256(token.encode("utf-8", "surrogateescape")).digest()
