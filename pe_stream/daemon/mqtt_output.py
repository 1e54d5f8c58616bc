"""All that a daemon has a broker know and keep, over all of its runs."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from pe_stream.config import MqttSettings, Settings
from pe_stream.core.listener import LabelsOf
from pe_stream.core.messages import Topics
from pe_stream.core.types import Event
from pe_stream.daemon.delivery import Delivery
from pe_stream.outputs.home_assistant import HomeAssistant
from pe_stream.outputs.mqtt import Publisher, SetCommand
from pe_stream.outputs.mqtt.publisher import backoff
from pe_stream.storage.events import EventStore
from pe_stream.storage.retained import BrokerAddress


class MqttOutput:
    """The publisher, and what it is given: by `delivery`, and by `home` for Home Assistant.

    The store remembers every topic that the broker retains something on. What earlier runs left
    there, under another configuration, and this one has nothing to say on, is cleared.
    """

    def __init__(
        self,
        settings: Settings,
        mqtt: MqttSettings,
        of: LabelsOf,
        store: EventStore | None,
        *,
        on_set: Callable[[str, str, SetCommand], None],
        on_failure: Callable[[BaseException], None],
        delays: Callable[[], Iterator[float]] = backoff,
    ) -> None:
        """Prepare; nothing is sent before `start`. Raises ConfigError as Publisher does.

        mqtt: how the broker is reached. of: the labels in force. store: None where no events are
        kept. on_set, on_failure, delays: see Publisher.
        """
        topics = Topics(settings.mqtt.prefix, settings.node)
        self.where = f"{mqtt.host}:{mqtt.port}"
        self._topics = topics
        self._broker = broker = BrokerAddress.of(mqtt.host, mqtt.port)
        # A broker of ours begins with nothing retained.
        self._memory = memory = None if settings.mqtt.embedded else store
        self.publisher = Publisher(
            mqtt,
            topics,
            on_set=on_set,
            on_failure=on_failure,
            on_delivered=store.delivered if store else lambda _: None,
            on_kept=lambda topics: memory.retains(broker, topics) if memory else None,
            on_cleared=lambda topic: memory.cleared(broker, topic) if memory else None,
            delays=delays,
        )
        self.home = HomeAssistant(
            settings.home_assistant,
            topics,
            self.publisher.publish,
            of,
            levels=settings.levels.enabled,
            opinions=settings.second_opinion is not None,
        )
        self.delivery = Delivery(
            topics,
            self.publisher,
            store,
            of,
            scores=settings.mqtt.scores,
            levels_s=settings.levels.every_s,
        )

    def start(self) -> None:
        """Begin to connect."""
        if self.home.enabled:
            self.publisher.listen(self.home.birth, self.home.greet)
        self.publisher.start()

    def go_on(self) -> list[Event]:
        """Go on where earlier runs ended, as soon as the store can tell; on the main thread.

        Clears what they left at the broker, sends what they did not; returns the ends of the last
        one's open events, to be told to all.
        """
        self._clear_left()
        return self.delivery.go_on()

    def _clear_left(self) -> None:
        if self._memory is None:
            return
        earlier = self._memory.retained_earlier(self._broker)
        if earlier is None:
            return
        self._memory = None  # once
        present = self._topics.retained(self.delivery.labels_in_force) | self.home.retained()
        self.publisher.clear(sorted(earlier - present))
        self.home.recall(earlier)
