"""The clip of an event becomes an example of a label, over HTTP."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

from fastapi import APIRouter, Header, HTTPException

from pe_stream.errors import PeStreamError, UnavailableError
from pe_stream.labels import enrol
from pe_stream.web import schemas
from pe_stream.web.daemon_view import DaemonView
from pe_stream.web.dependencies import DaemonDep, Turns
from pe_stream.web.events_api import EventId, clip_of, one
from pe_stream.web.labels_api import seen, shown_label

_PROBLEMS: dict[int | str, dict[str, Any]] = {
    status: {"model": schemas.ErrorDetail} for status in (404, 409, 412, 422, 428, 503)
}

router = APIRouter(tags=["labels"])


@router.post("/events/{event_id}/example", status_code=201, responses=_PROBLEMS)
def add_example(
    daemon: DaemonDep,
    gate: Turns,
    event_id: EventId,
    wanted: schemas.NewExample,
    if_match: Annotated[str | None, Header(max_length=100)] = None,
) -> schemas.Enrolled:
    """Teach a label, a new one too, what an event sounded like; its clip is copied for that."""
    version = seen(if_match)
    event = one(daemon, event_id).event
    clip = clip_of(daemon, event)
    if event["phase"] != "end":
        raise HTTPException(409, "the event is not over yet")
    if daemon.config is None:
        raise HTTPException(409, "the labels are not in a file")
    with gate.turn():
        sound = _sound(clip, event_id, daemon.clips.before_s(clip), event["duration_s"])
        now = enrol.enroll(
            daemon.config,
            wanted.label,
            daemon.settings().labels.get(wanted.label),
            sound,
            prompts=wanted.prompts,
            change=lambda edit: daemon.change(edit, version),
        )
        report = _report(daemon, wanted.label)
    return schemas.Enrolled(version=now, label=shown_label(daemon, wanted.label), report=report)


def _sound(clip: Path, event_id: str, onset_s: float, duration_s: float) -> enrol.ExampleAudio:
    try:
        return enrol.of_clip(clip, event_id, onset_s, duration_s)
    except UnavailableError as error:
        raise HTTPException(422, str(error)) from None


def _report(daemon: DaemonView, label: str) -> list[str]:
    """The label's report; its failure is no reason to take the example back."""
    try:
        return daemon.report(label)
    except PeStreamError as error:
        return [str(error)]
