"""Whether the broker takes what the daemon will say, for `pe-stream check`.

It is tried with the daemon's own topics, as a broker may permit each or not. A daemon may be
running, and others listen: so nothing is retained, and what is said is what is retained there at
present, or else means nothing to anybody.
"""

from __future__ import annotations

import secrets
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace

from pe_stream.config import MqttSettings, Settings, local_time
from pe_stream.core.discovery import Device
from pe_stream.core.messages import (
    ANY,
    Message,
    Topics,
    event_message,
    opinion_message,
    scores_message,
)
from pe_stream.core.types import Event, LabelRule, Phase, Reason, SecondOpinion
from pe_stream.core.utc import utc_text
from pe_stream.errors import UnavailableError
from pe_stream.outputs.mqtt.arrivals import Acknowledged, Received, SubscriptionRefused
from pe_stream.outputs.mqtt.connection import Connection
from pe_stream.outputs.mqtt.connector import Connector
from pe_stream.outputs.mqtt.packet_limit import PacketLimit
from pe_stream.version import __version__

ANSWER_S = 5.0
"""How long the broker may take to answer each message."""

QUIET_S = 0.5
"""What is retained, or comes back, has come when nothing has for so long."""

NAMED = 4
"""Topics that a message to people names; of more it says how many."""

MEANS_NOTHING = "check"
"""Said where nothing is retained: no state, no number and no JSON, so that all ignore it."""

_LABEL, _EVENT_ID = "pe_stream_check", "00000000-0000-7000-8000-000000000000"
_NO_OPINION = SecondOpinion(None, None, None, None, 0, (0.0, 0.0), MEANS_NOTHING, 0)


@dataclass(frozen=True, slots=True)
class TrialPlan:
    """What the daemon will do at the broker.

    messages: one on each kind of topic of each source. filters: what it subscribes to.
    """

    will: Message
    messages: list[Message]
    largest: list[Message]
    filters: list[str]

    @classmethod
    def of(cls, settings: Settings) -> TrialPlan:
        """The plan of a configuration; of labels, the first of each source stands for all."""
        topics = Topics(settings.mqtt.prefix, settings.node)
        home, opinions = settings.home_assistant, settings.second_opinion is not None
        will = Message(topics.status, "offline", qos=1, retain=True)
        messages, largest = [replace(will, payload=MEANS_NOTHING)], list[Message]()
        filters = [topics.set_filter()]
        if home.enabled:
            filters.append(f"{home.prefix}/status")
        for source in settings.sources:
            labels = list(settings.labels_of(source))
            retained = [topics.health(source), topics.state(source, ANY)]
            retained += [topics.state(source, label) for label in labels[:1]]
            messages += [Message(topic, MEANS_NOTHING, qos=1, retain=True) for topic in retained]
            messages.append(event_message(topics, _event(settings.node, source)))
            if opinions:
                told = replace(_event(settings.node, source), second_opinion=_NO_OPINION)
                messages.append(opinion_message(topics, told))
            if settings.mqtt.scores:
                messages.append(scores_message(topics, source, {}))
            if home.enabled:
                device = Device(topics, source, home.prefix, __version__, opinions=opinions)
                described = device.descriptions(labels)
                largest += described
                tried = [*described[:2], *device.opinion_sensor()]
                messages += [replace(each, payload=MEANS_NOTHING) for each in tried]
                messages += _about(device, labels[:1], _event(settings.node, source))
        return cls(will, messages, largest, filters)


def try_out(settings: Settings) -> list[str]:
    """Do what the daemon will do at the broker; returns what is to be known about it, in words.

    Raises UnavailableError saying what the broker does not take, ConfigError for TLS files.
    """
    plan, mqtt = TrialPlan.of(settings), settings.mqtt
    _connector(mqtt).connect().disconnect()
    try:
        _connector(mqtt, will=plan.will).connect().disconnect()
    except UnavailableError as error:
        raise UnavailableError(
            f"accepts us, but not with a retained will of QoS 1 on {plan.will.topic}, as the "
            f"daemon has one: {error}"
        ) from error
    connector = _connector(mqtt)
    connection = connector.connect()
    try:
        trial = _TrialRun(connection, plan)
        failures = trial.run()
        notes = trial.notes()
        connection.disconnect()
    finally:
        connection.close()
    if failures:
        raise UnavailableError(f"{connector.where} {'; '.join(failures)}")
    return notes


def _connector(mqtt: MqttSettings, will: Message | None = None) -> Connector:
    # Not the daemon's client id: the broker would end the connection of one that runs.
    return Connector(mqtt, f"pe-stream-check-{secrets.token_hex(4)}", will=will)


