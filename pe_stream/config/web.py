"""Settings of the page and its API."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from pydantic import Field, SecretStr, ValidationInfo, field_serializer, field_validator

from pe_stream.config.addresses import MASK, is_loopback
from pe_stream.config.secrets import read_secret
from pe_stream.config.values import Host, Matching, PathText, Section
from pe_stream.errors import ConfigError

SHORTEST_TOKEN = 20
"""Characters of a token, which nobody has to remember."""

Origin = Annotated[
    str,
    Matching(
        r"https?://[^\s/@\x00-\x1f\x7f]+", "an address without a path, as https://house.example"
    ),
]
"""Scheme, host and port of a page."""

Prefix = Annotated[
    str,
    Matching(r"(/[A-Za-z0-9._~-]+)*", "a path as /sounds, without a / at its end, or empty"),
]
"""Path below which a reverse proxy shows the page."""


class WebTlsSettings(Section):
    """Encryption of the page; both files are PEM."""

    certificate: PathText
    """File of the certificate, with those between it and the authority."""

    key: PathText
    """File of its private key."""


class WebSettings(Section):
    """The page and its API. Beyond this machine only with a password or a token."""

    enabled: bool = False
    """Whether there is a page, at http://HOST:PORT/ (needs `pip install 'pe-stream[web]'`)."""

    password_hash: Annotated[
        SecretStr | None, Field(json_schema_extra={"pattern": r"^\$argon2id\$"})
    ] = None
    """What `pe-stream hash-password` makes of a password, for people."""

    token: Annotated[SecretStr | None, Field(json_schema_extra={"minLength": SHORTEST_TOKEN})] = (
        None
    )
    """A long random text, for programs: they send `Authorization: Bearer TOKEN`."""

    token_file: PathText | None = None
    """File whose content is the token."""

    host: Host = "127.0.0.1"
    """Address to listen on; 0.0.0.0 lets the whole network in, which needs a password or token."""

    port: Annotated[int, Field(ge=1, le=65535)] = 8765
    """Port to listen on."""

    tls: WebTlsSettings | None = None
    """Encryption; default: none."""

    origins: Annotated[tuple[Origin, ...], Field(strict=False)] = ()
    """Addresses under which a reverse proxy shows the page; needs a password or token, or
    `proxy_asks`."""

    prefix: Prefix = ""
    """Path below which it does; default: none."""

    proxy_asks: Annotated[bool, Field(validate_default=True)] = False
    """Whether that proxy itself asks who one is, so that neither password nor token is needed."""

    trusted_proxies: Annotated[int, Field(ge=0, le=10)] = 0
    """How many proxies of yours, one behind the other, requests come through: the visitor's address
    is then the one that the first of them wrote into X-Forwarded-For."""

    listen: bool = True
    """Whether one may listen live to sources on the page, where clips are kept (clips.enabled)."""

    viewers: Annotated[int, Field(ge=1, le=1000)] = 50
    """Pages that may be open at once."""

    def read_token(self) -> str | None:
        """The token, None where there is none. Raises ConfigError where it is too short."""
        if self.token is not None:
            return self.token.get_secret_value()
        if self.token_file is None:
            return None
        return _long_enough(read_secret("web.token_file", Path(self.token_file)))

    @field_validator("password_hash")
    @classmethod
    def _is_a_hash(cls, value: SecretStr | None) -> SecretStr | None:
        if value is not None and not value.get_secret_value().startswith("$argon2id$"):
            raise ValueError("not a hash: `pe-stream hash-password` makes one of a password")
        return value

    @field_validator("token")
    @classmethod
    def _is_long(cls, value: SecretStr | None) -> SecretStr | None:
        if value is not None and len(value.get_secret_value()) < SHORTEST_TOKEN:
            raise ValueError(_TOO_SHORT)
        return value

    @field_validator("token_file")
    @classmethod
    def _one_token(cls, value: str | None, info: ValidationInfo) -> str | None:
        if value is not None and info.data.get("token") is not None:
            raise ValueError("token and token_file are both given: remove one of them")
        return value

    @field_validator("host")
    @classmethod
    def _guarded_beyond_this_machine(cls, value: str, info: ValidationInfo) -> str:
        guards = ("password_hash", "token", "token_file")
        known = [info.data[guard] for guard in guards if guard in info.data]
        if not is_loopback(value) and len(known) == len(guards) and not any(known):
            raise ValueError(
                f"on {value} the whole network reaches the page: set password_hash "
                "(`pe-stream hash-password`) or token too"
            )
        return value

    @field_validator("proxy_asks")
    @classmethod
    def _guarded_behind_a_proxy(cls, value: bool, info: ValidationInfo) -> bool:  # noqa: FBT001
        guards = ("password_hash", "token", "token_file")
        known = [info.data[guard] for guard in guards if guard in info.data]
        if info.data.get("origins") and not value and len(known) == len(guards) and not any(known):
            raise ValueError(
                "a proxy lets everybody in who reaches it: set password_hash (`pe-stream "
                "hash-password`) or token, or proxy_asks: true where it asks for a password itself"
            )
        return value

    @field_serializer("password_hash", "token", when_used="json-unless-none")
    def _show_secret(self, _: SecretStr) -> str:
        return MASK


_TOO_SHORT = f"Input should be a text of at least {SHORTEST_TOKEN} characters that nobody guesses"


def _long_enough(token: str) -> str:
    if len(token) < SHORTEST_TOKEN:
        raise ConfigError(f"web.token_file: the token has fewer than {SHORTEST_TOKEN} characters")
    return token
