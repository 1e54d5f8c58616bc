"""Result of a label's calibration."""

from __future__ import annotations

from dataclasses import dataclass

from pe_stream.core.types import LabelRule
from pe_stream.workbench.calibration.examples import Recall
from pe_stream.workbench.calibration.propose import Proposal


@dataclass(frozen=True, slots=True)
class Calibrated:
    """Result of a label's calibration; `proposal` is None where `lack` says why."""

    name: str
    rule: LabelRule
    proposal: Proposal | None = None
    lack: str | None = None
    recall: Recall | None = None
    right: int = 0
    """Events marked right that were left out."""
