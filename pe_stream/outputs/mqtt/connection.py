"""One connection to the broker, from CONNECT to its end, and words for why there is none."""

from __future__ import annotations

import selectors
import socket
import ssl
import time
from collections.abc import Callable
from typing import Any

import paho.mqtt.client as paho
from paho.mqtt.enums import LogLevel
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties
from paho.mqtt.reasoncodes import ReasonCode

from pe_stream.core.messages import Message
from pe_stream.errors import UnavailableError
from pe_stream.outputs.mqtt.arrivals import (
    Acknowledged,
    Arrival,
    Received,
    SubscriptionRefused,
    TooLarge,
)

CONNECT_TIMEOUT_S = 5.0
"""How long a broker may take to accept a connection, for each protocol version tried."""

IN_FLIGHT = 20
"""Most unacknowledged messages at a time: what mosquitto takes by default."""

LARGEST_MESSAGE = 65_536
"""Most bytes of a message to us: a broker of MQTT 5 keeps larger ones to itself; else they are
left out, and told."""

LARGEST_PACKET = 1 << 20
"""Most bytes of one that is read at all: a larger one ends the connection."""

_READ_BYTES = 262_144
"""The system holds so much of what comes, which paho may take at once."""

MOST_UNSENT = 1000
"""Packets that may wait for a broker which takes nothing, and asks for answers all the same."""

MOST_UNRELEASED = 100
"""Messages of QoS 2 that paho keeps until the broker releases them, and LARGEST_PACKET of them."""

MOST_RECEIVED = 1000
"""Messages taken in a second; the rest of them waits at the broker, and in the system."""

_FULL_S = 0.1
"""Where there were that many, this is waited before the next look (s)."""

# Reason codes of MQTT 5 (section 2.4); paho translates those of 3.1.1 into them.
_UNSUPPORTED_VERSION = 0x84
_BAD_CLIENT_ID = 0x85
_BAD_LOGIN = 0x86
_NOT_AUTHORIZED = 0x87
_KEEPALIVE_TIMEOUT = 0x8D
_TAKEN_OVER = 0x8E
_PACKET_TOO_LARGE = 0x95
_FOR_A_MESSAGE = {0x80, 0x83, _NOT_AUTHORIZED, 0x90, _PACKET_TOO_LARGE, 0x97, 0x99}
"""Reasons to end a connection that may be what was published on it: a topic, its size, too much."""
_NEEDED = {0x9A: "retained messages", 0x9B: "QoS 1"}


def _limits(client: paho.Client) -> Properties | None:
    """Largest message that the broker may send; before MQTT 5, it cannot be told."""
    if client.protocol != paho.MQTTv5:
        return None
    limits = Properties(PacketTypes.CONNECT)  # type: ignore[no-untyped-call]
    limits.MaximumPacketSize = LARGEST_MESSAGE
    return limits


class VersionRefusedError(UnavailableError):
    """The broker does not speak this version of MQTT, or it looks like that; try an older one."""


class HostileError(UnavailableError):
    """The connection had to end for what the broker sent on it."""


