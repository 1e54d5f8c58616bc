"""Stored events that a user marked right or wrong, with a second opinion on their clips."""

from __future__ import annotations

import sys
from dataclasses import dataclass, field
from typing import Any

from tqdm import tqdm

from pe_stream.config import Settings
from pe_stream.config.file import find, load
from pe_stream.config.second_opinion import texts_of
from pe_stream.errors import UnavailableError, UsageError
from pe_stream.pipeline.second_opinion import (
    LabelMoment,
    SecondOpinions,
    prepare_second_opinions,
)
from pe_stream.storage import events
from pe_stream.storage.clips import Clips
from pe_stream.storage.event_queries import EventFilter, EventQueries
from pe_stream.workbench.evaluation import opinions_table, output
from pe_stream.workbench.evaluation.judged_events import JudgedEvent, figures
from pe_stream.workbench.evaluation.options import EvalOptions, command_line

OPTIONS = ("second_opinion", "config", "threads", "json")
"""The arguments of `eval` that are about marked events."""


@dataclass(slots=True)
class Marked:
    """The marked events that could be judged, and how many could not.

    without_clip: their sound is not kept. unknown_labels: no label of that name is configured.
    unreadable: paths of clips.
    """

    events: list[JudgedEvent] = field(default_factory=list)
    without_clip: int = 0
    unknown_labels: int = 0
    unreadable: list[str] = field(default_factory=list)


def run(options: EvalOptions) -> int:
    """Print the figures; returns the exit code, 69 where a clip could not be read.

    Raises UnavailableError and ConfigError.
    """
    if options.second_opinion is None:
        raise UsageError("give a FOLDER, or --second-opinion, which is on marked events then")
    settings = load(options.config or find())
    model = settings.model
    if options.threads is not None:
        model = model.model_copy(update={"threads": options.threads})
    output.refuse_unwritable(options)
    texts = {name: texts_of(label) for name, label in settings.labels.items()}
    opinions = prepare_second_opinions(options.second_opinion, model, texts)
    found = judged(settings, opinions)
    made: dict[str, Any] = {
        "command": command_line(options),
        "left_out": {
            "unknown_labels": found.unknown_labels,
            "without_clip": found.without_clip,
            "unreadable": found.unreadable,
        },
        "versions": output.versions(),
        "second_opinion": figures(found.events, opinions.checkpoint),
    }
    output.tell(options, made, opinions_table.of_marks)
    return UnavailableError.exit_code if found.unreadable else 0


def judged(settings: Settings, opinions: SecondOpinions) -> Marked:
    """All of them; raises UnavailableError where no events are stored, or none can be judged."""
    if not settings.store.enabled:
        raise UnavailableError("no events are stored: store.enabled is false")
    stored = EventQueries(events.path_of(settings.store)).events(EventFilter(verdict="any"))
    clips, found = Clips(settings.clips), Marked()
    for record in tqdm(list(stored), unit="event", disable=None, leave=False):
        event = record.event
        clip = clips.find(event)
        if event["label"] not in settings.labels:
            found.unknown_labels += 1
        elif clip is None:
            found.without_clip += 1
        else:
            peak_s = clips.before_s(clip) + event["peak_s"] - event["onset_s"]
            try:
                (opinion,) = opinions.of_moments(str(clip), [LabelMoment(event["label"], peak_s)])
            except UnavailableError as error:
                tqdm.write(f"pe-stream: left out: {error}", file=sys.stderr)
                found.unreadable.append(str(clip))
                continue
            right = record.verdict == "right"
            found.events.append(JudgedEvent(event["label"], right, event["peak"], opinion))
    if not found.events:
        raise UnavailableError(
            "there is no marked event of a configured label whose clip is kept: mark events right "
            "or wrong on the page, and set clips.enabled"
        )
    return found
