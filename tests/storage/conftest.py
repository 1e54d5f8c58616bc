"""A store of events, as several tests have it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from stand_ins import ONSET

from pe_stream.storage.events import EventStore


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "events.db"


@pytest.fixture
def store(path: Path) -> Iterator[EventStore]:
    opened = EventStore(path, keep_days=30, limit=5, clock=ONSET.timestamp)
    yield opened
    opened.close()