class _TrialRun:
    """One connection on which everything is tried, one after the other."""

    def __init__(self, connection: Connection, plan: TrialPlan) -> None:
        self._connection = connection
        self._plan = plan
        self._retained: dict[str, str] = {}
        self._back: set[str] = set()
        self._answers: dict[int, str | None] = {}
        self._refusals: list[str] = []
        self._unseen: list[str] = []

    def run(self) -> list[str]:
        """What the broker does not let us do, in words."""
        plan, mqtt5 = self._plan, self._connection.mqtt5
        deaf = [f"{each} ({why})" for each in plan.filters if (why := self._subscribe(each))]
        # MQTT 3.1.1 has no answer that says no: what comes back was taken.
        for message in plan.messages:
            if message.retain or not mqtt5:
                self._subscribe(message.topic)
        self._listen()
        dumb = []
        for message in plan.messages:
            said = self._retained.get(message.topic, message.payload)
            why = self._publish(replace(message, payload=said, qos=1, retain=False))
            if why:
                dumb.append(f"{message.topic} ({why})")
        if not mqtt5:
            self._listen()
            self._unseen = [m.topic for m in plan.messages if m.topic not in self._back]
        failures = [f"does not let us publish on {_listed(dumb)}"] if dumb else []
        return failures + ([f"does not let us subscribe to {_listed(deaf)}"] if deaf else [])

    def notes(self) -> list[str]:
        """What else is to be known."""
        notes = []
        if self._unseen:
            notes.append(
                "warning: MQTT 3.1.1 does not say what is refused, and nothing came back on "
                + _listed(self._unseen)
            )
        limit = PacketLimit()
        limit.connected(self._connection.packet_limit, mqtt5=self._connection.mqtt5)
        large = [
            f"{message.topic} ({limit.size(message)} bytes)"
            for message in (*self._plan.largest, *self._plan.messages)
            if not limit.fits(message)
        ]
        if large:
            notes.append(
                f"warning: it takes {limit.told} bytes at once; left out is {_listed(large)}"
            )
        elif self._plan.largest:  # at last, as the broker may end the connection
            notes += self._send_largest()
        return notes

    def _send_largest(self) -> list[str]:
        """Whether the broker, which does not say so, takes the largest message."""
        largest = max(self._plan.largest, key=lambda message: len(message.payload))
        size = len(largest.payload.encode())
        said = self._retained.get(largest.topic, MEANS_NOTHING)  # with blanks it means the same
        blanks = " " * (size - len(said.encode()))
        padded = replace(largest, payload=said + blanks, retain=False)
        self._back.discard(largest.topic)
        try:
            self._publish(padded)
            if not self._connection.mqtt5:
                self._listen()
        except UnavailableError:
            return [f"warning: it does not take {size} bytes at once: left out is {largest.topic}"]
        if self._connection.mqtt5 or largest.topic in (*self._back, *self._unseen):
            return []
        return [f"warning: of {size} bytes on {largest.topic} nothing came back: too large?"]

    def _subscribe(self, topic_filter: str) -> str | None:
        """Why that is refused; None where it is not."""
        connection, before = self._connection, len(self._refusals)
        answered = connection.subscribed + 1
        connection.subscribe(topic_filter)
        self._until(lambda: connection.subscribed >= answered, topic_filter)
        return self._refusals[-1] if len(self._refusals) > before else None

    def _publish(self, message: Message) -> str | None:
        """Why that is refused; None where it is not."""
        packet_id = self._connection.publish(message)
        self._until(lambda: packet_id in self._answers, message.topic)
        return self._answers[packet_id]

    def _until(self, done: Callable[[], bool], topic: str) -> None:
        deadline_s = time.monotonic() + ANSWER_S
        while not done():
            if time.monotonic() > deadline_s:
                raise UnavailableError(f"the broker does not answer about {topic}")
            try:
                self._take(0.1)
            except UnavailableError as error:
                raise UnavailableError(f"{error}: at {topic}; is that permitted?") from error

    def _listen(self) -> None:
        """Take what comes, until nothing does."""
        while self._take(QUIET_S):
            pass

    def _take(self, patience_s: float) -> bool:
        arrivals = self._connection.step(patience_s)
        for arrival in arrivals:
            match arrival:
                case Acknowledged(packet_id, refusal):
                    self._answers[packet_id] = refusal
                case SubscriptionRefused(reason):
                    self._refusals.append(reason)
                case Received(topic, payload, retained):
                    self._back.add(topic)
                    if retained:
                        self._retained[topic] = payload.decode(errors="replace")
                case _:
                    pass
        return bool(arrivals)


def _event(node: str, source: str) -> Event:
    """An event that has ended, of a label that nobody has, for whoever reads events as JSON."""
    now = utc_text(local_time.now())
    return Event(
        id=_EVENT_ID,
        phase=Phase.END,
        node=node,
        source=source,
        label=_LABEL,
        onset=now,
        onset_s=0.0,
        offset=now,
        offset_s=0.0,
        duration_s=0.0,
        peak=0.0,
        peak_s=0.0,
        mean=0.0,
        threshold=1.0,
        latency_ms=0.0,
        late=False,
        reason=Reason.STOPPED,
        checkpoint=_LABEL,
    )


def _about(device: Device, labels: Iterable[str], event: Event) -> list[Message]:
    """What Home Assistant is told about labels, as that means nothing."""
    told: list[Message] = []
    for label in labels:
        told += device.rule(LabelRule(label, 0.5, 0.4))
        told += device.scores({label: 0.0})
        told.append(device.event(replace(event, label=label)))
        if device.opinions:
            told.append(device.opinion(replace(event, label=label)))
    return [replace(message, payload=MEANS_NOTHING) for message in told]


def _listed(topics: list[str]) -> str:
    more = f" and {len(topics) - NAMED} more" if len(topics) > NAMED else ""
    return ", ".join(topics[:NAMED]) + more
