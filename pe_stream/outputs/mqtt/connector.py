"""Settings to connections: which protocol version, who we are, and TLS."""

from __future__ import annotations

import contextlib
import secrets
from collections.abc import Callable

import paho.mqtt.client as paho
from paho.mqtt.enums import CallbackAPIVersion, MQTTProtocolVersion

from pe_stream.config import MqttSettings
from pe_stream.core.messages import Message
from pe_stream.outputs.mqtt.connection import Connection, VersionRefusedError
from pe_stream.outputs.mqtt.tls import tls_context

_PROTOCOLS = {
    "auto": (MQTTProtocolVersion.MQTTv5, MQTTProtocolVersion.MQTTv311),
    "5": (MQTTProtocolVersion.MQTTv5,),
    "3.1.1": (MQTTProtocolVersion.MQTTv311,),
}


def probe(settings: MqttSettings) -> None:
    """Connect once and leave; for `pe-stream check`.

    Raises UnavailableError saying why it does not work, ConfigError for TLS files.
    """
    # Not the daemon's client id: the broker would end the connection of one that runs.
    Connector(settings, f"pe-stream-check-{secrets.token_hex(4)}").connect().disconnect()


class Connector:
    """Makes connections with the settings given.

    where: the broker, as it appears in messages.
    """

    def __init__(
        self, settings: MqttSettings, client_id: str, *, will: Message | None = None
    ) -> None:
        """Read the password and the TLS files; raises ConfigError where that fails."""
        self.where = f"MQTT broker {settings.host}:{settings.port}"
        self._settings = settings
        self._client_id = client_id
        self._will = will
        self._password = settings.read_password()
        self._tls = None if settings.tls is None else tls_context(settings.tls)

    def connect(self, *, give_up: Callable[[], bool] = lambda: False) -> Connection:
        """Return a connection the broker has accepted, by the newest protocol version it speaks.

        give_up: asked again and again while waiting; True ends the attempt.
        Raises UnavailableError: one line saying what is wrong and what mends it.
        """
        *newer, oldest = _PROTOCOLS[self._settings.protocol]
        for protocol in newer:
            with contextlib.suppress(VersionRefusedError):
                return self._connect(protocol, give_up)
        return self._connect(oldest, give_up)

    def _connect(self, protocol: MQTTProtocolVersion, give_up: Callable[[], bool]) -> Connection:
        settings = self._settings
        connection = Connection(self._client(protocol), self.where)
        connection.open(settings.host, settings.port, settings.keepalive_s, give_up)
        return connection

    def _client(self, protocol: MQTTProtocolVersion) -> paho.Client:
        client = paho.Client(
            CallbackAPIVersion.VERSION2,
            self._client_id,
            protocol=protocol,
            reconnect_on_failure=False,  # else paho falls back to MQTT 3.1 on its own
        )
        if self._settings.username is not None:
            client.username_pw_set(self._settings.username, self._password)
        if self._tls is not None:
            client.tls_set_context(self._tls)
        if self._will is not None:
            client.will_set(self._will.topic, self._will.payload, self._will.qos, self._will.retain)
        return client