class Connection:
    """One connection with a clean session, driven by one thread through `step`.

    in_flight_limit: most unacknowledged messages the broker takes at a time. packet_limit: bytes of
    the largest packet it takes, where it says so. subscribed: answers to `subscribe` so far.
    """

    def __init__(self, client: paho.Client, where: str) -> None:
        """Take a client that has not connected yet, and the words for its broker."""
        self.in_flight_limit = IN_FLIGHT
        self.packet_limit: int | None = None
        self.subscribed = 0
        self._client = client
        self._where = where
        self._arrivals: list[Arrival] = []
        self._accepted = False
        self._broken = False
        self._received, self._second = 0, 0  # messages in that second
        self._reason: ReasonCode | None = None  # why the broker refuses or ends the connection
        self._error = ""  # what the network said last
        client.on_connect = self._on_connect
        client.on_disconnect = self._on_disconnect
        client.on_publish = self._on_publish
        client.on_subscribe = self._on_subscribe
        client.on_message = self._on_message
        client.on_log = self._on_log

    @property
    def mqtt5(self) -> bool:
        """Whether this is MQTT 5, in which the broker gives reasons."""
        return self._client.protocol == paho.MQTTv5

    @property
    def ended_by_broker(self) -> bool:
        """Whether the broker ended it, and for nothing else than, maybe, what was published."""
        silent = self._reason is None or self._reason.value in _FOR_A_MESSAGE
        return self._accepted and not self._broken and silent

    @property
    def too_large(self) -> bool:
        """Whether it ended for the size of a packet, as the broker says."""
        return self._reason is not None and self._reason.value == _PACKET_TOO_LARGE

    def open(self, host: str, port: int, keepalive_s: int, give_up: Callable[[], bool]) -> None:
        """Return when the broker has accepted; raises UnavailableError."""
        try:
            self._client.connect(host, port, keepalive_s, properties=_limits(self._client))
        except (OSError, UnicodeError) as error:
            raise UnavailableError(_unreachable(self._where, error)) from error
        connection = self._client.socket()
        if isinstance(connection, socket.socket):  # so much paho may take at once
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, _READ_BYTES)
        deadline = time.monotonic() + CONNECT_TIMEOUT_S
        while not self._accepted:
            self.step(0.1)
            if self._accepted:
                return
            if give_up():
                self.close()
                raise UnavailableError(f"{self._where}: attempt given up")
            if time.monotonic() > deadline:
                self.close()
                # amqtt waits in silence for the rest of a CONNECT of MQTT 5.
                raise VersionRefusedError(
                    f"{self._where} takes the connection but does not answer: is it an MQTT broker?"
                )

    def publish(self, message: Message) -> int:
        """Hand a message to the network; returns the packet id its acknowledgement will have."""
        sent = self._client.publish(message.topic, message.payload, message.qos, message.retain)
        return sent.mid

    def subscribe(self, topic_filter: str) -> None:
        """Ask for messages at QoS 1."""
        self._client.subscribe(topic_filter, qos=1)

    def step(self, timeout_s: float, wake: socket.socket | None = None) -> list[Arrival]:
        """Wait for the network, or for `wake` to become readable; move bytes both ways.

        Returns what arrived, within `timeout_s`. Raises UnavailableError once the connection has
        ended and everything that arrived on it was returned: HostileError where it was accepted,
        and ended for what the broker sent.
        """
        connection = None if self._broken else self._client.socket()
        if connection is not None:
            readable, writable = self._wait(connection, timeout_s, wake)
            try:
                self._move(readable=readable, writable=writable)
            except Exception as error:  # noqa: BLE001 - whatever a broker sends, it ends this at most
                self._give_up(f"what it sends is not MQTT ({type(error).__name__}: {error})")
        gone = self._broken or self._client.socket() is None
        if gone and not self._arrivals:
            raise self._ended()
        arrivals, self._arrivals = self._arrivals, []
        return arrivals

    def disconnect(self) -> None:
        """Take leave: the broker forgets the will."""
        self._client.disconnect()
        self.close()

    def close(self) -> None:
        """Break off without a word: the broker publishes the will."""
        connection = self._client.socket()
        if connection is not None:
            connection.close()

    def _wait(
        self, connection: Any, timeout_s: float, wake: socket.socket | None
    ) -> tuple[bool, bool]:
        read = selectors.EVENT_READ
        # What TLS has decrypted already is not seen by a selector.
        pending = isinstance(connection, ssl.SSLSocket) and connection.pending() > 0
        if not self._may_read():
            read, pending, timeout_s = 0, False, min(timeout_s, _FULL_S)
        events = read | (selectors.EVENT_WRITE if self._client.want_write() else 0)
        # Not one that needs a descriptor, of which there may be none left.
        with selectors.PollSelector() as selector:
            if events:
                selector.register(connection, events)
            if wake is not None:
                selector.register(wake, selectors.EVENT_READ)
            ready = {
                key.fileobj: mask for key, mask in selector.select(0 if pending else timeout_s)
            }
        mask = ready.get(connection, 0)
        return pending or bool(mask & selectors.EVENT_READ), bool(mask & selectors.EVENT_WRITE)

    def _may_read(self) -> bool:
        second = int(time.monotonic())
        if second != self._second:
            self._second, self._received = second, 0
        return self._received < MOST_RECEIVED

    def _move(self, *, readable: bool, writable: bool) -> None:
        if readable:
            self._client.loop_read()
        if writable:
            self._client.loop_write()
        self._client.loop_misc()
        # paho bounds none of these, and tells of none in public.
        if self._client._in_packet["remaining_length"] > LARGEST_PACKET:  # noqa: SLF001 - see above
            self._give_up(f"it sends more than {LARGEST_PACKET} bytes at once")
        elif self._unreleased() > MOST_UNRELEASED:
            self._give_up("it does not release its messages of QoS 2")
        elif len(self._client._out_packet) > MOST_UNSENT:  # noqa: SLF001 - see above
            self._give_up("it takes nothing that we send")

    def _unreleased(self) -> int:
        """How many messages wait to be released; too many where they are too large in all."""
        waiting = self._client._in_messages.values()  # noqa: SLF001 - see _move
        if sum(len(each.payload) for each in waiting) > LARGEST_PACKET:
            return MOST_UNRELEASED + 1
        return len(waiting)

    def _give_up(self, why: str) -> None:
        """End the connection, for what the broker did on it."""
        self._error = why
        self.close()
        self._broken = True

    def _ended(self) -> UnavailableError:
        if self._accepted:
            kind = HostileError if self._broken else UnavailableError
            return kind(f"connection to {self._where} lost: {self._why_lost()}")
        if self._reason is not None:
            return _refused(self._where, self._reason)
        if self._broken:
            return VersionRefusedError(f"{self._where}: {self._error}: is it an MQTT broker?")
        if self._error.startswith("[SSL"):
            # The broker's side was checked before; what fails now is what it thinks of ours.
            return UnavailableError(
                f"{self._where}: TLS failed: {self._error}; check mqtt.tls.certificate and "
                "mqtt.tls.key"
            )
        return VersionRefusedError(
            f"{self._where} closes the connection without an answer: is it an MQTT broker, and "
            "does it want TLS (mqtt.tls) or a client certificate (mqtt.tls.certificate)?"
        )

    def _why_lost(self) -> str:
        if self._reason is None:
            return self._error or "closed by the broker"
        if self._reason.value == _TAKEN_OVER:
            return "another client uses the same mqtt.client_id"
        return str(self._reason)

    def _on_connect(
        self, _: paho.Client, __: Any, ___: Any, reason: ReasonCode, properties: Properties | None
    ) -> None:
        if reason.is_failure:
            self._reason = reason
            return
        self._accepted = True
        limit = getattr(properties, "ReceiveMaximum", IN_FLIGHT)
        self.in_flight_limit = min(IN_FLIGHT, limit)
        self.packet_limit = getattr(properties, "MaximumPacketSize", None)

    def _on_disconnect(
        self, _: paho.Client, __: Any, flags: paho.DisconnectFlags, reason: ReasonCode, ___: Any
    ) -> None:
        if flags.is_disconnect_packet_from_server or reason.value == _KEEPALIVE_TIMEOUT:
            self._reason = reason

    def _on_publish(
        self, _: paho.Client, __: Any, packet_id: int, reason: ReasonCode, ___: Any
    ) -> None:
        refusal = str(reason) if reason.is_failure else None
        self._arrivals.append(Acknowledged(packet_id, refusal))

    def _on_subscribe(
        self, _: paho.Client, __: Any, ___: int, reasons: list[ReasonCode], ____: Any
    ) -> None:
        self.subscribed += 1
        self._arrivals += [SubscriptionRefused(str(r)) for r in reasons if r.is_failure]

    def _on_message(self, _: paho.Client, __: Any, message: paho.MQTTMessage) -> None:
        self._received += 1
        size = len(message.payload)
        if size > LARGEST_MESSAGE:
            self._arrivals.append(TooLarge(message.topic, size))
            return
        self._arrivals.append(Received(message.topic, bytes(message.payload), message.retain))

    def _on_log(self, _: paho.Client, __: Any, level: int, text: str) -> None:
        if level == LogLevel.MQTT_LOG_ERR:
            self._error = text.removeprefix("failed to receive on socket: ")


