"""Second opinions on live events, where they are asked for: else nothing of them is imported."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import ExitStack
from typing import TYPE_CHECKING

from pe_stream.config import SecondOpinionSettings
from pe_stream.daemon.active_labels import ActiveLabels
from pe_stream.daemon.listeners import Listeners
from pe_stream.outputs.notifications.notifications import Notifications
from pe_stream.pipeline.live import Live
from pe_stream.pipeline.live_pictures import LivePictures
from pe_stream.storage.events import EventStore

if TYPE_CHECKING:
    from pe_stream.daemon.live_opinions import LiveOpinions


def second_opinions(
    stack: ExitStack,
    settings: SecondOpinionSettings | None,
    labels: ActiveLabels,
    live: Live,
    listeners: Listeners,
    *,
    notifications: Notifications,
    pictures: LivePictures,
    on_failure: Callable[[BaseException], None],
    store: EventStore | None,
) -> LiveOpinions | None:
    """Begin to load what gives them, which `stack` ends; None without settings.

    It is to be one of the listeners, before `notifications`, which wait for it. pictures: begin to
    be fetched, too. on_failure: called with what ended its thread, if that was an error of ours.
    store: keeps what events are searched by; None where no events are kept.
    """
    if settings is None:
        return None
    from pe_stream.daemon.live_opinions import LiveOpinions

    keep = None if store is None else store.record_vectors
    seen = {source: each.between for source, each in pictures.of.items()}
    made = LiveOpinions(settings, labels, live, listeners, on_failure, pictures=seen, keep=keep)
    listeners.complete_by(made.completed)
    notifications.awaits_opinion = made.awaits
    made.start()
    stack.callback(made.stop)
    pictures.start()
    stack.callback(pictures.stop)
    return made
