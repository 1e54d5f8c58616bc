"""Calibration over HTTP: thresholds for a wanted rate of false alarms, as a job of the daemon.

What it suggests is put in force as any other change of a label: PATCH labels/NAME.
"""

from __future__ import annotations

import shlex
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

from fastapi import APIRouter, HTTPException

from pe_stream.core.utc import utc_text
from pe_stream.web import calibration_schemas as schemas
from pe_stream.web.calibration_view import CalibrationOrder, CalibrationState
from pe_stream.web.daemon_view import DaemonView
from pe_stream.web.dependencies import DaemonDep
from pe_stream.web.schemas import ErrorDetail

USUAL = timedelta(hours=24)

MOST = timedelta(days=31)
"""Time that is looked at: more takes hours of a core."""

_PROBLEMS: dict[int | str, dict[str, Any]] = {
    status: {"model": ErrorDetail} for status in (404, 409, 422, 503)
}

router = APIRouter(tags=["labels"])


@router.get("/calibration")
def calibration(daemon: DaemonDep) -> schemas.Calibration:
    """How the calibration does that was started last, and what it suggests."""
    return _shown(daemon)


@router.post("/calibration", status_code=202, responses=_PROBLEMS)
def start(daemon: DaemonDep, wanted: schemas.CalibrationRequest) -> schemas.Calibration:
    """Begin a calibration, one at a time; it takes minutes, in a process of its own."""
    if (reason := daemon.calibrations.unavailable_reason) is not None:
        raise HTTPException(409, reason)
    settings = daemon.settings()
    _require("label", wanted.labels, settings.labels)
    _require("source", wanted.sources, settings.sources)
    until = datetime.now(UTC) if wanted.until is None else wanted.until
    since = until - USUAL if wanted.since is None else wanted.since
    if since >= until:
        raise HTTPException(422, "until is not after since")
    if until - since > MOST:
        raise HTTPException(422, f"that is more than {MOST.days} days")
    order = CalibrationOrder(
        wanted.false_alarms,
        utc_text(since),
        utc_text(until),
        tuple(dict.fromkeys(wanted.labels)),
        tuple(dict.fromkeys(wanted.sources)),
    )
    if not daemon.calibrations.start(order):
        raise HTTPException(409, "a calibration is running already: cancel it, or wait for it")
    return _shown(daemon)


@router.delete("/calibration")
def cancel(daemon: DaemonDep) -> schemas.Calibration:
    """End the calibration that runs, if there is one."""
    daemon.calibrations.cancel()
    return _shown(daemon)


def _require(kind: str, wanted: Iterable[str], there: Mapping[str, object]) -> None:
    for name in wanted:
        if name not in there:
            raise HTTPException(404, f"there is no {kind} {name!r}")


def _shown(daemon: DaemonView) -> schemas.Calibration:
    # In this order: a change in between makes a version that is refused, and not one that is wrong.
    version, labels = daemon.version(), daemon.settings().labels
    state = daemon.calibrations.state()
    order, figures = state.order, state.figures or {}
    return schemas.Calibration(
        reason=daemon.calibrations.unavailable_reason,
        phase=state.phase,
        false_alarms=None if order is None else order.false_alarms,
        since=None if order is None else order.since,
        until=None if order is None else order.until,
        labels=[] if order is None else list(order.labels),
        sources=[] if order is None else list(order.sources),
        began=state.began,
        ended=state.ended,
        error=state.error,
        command=_command(daemon, state),
        version=version,
        suggestions=[
            schemas.Suggestion(
                **each, changed=state.changed(each["label"], labels.get(each["label"]))
            )
            for each in figures.get("labels", ())
        ],
        notes=list(figures.get("notes", ())),
    )


def _command(daemon: DaemonView, state: CalibrationState) -> str | None:
    """What gives the same on the command line."""
    if state.order is None or daemon.config is None:
        return None
    return shlex.join(["pe-stream", *state.order.arguments(str(daemon.config.path))])
