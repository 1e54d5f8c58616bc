"""Settings of the events kept on disk."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from pe_stream.config.values import PathText, Section


class StoreSettings(Section):
    """Events on disk: a history, and what the broker does not have yet."""

    enabled: bool = True
    """Whether anything is kept on disk; without, events that wait for the broker are lost with
    the process, and `pe-stream events` has nothing to show."""

    path: PathText | None = None
    """File of the database; default: `events.db` in the service's or the user's state folder."""

    keep_days: Annotated[float, Field(gt=0, le=36500)] = 365.0
    """Days after which events are forgotten, and messages that never reached the broker."""
