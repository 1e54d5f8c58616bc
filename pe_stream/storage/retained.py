"""Topics on which a broker retains what was published, over all runs.

Whoever publishes writes a topic down first, and strikes it out when the broker has forgotten it.
What is left of earlier runs, and not of the present one, is to be cleared: `daemon.mqtt_output`.
"""

from __future__ import annotations

import sqlite3
import threading
from collections.abc import Collection
from dataclasses import dataclass

from pe_stream.config.addresses import is_loopback


@dataclass(frozen=True, slots=True)
class BrokerAddress:
    """Which broker: its host as configured, but for names of this machine, and its port."""

    host: str
    port: int

    @classmethod
    def of(cls, host: str, port: int) -> BrokerAddress:
        """The broker that has this address; this machine has one name only."""
        return cls("localhost" if is_loopback(host) else host.lower(), port)


class RetainedTopics:
    """The topics, in memory as in the database; safe to use from any thread."""

    def __init__(self) -> None:
        """Begin with none."""
        self._lock = threading.Lock()
        self._topics: set[tuple[str, int, str]] = set()
        self._earlier: frozenset[tuple[str, int, str]] = frozenset()

    def earlier(self, host: str) -> set[str]:
        """Topics that earlier runs left at brokers of a host, on any port.

        A broker gets another port with TLS. On one that never had a topic, clearing it is nothing.
        """
        return {topic for its_host, _, topic in self._earlier if its_host == host}

    def read(self, database: sqlite3.Connection) -> None:
        """Take what earlier runs wrote down."""
        found = database.execute("SELECT host, port, topic FROM retained").fetchall()
        with self._lock:
            self._earlier = frozenset(found)
            self._topics |= self._earlier

    def write(self, database: sqlite3.Connection) -> None:
        """Write down all that is known."""
        with self._lock:
            topics = list(self._topics)
        database.executemany("INSERT OR IGNORE INTO retained VALUES (?, ?, ?)", topics)

    def add(
        self, database: sqlite3.Connection, broker: BrokerAddress, topics: Collection[str]
    ) -> None:
        """Write topics down that something is to be retained on."""
        rows = [(broker.host, broker.port, topic) for topic in topics]
        with self._lock:
            self._topics.update(rows)
        database.executemany("INSERT OR IGNORE INTO retained VALUES (?, ?, ?)", rows)

    def remove(self, database: sqlite3.Connection, broker: BrokerAddress, topic: str) -> None:
        """Strike a topic out: the broker retains nothing on it."""
        row = (broker.host, broker.port, topic)
        with self._lock:
            self._topics.discard(row)
        database.execute("DELETE FROM retained WHERE host = ? AND port = ? AND topic = ?", row)
