"""amqtt's broker, which keeps no more than it may for those who connect.

amqtt itself bounds nothing of what it keeps: retained messages, subscriptions, and whatever waits
for a client that takes or acknowledges nothing.
"""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import Callable
from typing import Any

from amqtt.adapters import ReaderAdapter, WriterAdapter
from amqtt.broker import Broker
from amqtt.errors import ProtocolHandlerError
from amqtt.mqtt.constants import QOS_0, QOS_1, QOS_2
from amqtt.mqtt.pingreq import PingReqPacket
from amqtt.mqtt.protocol.broker_handler import (
    BrokerProtocolHandler,
    Subscription,
    UnSubscription,
)
from amqtt.mqtt.publish import PublishPacket
from amqtt.mqtt.subscribe import SubscribePacket
from amqtt.mqtt.unsubscribe import UnsubscribePacket
from amqtt.session import ApplicationMessage, OutgoingApplicationMessage, Session

from pe_stream.outputs.complaints import Complaints
from pe_stream.outputs.mqtt.bounded_streams import BoundedReader

MOST_RETAINED = 10_000
MOST_RETAINED_BYTES = 16 * 2**20
"""Retained messages, and bytes of them with their topics, besides those of the daemon."""

MOST_FILTERS = 10_000
"""Topic filters that are subscribed to, of which one client may have half."""

LONGEST_FILTER = 1024
"""Characters of one."""

MOST_WAITING = 1000
MOST_WAITING_BYTES = 4 * 2**20
"""Messages, and bytes of them, that wait for a client to take or acknowledge them."""

MOST_UNANSWERED = 100
MOST_UNANSWERED_BYTES = 4 * 2**20
"""Messages of a client, and bytes of them, of which it lets none end (QoS 2 without PUBREL)."""

MOST_UNDONE = 16
"""Packets of a client that are not dealt with yet: then nothing more of it is read. The broker has
as many messages in hand that are yet to be handed out."""

_AT_ONCE = 100
"""Retained messages that are sent to a new subscriber, before it has acknowledged them."""

_REFUSED = 0x80  # as a return code of SUBACK

_log = logging.getLogger(__name__)


