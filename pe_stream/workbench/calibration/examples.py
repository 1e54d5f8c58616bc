"""How many examples of a sound a threshold still finds. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from pe_stream.core.replay import replay
from pe_stream.core.types import LabelRule, ScoreRun
from pe_stream.workbench.calibration.gather import Material
from pe_stream.workbench.calibration.propose import Proposal


@dataclass(frozen=True, slots=True)
class Recall:
    """Examples that the proposed and the present threshold find, of `total`."""

    total: int
    found: int
    now: int


def recall(
    rule: LabelRule,
    proposal: Proposal,
    material: Material,
    examples: Sequence[Sequence[ScoreRun]],
) -> Recall | None:
    """Over recordings of the sound, and stored events that were marked right; None without any.

    A recording is found where it makes an event, a stored one where an event overlaps it.
    """
    new = replace(rule, threshold=proposal.threshold, off_threshold=proposal.off_threshold)
    counts = [
        sum(bool(replay(runs, each)) for runs in examples)
        + sum(
            _overlapped(runs, spans, each)
            for runs, spans in zip(material.streams, material.true, strict=True)
        )
        for each in (replace(new, enabled=True), replace(rule, enabled=True))
    ]
    total = len(examples) + sum(map(len, material.true))
    return Recall(total, *counts) if total else None


def _overlapped(runs: Sequence[ScoreRun], spans: Sequence[tuple[int, int]], rule: LabelRule) -> int:
    if not spans:
        return 0
    events = replay(runs, rule)
    return sum(
        any(event.onset_ns < end_ns and begin_ns < event.offset_ns for event in events)
        for begin_ns, end_ns in spans
    )