def _unreachable(where: str, error: Exception) -> str:
    match error:
        case socket.gaierror() | UnicodeError():
            return f"{where}: the host name is unknown; check mqtt.host"
        case ConnectionRefusedError():
            return (
                f"{where}: nothing listens there; is the broker running, are host and port right?"
            )
        case ssl.SSLCertVerificationError():
            return (
                f"{where}: TLS failed: {error.verify_message}; check mqtt.tls.ca, and that "
                "mqtt.host is a name in the broker's certificate"
            )
        case ssl.SSLError() | ConnectionResetError():
            return f"{where}: TLS failed: {error.strerror}; does that port speak TLS?"
        case TimeoutError():
            return f"{where}: no answer within {CONNECT_TIMEOUT_S:.0f} s"
        case _:
            return f"{where}: {error}"


def _refused(where: str, reason: ReasonCode) -> UnavailableError:
    if reason.value == _UNSUPPORTED_VERSION:
        return VersionRefusedError(f"{where} does not speak the version set in mqtt.protocol")
    if reason.value in (_BAD_LOGIN, _NOT_AUTHORIZED):
        advice = "check mqtt.username and its password"
        return UnavailableError(f"{where} refuses user name or password ({reason}): {advice}")
    if reason.value == _BAD_CLIENT_ID:
        return UnavailableError(f"{where} refuses the client id: set another mqtt.client_id")
    if reason.value in _NEEDED:
        return UnavailableError(
            f"{where} refuses the connection: {reason}; pe_stream needs {_NEEDED[reason.value]}"
        )
    return UnavailableError(f"{where} refuses the connection: {reason}")