class ClientHandler(BrokerProtocolHandler):
    """What amqtt has for each connection; belongs to the broker's loop.

    filters: those that it has subscribed to.
    """

    def __init__(self, broker: BoundedBroker) -> None:
        """Begin with nothing under way."""
        super().__init__(broker.plugins_manager)
        self.filters = set[str]()
        self._tell = broker.tell
        self._waiting, self._waiting_bytes = 0, 0
        self._unanswered, self._unanswered_bytes = 0, 0
        self._undone = 0  # subscriptions, pings and the like
        self._done = asyncio.Event()
        self._unreleased = set[asyncio.Task[None]]()
        self._ending = False

    def attach(self, session: Session, reader: ReaderAdapter, writer: WriterAdapter) -> None:
        """The connection is that of a client."""
        super().attach(session, reader, writer)
        if isinstance(reader, BoundedReader):
            reader.until_ready = self.until_ready

    async def until_ready(self) -> None:
        """Wait until something more may be read from the client.

        Raises ConnectionAbortedError where that is never: amqtt's reader may miss that it is ended.
        """
        await asyncio.sleep(0)  # what has come is looked at first
        if self._ending:
            raise ConnectionAbortedError("it is being ended")
        while self.session is not None and self._behind(self.session):
            self._done.clear()
            await self._done.wait()

    def _behind(self, session: Session) -> bool:
        return session.delivered_message_queue.qsize() + self._undone > MOST_UNDONE

    async def handle_publish(self, publish_packet: PublishPacket) -> None:
        """A message has come; returns when both sides have done with it."""
        if publish_packet.qos not in {QOS_0, QOS_1, QOS_2}:
            self._tell("clients ended, which sent what MQTT does not have")
            await self.handle_connection_closed()
            return
        size = len(publish_packet.data or b"")
        if (
            self._unanswered >= MOST_UNANSWERED
            or self._unanswered_bytes + size > MOST_UNANSWERED_BYTES
        ):
            self._tell("clients ended, which began messages and ended none")
            await self.handle_connection_closed()
            return
        self._unanswered += 1
        self._unanswered_bytes += size
        exchange = self._exchange(publish_packet, size)
        if publish_packet.qos != QOS_2:
            await exchange
            return
        # It takes as long as the client likes, and amqtt keeps all packets since one that is not
        # dealt with.
        task = asyncio.create_task(exchange)
        self._unreleased.add(task)
        task.add_done_callback(self._unreleased.discard)

    async def _exchange(self, publish_packet: PublishPacket, size: int) -> None:
        try:
            await super().handle_publish(publish_packet)
        finally:
            self._unanswered -= 1
            self._unanswered_bytes -= size

    async def stop(self) -> None:
        """End it."""
        self._ending = True
        for task in self._unreleased:
            task.cancel()
        await super().stop()

    async def _send_packet(self, packet: Any) -> None:
        try:
            await super()._send_packet(packet)
        except (
            ProtocolHandlerError
        ):  # amqtt's for a task that is cancelled, as its connection ended
            raise asyncio.CancelledError from None

    async def mqtt_deliver_next_message(self) -> ApplicationMessage | None:
        """The next message that has come."""
        message = await super().mqtt_deliver_next_message()
        self._done.set()
        return message

    async def handle_subscribe(self, subscribe: SubscribePacket) -> None:
        """A request has come."""
        self._undone += 1
        await super().handle_subscribe(subscribe)

    async def handle_unsubscribe(self, unsubscribe: UnsubscribePacket) -> None:
        """A request has come."""
        self._undone += 1
        await super().handle_unsubscribe(unsubscribe)

    async def handle_pingreq(self, pingreq: PingReqPacket) -> None:
        """A ping has come; returns when the answer was sent."""
        self._undone += 1
        try:
            await super().handle_pingreq(pingreq)
        finally:
            self._undone -= 1
            self._done.set()

    async def get_next_pending_subscription(self) -> Subscription:
        """The next request that has come."""
        pending = await super().get_next_pending_subscription()
        self._undone -= 1
        self._done.set()
        return pending

    async def get_next_pending_unsubscription(self) -> UnSubscription:
        """The next request that has come; the filters are free at once."""
        pending = await super().get_next_pending_unsubscription()
        self.filters.difference_update(pending.topics)
        self._undone -= 1
        self._done.set()
        return pending

    async def mqtt_publish(
        self,
        topic: str,
        data: bytes | bytearray,
        qos: int | None,
        retain: bool,  # noqa: FBT001 - amqtt's
        ack_timeout: int | None = None,
    ) -> OutgoingApplicationMessage:
        """Send a message; returns when it has been acknowledged, or was dropped."""
        size = len(topic) + len(data)
        # A single one that is larger is taken, too.
        if self._waiting and (
            self._waiting >= MOST_WAITING or self._waiting_bytes + size > MOST_WAITING_BYTES
        ):
            self._tell("messages dropped, for clients that take too few")
            return OutgoingApplicationMessage(None, topic, qos, b"", retain)
        self._waiting += 1
        self._waiting_bytes += size
        try:
            return await super().mqtt_publish(topic, data, qos, retain, ack_timeout)
        finally:
            self._waiting -= 1
            self._waiting_bytes -= size


