"""Settings of the way to the MQTT broker."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated

from pydantic import (
    BeforeValidator,
    Field,
    SecretStr,
    ValidationInfo,
    field_serializer,
    field_validator,
    model_validator,
)

from pe_stream.config.addresses import MASK
from pe_stream.config.secrets import read_secret
from pe_stream.config.values import (
    Host,
    PathText,
    Protocol,
    Section,
    Text,
    TopicPrefix,
)

PASSWORD_VARIABLE = "PE_STREAM_MQTT_PASSWORD"  # noqa: S105 - the name of it
"""Environment variable that is read where neither `password` nor `password_file` is given."""

TLS_PORT = 8883
"""Port of MQTT over TLS, as registered with IANA."""


def _tls(value: object) -> object:
    """`true` is a section of defaults, `false` is none."""
    if isinstance(value, bool):
        return {} if value else None
    return value


class TlsSettings(Section):
    """Encrypted connection to the broker; `tls: true` trusts the system's authorities."""

    ca: PathText | None = None
    """File of certificate authorities to trust (PEM); default: the system's."""

    certificate: PathText | None = None
    """File of this client's certificate (PEM)."""

    key: PathText | None = None
    """File of the certificate's private key (PEM), where it is not in `certificate`."""

    insecure: bool = False
    """Accept any certificate under any name. Anyone in between can then listen and speak."""

    @field_validator("key")
    @classmethod
    def _key_of_a_certificate(cls, value: str | None, info: ValidationInfo) -> str | None:
        if value is not None and info.data.get("certificate", value) is None:
            raise ValueError("a key needs its `certificate`")
        return value


OWN_USER = "pe-stream"
"""Whoever shows the embedded broker its own password; the name does not matter there."""


class MqttSettings(Section):
    """Where events go; without this section, to a broker on this machine."""

    embedded: bool = False
    """Run a broker of our own, reachable from this machine only, and use it."""

    host: Host = "localhost"
    """Host name or address of the broker."""

    port: Annotated[int, Field(ge=1, le=65535)] = 1883
    """TCP port of the broker; default: 1883, with TLS 8883."""

    protocol: Protocol = "auto"
    """Version of MQTT: `5`, `3.1.1`, or `auto`, which falls back from 5 to 3.1.1."""

    username: Text | None = None
    """User at the broker; default: none."""

    password: Annotated[SecretStr, Field(min_length=1)] | None = None
    """Password, in clear in this file; `password_file` keeps it out of it."""

    password_file: PathText | None = None
    """File whose content is the password. Without either, the environment variable
    PE_STREAM_MQTT_PASSWORD is read."""

    tls: Annotated[
        TlsSettings | None,
        BeforeValidator(_tls, json_schema_input_type=TlsSettings | bool | None),
    ] = None
    """`true`, or a mapping with keys of its own; default: no TLS."""

    prefix: TopicPrefix = "pe_stream"
    """What all topics begin with."""

    client_id: Text | None = None
    """Name of this client at the broker; default: `pe-stream-` and the node's slug."""

    queue: Annotated[int, Field(ge=1, le=1_000_000)] = 10_000
    """Events kept in memory while the broker is away; then the oldest are dropped."""

    scores: bool = False
    """Publish the top labels of every hop too."""

    keepalive_s: Annotated[int, Field(ge=1, le=65535)] = 30
    """Seconds of silence after which client and broker make sure of each other."""

    def of_embedded(self, port: int, password: str) -> MqttSettings:
        """The same, for our publisher: it shows the embedded broker who it is by the password."""
        own = {"port": port, "username": OWN_USER, "password": SecretStr(password)}
        return self.model_copy(update=own)

    def read_password(self) -> str | None:
        """The password from `password`, `password_file` or the environment, in this order.

        None where there is none, or no user it belongs to. Raises ConfigError where the file
        cannot be read or holds nothing.
        """
        if self.username is None:
            return None
        if self.password is not None:
            return self.password.get_secret_value()
        if self.password_file is not None:
            return read_secret("mqtt.password_file", Path(self.password_file))
        return os.environ.get(PASSWORD_VARIABLE) or None

    @model_validator(mode="before")
    @classmethod
    def _port_of_tls(cls, data: object) -> object:
        if isinstance(data, Mapping) and data.get("tls") not in (None, False):
            return {"port": TLS_PORT, **data}
        return data

    @field_validator("host", "protocol", "username", "password", "password_file", "tls")
    @classmethod
    def _of_another_broker(cls, value: object, info: ValidationInfo) -> object:
        default = cls.model_fields[str(info.field_name)].default
        if info.data.get("embedded") and value != default:
            raise ValueError(
                f"{info.field_name} contradicts `embedded: true`, which runs a broker of our own, "
                "on this machine, without users: remove one of the two"
            )
        return value

    @field_validator("password", "password_file")
    @classmethod
    def _one_password_and_its_user(cls, value: object, info: ValidationInfo) -> object:
        if value is not None and info.data.get("password") is not None:
            raise ValueError("password and password_file are both given: remove one of them")
        if value is not None and info.data.get("username", value) is None:
            raise ValueError(f"{info.field_name} needs a `username`")
        return value

    @field_serializer("password", when_used="json-unless-none")
    def _show_password(self, _: SecretStr) -> str:
        return MASK
