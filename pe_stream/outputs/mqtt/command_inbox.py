"""Messages from the broker, and what they make happen."""

from __future__ import annotations

import logging
from collections.abc import Callable

from pe_stream.core.messages import Topics
from pe_stream.outputs.mqtt.arrivals import Arrival, Received, SubscriptionRefused, TooLarge
from pe_stream.outputs.mqtt.commands import ALLOWED, SetCommand, parse_set

_log = logging.getLogger(__name__)


class CommandInbox:
    """What one publisher hears; used on its thread."""

    def __init__(self, topics: Topics, on_set: Callable[[str, str, SetCommand], None]) -> None:
        """Take what is called with source slug, label slug and command."""
        self._topics = topics
        self._on_set = on_set
        self._listen: dict[str, Callable[[str], None]] = {}

    @property
    def filters(self) -> tuple[str, ...]:
        """What is to be subscribed to."""
        return (self._topics.set_filter(), *self._listen)

    def listen(self, topic: str, heard: Callable[[str], None]) -> None:
        """Have `heard` called with what is said on a topic, but for what is retained."""
        self._listen[topic] = heard

    def take(self, arrival: Arrival) -> None:
        """Do what a message says, or say what is wrong with it."""
        match arrival:
            case SubscriptionRefused(reason):
                topics = " or ".join(self.filters)
                _log.error("the MQTT broker refuses to send us %s: %s", topics, reason)
            case TooLarge(topic, size):
                if topic in self._listen or self._topics.parse_set(topic) is not None:
                    _log.warning("ignored a message of %d bytes on %r", size, topic)
            case Received(topic, payload, retained):
                self._obey(topic, payload, retained=retained)

    def _obey(self, topic: str, payload: bytes, *, retained: bool) -> None:
        if topic in self._listen and not retained:
            self._listen[topic](payload.decode(errors="replace"))
            return
        target = self._topics.parse_set(topic)
        if target is None:  # amqtt also sends what nobody subscribed to
            return
        if retained:
            # It would undo the configuration at every start, long after anyone remembers it.
            _log.warning("ignored a retained message on %r: send `set` without retain", topic)
            return
        try:
            command = parse_set(payload)
        except ValueError as error:
            _log.warning("ignored a message on %r: %s; allowed is %s", topic, error, ALLOWED)
            return
        self._on_set(*target, command)
