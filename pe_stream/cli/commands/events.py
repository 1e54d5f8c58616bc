"""`pe-stream events`: stored events, to read or to process."""

from __future__ import annotations

import json
import sys
from datetime import UTC, datetime
from pathlib import Path

from pe_stream.cli.options import EventsOptions
from pe_stream.config.file import find, load
from pe_stream.config.local_time import moment
from pe_stream.errors import ConfigError, UnavailableError
from pe_stream.storage import events
from pe_stream.storage.event_queries import EventFilter, EventQueries
from pe_stream.storage.events_table import write_csv


def run(options: EventsOptions) -> int:
    """Print the events, each as it was last told, in order of onset; returns the exit code.

    Where verdicts are asked for, each has `verdict` and `note` besides.

    Raises UsageError on a time that is none, UnavailableError without a database.
    """
    since = None if options.since is None else moment(options.since, datetime.now(UTC))
    asked = EventFilter(
        since=since, source=options.source, label=options.label, verdict=options.verdict
    )
    judged = options.verdict is not None
    found = (
        entry.event | ({"verdict": entry.verdict, "note": entry.note} if judged else {})
        for entry in EventQueries(_path(options.config)).events(asked)
    )
    if options.format == "csv":
        write_csv(found, sys.stdout, judged=judged)
    else:
        for event in found:
            print(json.dumps(event, ensure_ascii=False))
    return 0


def _path(config: Path | None) -> Path:
    """The configuration's event database; the default one without a configuration."""
    try:
        settings = load(config or find())
    except ConfigError:
        if config is not None:
            raise
        return events.default_path()
    if not settings.store.enabled:
        raise UnavailableError("no events are stored: store.enabled is false")
    return events.path_of(settings.store)
