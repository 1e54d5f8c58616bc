"""Calibration for the page: `pe-stream calibrate` in a process of its own, one at a time.

Trying thresholds keeps a core busy for minutes, and Python lets one thread run at a time: in the
daemon, scoring would wait. A process of lower priority does not hinder it, can be ended at any
moment, and gives the figures of the command, as it is the command.
"""

from __future__ import annotations

import json
import logging
import os
import subprocess
import threading
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

from pe_stream.config import Settings
from pe_stream.config.child_process import python
from pe_stream.config.edit import ConfigFile
from pe_stream.config.redaction import redacted
from pe_stream.config.worker import Worker
from pe_stream.core.utc import utc_text
from pe_stream.errors import UnavailableError
from pe_stream.web.calibration_view import (
    CalibrationOrder,
    CalibrationPhase,
    CalibrationState,
)

log = logging.getLogger(__name__)

LONGEST_S = 3600.0
"""A calibration that takes longer is ended."""

STOP_S = 2.0
"""A stop waits so long for the thread."""

NICENESS = 19
"""Of the process: it has what nobody else wants."""

_ONE_THREAD = dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"), "1")


class Calibrations:
    """Starts calibrations and keeps what the last one found; safe to use from any thread."""

    def __init__(
        self,
        file: ConfigFile | None,
        settings: Callable[[], Settings],
        version: Callable[[], str],
        on_failure: Callable[[BaseException], None],
    ) -> None:
        """Prepare. file: the configuration; None where it is not in one.

        settings, version: those in force. on_failure: called with what ended the thread, if that
        was an error of ours.
        """
        self._file, self._settings, self._version = file, settings, version
        self._on_failure = on_failure
        self._lock = threading.Lock()
        self._state = CalibrationState()
        self._process: subprocess.Popen[str] | None = None
        self._worker: Worker | None = None
        self._stopped = False

    @property
    def unavailable_reason(self) -> str | None:
        """Why nothing can be calibrated, in words; None where it can."""
        if self._file is None:
            return "the labels are not in a file"
        if not self._settings().history.enabled:
            return "no scores are kept: history.enabled is false"
        return None

    def state(self) -> CalibrationState:
        """How it goes."""
        return self._state

    def start(self, order: CalibrationOrder) -> bool:
        """Begin; whether none was running already. Raises UnavailableError where it cannot be."""
        if (reason := self.unavailable_reason) is not None:
            raise UnavailableError(reason)
        with self._lock:
            if self._stopped or self._state.phase == "running":
                return False
            version, labels = self._version(), self._settings().labels
            worker = Worker("calibration", lambda: self._run(order, version), self._on_failure)
            before = self._state
            self._state = CalibrationState("running", order, began=_now(), labels=labels)
            try:
                worker.start()
            except UnavailableError:
                self._state = before
                raise
            self._worker = worker
        log.info("calibrating for the page, from %s to %s", order.since, order.until)
        return True

    def cancel(self) -> None:
        """End the one that runs, if any."""
        with self._lock:
            if self._state.phase == "running":
                self._state = replace(self._state, phase="cancelled", ended=_now())
                if self._process is not None:
                    self._process.kill()
                    self._process = None

    def stop(self) -> None:
        """End the one that runs, and begin no other."""
        with self._lock:
            self._stopped = True
        self.cancel()
        if self._worker is not None:
            self._worker.join(STOP_S)

    def _run(self, order: CalibrationOrder, version: str) -> None:
        """Run the command; on the thread."""
        with self._lock:
            if not self._runs(order):
                return
            try:
                self._process = process = self._begin(order)
            except UnavailableError as error:
                self._finish(order, "failed", error=str(error))
                return
        try:
            figures = _figures(process, version)
        except UnavailableError as error:
            with self._lock:
                self._finish(order, "failed", error=str(error))
        else:
            with self._lock:
                self._finish(order, "done", figures=figures)

    def _begin(self, order: CalibrationOrder) -> subprocess.Popen[str]:
        assert self._file is not None  # noqa: S101 - `start` has looked
        arguments = [*order.arguments(str(self._file.path)), "--json"]
        program = "from pe_stream.cli.main import program; sys.exit(program())"
        try:
            process = subprocess.Popen(
                python(program, *arguments),
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                process_group=0,  # the terminal's Ctrl-C is for us
                env={**os.environ, **_ONE_THREAD, "PYTHONIOENCODING": "utf-8"},
                text=True,
                encoding="utf-8",
                errors="replace",
            )
        except OSError as error:
            raise UnavailableError(f"no process to calibrate can be started: {error}") from error
        with suppress(OSError):  # not allowed here, or it has ended already
            os.setpriority(os.PRIO_PROCESS, process.pid, NICENESS)
        return process

    def _runs(self, order: CalibrationOrder) -> bool:
        """Whether it was not cancelled; another may have begun since."""
        return self._state.phase == "running" and self._state.order is order

    def _finish(self, order: CalibrationOrder, phase: CalibrationPhase, **found: Any) -> None:
        """Note how it ended, unless it was cancelled; under the lock."""
        if self._runs(order):
            self._state = replace(self._state, phase=phase, ended=_now(), **found)
            log.info("calibration for the page: %s", found.get("error", phase))


def _figures(process: subprocess.Popen[str], version: str) -> Mapping[str, Any]:
    """What the command prints. version: of the configuration that is meant.

    Raises UnavailableError with what it said where that is nothing.
    """
    with process:
        try:
            out, said = process.communicate(timeout=LONGEST_S)
        except subprocess.TimeoutExpired:
            process.kill()
            raise UnavailableError(
                f"it took longer than {LONGEST_S / 60:.3g} minutes: take less time, or fewer labels"
            ) from None
    try:
        figures: dict[str, Any] = json.loads(out)
    except ValueError:
        lines = [line.removeprefix("pe-stream: ") for line in said.splitlines() if line.strip()]
        reason = lines[-1] if lines else f"the process ended with {process.returncode}"
        raise UnavailableError(redacted(reason)) from None
    if figures["version"] != version:
        raise UnavailableError(
            "the configuration file was changed meanwhile, or is not in force yet: reload it, and "
            "calibrate again"
        )
    return figures


def _now() -> str:
    return utc_text(datetime.now(UTC))
