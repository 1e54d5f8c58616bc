"""Settings of the messages to people and other services."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Annotated, Literal, Self
from urllib.parse import urlsplit

from pydantic import (
    AfterValidator,
    ConfigDict,
    Field,
    SecretStr,
    ValidationInfo,
    field_serializer,
    field_validator,
    model_validator,
)

from pe_stream.config.addresses import MASK, origin
from pe_stream.config.secrets import read_secret
from pe_stream.config.times import HoursSettings
from pe_stream.config.values import PathText, Section
from pe_stream.errors import ConfigError

SIGNATURE = "X-Pe-Stream-Signature"
"""Header with the HMAC-SHA256 of the body."""

_OURS = {"content-type", "content-length", "transfer-encoding", SIGNATURE.lower()}
_APPRISE = r"[A-Za-z][A-Za-z0-9+.-]*://[^\s\x00-\x1f\x7f].*"
_WEB = r"https?://[^\s\x00-\x1f\x7f]+"


# What is wrong with a secret is said without it, hence no "Input should".


def _apprise(url: SecretStr) -> SecretStr:
    if re.fullmatch(_APPRISE, url.get_secret_value()) is None:
        raise ValueError("not an address of Apprise, as in ntfy://user:password@host/topic")
    return url


def _webhook(url: SecretStr) -> SecretStr:
    try:
        parts = urlsplit(url.get_secret_value())
        sound = bool(parts.hostname) and parts.port != 0
    except ValueError:
        sound = False
    if not sound or re.fullmatch(_WEB, url.get_secret_value()) is None:
        raise ValueError("not an address that begins with http:// or https:// and names a host")
    return url


def _headers(headers: dict[str, SecretStr]) -> dict[str, SecretStr]:
    for name, value in headers.items():
        if re.fullmatch(r"[A-Za-z0-9!#$%&'*+.^_`|~-]+", name) is None:
            raise ValueError("the name of a header is letters, digits and -")
        if name.lower() in _OURS:
            raise ValueError(f"{name} is set by pe_stream: remove it")
        if re.fullmatch(r"[\x21-\x7e]([\x20-\x7e]*[\x21-\x7e])?", value.get_secret_value()) is None:
            raise ValueError(f"the value of {name} should be one line of ASCII characters")
    return headers


class NotificationSettings(Section):
    """Who is told of which events, and when: exactly one of apprise, apprise_file, webhook."""

    model_config = ConfigDict(
        json_schema_extra={
            "oneOf": [{"required": [key]} for key in ("apprise", "apprise_file", "webhook")]
        }
    )

    apprise: (
        Annotated[
            SecretStr, AfterValidator(_apprise), Field(json_schema_extra={"pattern": _APPRISE})
        ]
        | None
    ) = None
    """Address of a service as Apprise has it: https://github.com/caronc/apprise/wiki."""

    apprise_file: PathText | None = None
    """File whose content is that address, read at the start."""

    webhook: (
        Annotated[SecretStr, AfterValidator(_webhook), Field(json_schema_extra={"pattern": _WEB})]
        | None
    ) = None
    """Address to which the event's JSON is posted."""

    headers: Annotated[dict[str, SecretStr], AfterValidator(_headers)] = Field(default_factory=dict)
    """Headers of the webhook's requests, such as Authorization; default: none."""

    secret: Annotated[SecretStr, Field(min_length=1)] | None = None
    """Key of the webhook's signature: the header X-Pe-Stream-Signature is then `sha256=` and the
    HMAC-SHA256 of the body in hexadecimal; default: no signature."""

    labels: Annotated[tuple[str, ...], Field(strict=False, min_length=1)] | None = None
    """Labels that are told; default: all."""

    sources: Annotated[tuple[str, ...], Field(strict=False, min_length=1)] | None = None
    """Sources that are told of; default: all."""

    phase: Literal["start", "end"] = "start"
    """Whether an event is told when it begins or when it has ended."""

    min_peak: Annotated[float, Field(ge=0, le=1)] = 0.0
    """Highest score (0 to 1) that the event must have had by then."""

    min_opinion: Annotated[float, Field(ge=0, le=1)] | None = None
    """Score (0 to 1, not calibrated) that the second opinion on the event must have, where there is
    one: of sound and picture together, else of the sound; default: none is waited for."""

    opinion_wait_s: Annotated[float, Field(ge=1, le=3600)] = 30.0
    """Seconds that the second opinion is waited for; without one by then, it is sent all the
    same."""

    cooldown_s: Annotated[float, Field(ge=0, le=604800)] = 300.0
    """Seconds after a message in which no other follows of the same source and label."""

    quiet: Annotated[tuple[HoursSettings, ...], Field(strict=False)] = ()
    """Times at which nothing is sent; default: none."""

    except_quiet: Annotated[tuple[str, ...], Field(strict=False)] = ()
    """Labels that are sent all the same."""

    clip: bool = False
    """Whether to wait for the event's end and its clip, and to attach that."""

    def address(self, name: str) -> str:
        """Address of the service; `name` is that of the notification.

        Raises ConfigError where the file with it cannot be read, or holds something else.
        """
        if self.apprise_file is not None:
            key = f"notifications.{name}.apprise_file"
            found = SecretStr(read_secret(key, Path(self.apprise_file)).strip())
            try:
                return _apprise(found).get_secret_value()
            except ValueError as error:
                raise ConfigError(f"{key}: {self.apprise_file}: {error}") from None
        url = self.webhook or self.apprise
        return url.get_secret_value() if url else ""

    def wants(self, source: str, label: str) -> bool:
        """Whether events of this label at this source are told."""
        of_label = self.labels is None or label in self.labels
        return of_label and (self.sources is None or source in self.sources)

    @field_validator("headers", "secret")
    @classmethod
    def _of_a_webhook(cls, value: object, info: ValidationInfo) -> object:
        if value and info.data.get("webhook", value) is None:
            raise ValueError(f"{info.field_name} belongs to a webhook")
        return value

    @model_validator(mode="after")
    def _one_way(self) -> Self:
        given = self.model_fields_set & {"apprise", "apprise_file", "webhook"}
        if len(given) != 1 or getattr(self, given.pop()) is None:
            raise ValueError("give exactly one of apprise, apprise_file and webhook")
        return self

    @field_serializer("apprise", "webhook", when_used="json-unless-none")
    def _show_address(self, url: SecretStr) -> str:
        return shown(url.get_secret_value())

    @field_serializer("headers", when_used="json")
    def _show_headers(self, headers: dict[str, SecretStr]) -> dict[str, str]:
        return dict.fromkeys(headers, MASK)

    @field_serializer("secret", when_used="json-unless-none")
    def _show_secret(self, _: SecretStr) -> str:
        return MASK


def shown(url: str) -> str:
    """An address fit to be shown: of the web its host, of others the scheme; the rest is secret."""
    scheme, separator, _ = url.partition("://")
    if not separator:
        return MASK
    return origin(url) if scheme.lower() in ("http", "https") else f"{scheme}://{MASK}"
