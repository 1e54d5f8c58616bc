"""Who may come in: a password for people, a token for programs, a signed cookie after that."""

from __future__ import annotations

import contextlib
import hashlib
import hmac
import secrets
import threading

from argon2 import PasswordHasher
from argon2.exceptions import InvalidHashError, VerificationError
from itsdangerous import BadData, URLSafeTimedSerializer

from pe_stream.config import WebSettings
from pe_stream.errors import ConfigError, UsageError

SHORTEST = 8
"""Characters of a password."""

SESSION_S = 30 * 86_400
"""How long one stays logged in (30 days)."""


def hash_password(password: str) -> str:
    """What goes into the configuration instead of the password. Raises UsageError."""
    if len(password) < SHORTEST:
        raise UsageError(f"a password has at least {SHORTEST} characters")
    return PasswordHasher().hash(password)


MOST_ENDED = 1000
"""Sessions that were ended are remembered."""


class Authenticator:
    """Decides who may come in, by the settings; safe to use from any thread."""

    def __init__(self, settings: WebSettings) -> None:
        """Take the secrets. Raises ConfigError where they cannot be used."""
        hidden = settings.password_hash
        self._hash = None if hidden is None else hidden.get_secret_value()
        self._token = settings.read_token()
        self._one_at_a_time = threading.Lock()
        self._ended: dict[str, None] = {}
        if self._hash is not None:
            try:
                PasswordHasher().check_needs_rehash(self._hash)
            except InvalidHashError:
                raise ConfigError(
                    "web.password_hash: not what `pe-stream hash-password` makes"
                ) from None
        # Another password or token ends every session.
        key = hashlib.sha256(f"{self._hash} {self._token}".encode()).hexdigest()
        self._sessions = URLSafeTimedSerializer(key, salt="pe_stream session")

    @property
    def open(self) -> bool:
        """Whether everybody may come in."""
        return self._hash is None and self._token is None

    def knows_token(self, token: str) -> bool:
        """Whether this is the token."""
        return self._token is not None and hmac.compare_digest(
            token.encode("utf-8", "replace"), self._token.encode()
        )

    def knows_password(self, password: str) -> bool:
        """Whether this is the password, or the token; takes a while, by intention."""
        if self.knows_token(password):
            return True
        try:
            with self._one_at_a_time:  # each takes 64 MB
                return self._hash is not None and PasswordHasher().verify(self._hash, password)
        except (VerificationError, UnicodeEncodeError):
            return False

    def session(self) -> str:
        """A cookie for somebody who has shown that."""
        return str(self._sessions.dumps(secrets.token_hex(16)))

    def knows_session(self, cookie: str) -> bool:
        """Whether this is such a cookie, not too old, and not ended."""
        try:
            return self._sessions.loads(cookie, max_age=SESSION_S) not in self._ended
        except BadData:
            return False

    def end_session(self, cookie: str) -> None:
        """Know this cookie no more, until the next start."""
        with contextlib.suppress(BadData):
            self._ended[self._sessions.loads(cookie)] = None
            for old in list(self._ended)[:-MOST_ENDED]:
                self._ended.pop(old, None)
