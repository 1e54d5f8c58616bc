"""A calibration as the page starts it and sees it.

The daemon makes it, so this module imports nothing of the extra `web`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, Protocol

from pe_stream.config import LabelSettings

CalibrationPhase = Literal["none", "running", "done", "failed", "cancelled"]


@dataclass(frozen=True, slots=True)
class CalibrationOrder:
    """What is to be calibrated, and on what; as the options of `pe-stream calibrate`.

    false_alarms: wanted a day. since, until: UTC, as events have it. labels, sources: by name; all
    where there are none.
    """

    false_alarms: float
    since: str
    until: str
    labels: tuple[str, ...] = ()
    sources: tuple[str, ...] = ()

    def arguments(self, config: str) -> list[str]:
        """Arguments of `pe-stream`, under a configuration file."""
        return [
            *("calibrate", "-c", config, "--since", self.since, "--until", self.until),
            *("--false-alarms", f"{self.false_alarms!r}"),
            *(f"--label={name}" for name in self.labels),
            *(f"--source={name}" for name in self.sources),
        ]


@dataclass(frozen=True, slots=True)
class CalibrationState:
    """The calibration that runs, or the last one.

    began, ended: UTC. error: why it failed, in words. figures: what the command says as JSON, once
    it is done. labels: as they were when it began.
    """

    phase: CalibrationPhase = "none"
    order: CalibrationOrder | None = None
    began: str | None = None
    ended: str | None = None
    error: str | None = None
    figures: Mapping[str, Any] | None = None
    labels: Mapping[str, LabelSettings] = field(default_factory=dict)

    def changed(self, name: str, now: LabelSettings | None) -> bool:
        """Whether a label is another than was calibrated: its threshold alone does not count."""
        then = self.labels.get(name)
        if then is None or now is None:
            return True
        return then.model_copy(update=_THRESHOLDS) != now.model_copy(update=_THRESHOLDS)


_THRESHOLDS = {"threshold": None, "off_threshold": None}


class CalibrationDesk(Protocol):
    """Calibrates, one at a time; from any thread. unavailable_reason: None where it can."""

    @property
    def unavailable_reason(self) -> str | None:
        """Why nothing can be calibrated, in words."""

    def state(self) -> CalibrationState:
        """How it goes."""

    def start(self, order: CalibrationOrder) -> bool:
        """Begin; whether none was running already. Raises UnavailableError."""

    def cancel(self) -> None:
        """End the one that runs, if any."""