class BoundedBroker(Broker):
    """The broker; belongs to the loop that makes it.

    Sessions end with their connection, within a second: amqtt keeps none of those who are
    anonymous, as everybody is here. So there are about as many as there are connections.
    """

    def __init__(self, config: dict[str, Any], own_password: str) -> None:
        """own_password: of our own publisher, whose messages are always kept."""
        super().__init__(config)
        self._own_password = own_password
        self._complaints = Complaints(_log, "embedded MQTT broker")
        self.tell: Callable[[str], None] = self._complaints.tell
        self._broadcast_queue = asyncio.Queue(MOST_UNDONE)  # full: the client's loop waits
        self._others = dict[str, int]()  # bytes of each retained message that is not our own
        self._others_bytes = 0
        self._sending = set[asyncio.Task[Any]]()

    def _is_own(self, session: Session | None) -> bool:
        return session is not None and session.password == self._own_password

    async def _initialize_client_session(
        self, reader: ReaderAdapter, writer: WriterAdapter, remote_address: str, remote_port: int
    ) -> tuple[BrokerProtocolHandler, Session]:
        _, session = await super()._initialize_client_session(
            reader, writer, remote_address, remote_port
        )
        return ClientHandler(self), session

    async def retain_message(
        self,
        source_session: Session | None,
        topic_name: str | None,
        data: bytes | bytearray | None,
        qos: int | None = None,
    ) -> None:
        """Keep a message for later subscribers; one that is too much replaces none, and is told."""
        if topic_name is None:
            return
        before = self._others.get(topic_name, 0)
        size = len(topic_name) + len(data) if data and not self._is_own(source_session) else 0
        if size and (
            self._others_bytes - before + size > MOST_RETAINED_BYTES
            or (not before and len(self._others) >= MOST_RETAINED)
        ):
            self.tell("messages not retained: there are too many")
            return
        self._others_bytes += size - before
        if size:
            self._others[topic_name] = size
        else:
            self._others.pop(topic_name, None)
        await super().retain_message(None, topic_name, data, qos)  # which would keep the session

    async def add_subscription(self, subscription: tuple[str, int], session: Session) -> int:
        """Subscribe; returns the QoS, or 0x80 where it is refused."""
        topic_filter, _ = subscription
        handler = self._get_handler(session)
        if isinstance(handler, ClientHandler) and not self._is_own(session):
            if len(topic_filter) > LONGEST_FILTER or not self._has_room(topic_filter, handler):
                self.tell("subscriptions refused: they are too many, or too long")
                return _REFUSED
            handler.filters.add(topic_filter)
        return int(await super().add_subscription(subscription, session))

    def _has_room(self, topic_filter: str, handler: ClientHandler) -> bool:
        if topic_filter in handler.filters:
            return True
        if len(self._subscriptions) >= MOST_FILTERS:
            # amqtt leaves them, when the last one has unsubscribed.
            for unused in [each for each, taken in self._subscriptions.items() if not taken]:
                del self._subscriptions[unused]
        known = topic_filter in self._subscriptions or len(self._subscriptions) < MOST_FILTERS
        return known and len(handler.filters) < MOST_FILTERS // 2

    async def _publish_retained_messages_for_subscription(
        self, subscription: tuple[str, int], session: Session
    ) -> None:
        """Have the retained messages sent, of which a new subscriber may not know.

        amqtt asks for the subscriptions of all others as well, and sends all at once.
        """
        topic_filter, qos = subscription
        handler = self._get_handler(session)
        taken = self._subscriptions.get(topic_filter, ())
        if handler is None or all(each.client_id != session.client_id for each, _ in taken):
            return
        found = [each for each in self._retained_messages if self._matches(each, topic_filter)]
        if found:
            self._keep(asyncio.create_task(self._send_retained(handler, found, qos)))

    async def _send_retained(
        self, handler: BrokerProtocolHandler, topics: list[str], qos: int
    ) -> None:
        for begin in range(0, len(topics), _AT_ONCE):
            kept = map(self._retained_messages.get, topics[begin : begin + _AT_ONCE])
            await asyncio.gather(
                *(
                    handler.mqtt_publish(each.topic, each.data, min(qos, each.qos or qos), True)
                    for each in kept
                    if each is not None
                ),
                return_exceptions=True,
            )

    async def _run_broadcast(self, running_tasks: deque[asyncio.Task[Any]]) -> None:  # noqa: ARG002 - amqtt's
        """Hand out one message. amqtt keeps all that were sent since one that is not."""
        made = deque[asyncio.Task[Any]]()
        await super()._run_broadcast(made)
        for task in made:
            self._keep(task)

    async def shutdown(self) -> None:
        """End everything."""
        await super().shutdown()
        for task in self._sending:
            task.cancel()
        await asyncio.gather(*self._sending, return_exceptions=True)
        self._complaints.tell_rest()

    def _keep(self, task: asyncio.Task[Any]) -> None:
        self._sending.add(task)
        task.add_done_callback(self._forget)

    def _forget(self, task: asyncio.Task[Any]) -> None:
        self._sending.discard(task)
        if not task.cancelled():
            task.exception()  # the client left, or acknowledges nothing: that is its affair
