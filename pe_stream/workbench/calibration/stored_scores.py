"""Stored scores as a configuration may use them: only what its prompts and checkpoint have made."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from pe_stream.config import LabelSettings, Settings
from pe_stream.core.messages import slug
from pe_stream.core.types import FRAME_S, ScoreRun
from pe_stream.core.utc import utc_ns
from pe_stream.errors import UnavailableError, UsageError
from pe_stream.labels.fingerprint import fingerprint
from pe_stream.storage import scores

OTHERS = "the stored scores were made with other prompts or another checkpoint"
NONE = "no scores of that time are stored"


@dataclass(frozen=True, slots=True)
class TimeRange:
    """A span from `since` to `until` (aware), end excluded."""

    since: datetime
    until: datetime

    @property
    def since_ns(self) -> int:
        """UTC (ns since 1970)."""
        return utc_ns(self.since)

    @property
    def until_ns(self) -> int:
        """UTC (ns since 1970)."""
        return utc_ns(self.until)


@dataclass(frozen=True, slots=True)
class StoredScores:
    """Scores of one label at one source; `lack` says why there are none."""

    runs: list[ScoreRun]
    lack: str | None = None

    @property
    def hours(self) -> float:
        """How much there is."""
        return hours_of(self.runs)


def hours_of(runs: list[ScoreRun]) -> float:
    """How much sound these scores are of."""
    return sum(len(run.scores) for run in runs) * FRAME_S / 3600


def database(settings: Settings) -> Path:
    """Path of the stored scores; raises UnavailableError where there are none."""
    if not settings.history.enabled:
        raise UnavailableError("no scores are stored: history.enabled is false")
    path = scores.path_of(settings.history)
    if not path.is_file():
        raise UnavailableError(f"{path}: no scores are stored there; `pe-stream run` stores them")
    return path


def read_label_scores(
    path: Path,
    identity: str,
    stretch: TimeRange,
    *,
    source: str,
    name: str,
    label: LabelSettings,
) -> StoredScores:
    """Stored scores of a label at a source, if they would be the same now.

    identity: of the checkpoint in use. Raises UnavailableError where the database is unreadable.
    """
    since_ns, until_ns = stretch.since_ns, stretch.until_ns
    key = fingerprint(identity, label)
    runs = scores.read_runs(path, source, name, since_ns, until_ns, key=key)
    if runs:
        return StoredScores(runs)
    others = scores.read_runs(path, source, name, since_ns, until_ns)
    return StoredScores([], OTHERS if others else NONE)


def chosen(kind: str, wanted: tuple[str, ...], there: Mapping[str, object]) -> list[str]:
    """The names wanted, as configured or as in topics, all where none is; raises UsageError."""
    found = []
    for name in wanted:
        match = next((each for each in there if slug(each) == slug(name)), None)
        if match is None:
            known = ", ".join(there) or "none"
            raise UsageError(f"there is no {kind} {name!r} in the configuration; {kind}s: {known}")
        found.append(match)
    return [name for name in there if name in found] if wanted else list(there)
