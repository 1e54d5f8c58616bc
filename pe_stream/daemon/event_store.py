"""The store of events, where it is on."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import ExitStack

from pe_stream.config import Settings
from pe_stream.storage import events
from pe_stream.storage.events import EventStore


def open_store(
    stack: ExitStack, settings: Settings, on_failure: Callable[[BaseException], None]
) -> EventStore | None:
    """Open it; `stack` closes it. on_failure: told what ended its thread."""
    if not settings.store.enabled:
        return None
    store = EventStore(
        events.path_of(settings.store),
        keep_days=settings.store.keep_days,
        limit=settings.mqtt.queue,
        on_failure=on_failure,
    )
    stack.callback(store.close)
    return store
