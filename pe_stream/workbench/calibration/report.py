"""Report of a calibration: a line for each label, notes, the difference to the file."""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from typing import Any

from pe_stream.config import Settings
from pe_stream.core.utc import utc_text
from pe_stream.workbench.calibration.calibrated import Calibrated
from pe_stream.workbench.calibration.stored_scores import TimeRange

_TOLD = ("threshold", "rate", "low", "high", "now", "hours", "extrapolated", "reached")


def lines(done: Sequence[Calibrated]) -> Iterator[str]:
    """As in "dog_bark  0.42 -> 0.57: 1.0 a day (0.3 to 2.6)  from 26.1 h", and what it rests on."""
    wide = max(len(each.name) for each in done)
    for each in done:
        found = each.proposal
        if found is None:
            continue
        spread = found.spread
        line = (
            f"{each.name:{wide}}  {each.rule.threshold:g} -> {found.threshold:g}: "
            f"{figure(found.rate)} a day ({figure(found.low)} to {figure(found.high)})  "
            f"from {_hours(found.hours)} h; now {figure(found.now)}; scores: half below "
            f"{spread.middle:.2g}, 99 % below {spread.high:.2g}, highest {spread.highest:.2g}"
        )
        if each.recall is not None:
            was = "as now" if each.recall.found == each.recall.now else f"now {each.recall.now}"
            line += f"; finds {each.recall.found} of {each.recall.total} examples ({was})"
        yield line


def asked(stretch: TimeRange | None, a_day: float) -> dict[str, Any]:
    """What was asked, for JSON; the stretch is null where scores were made now."""
    since, until = (None, None) if stretch is None else (stretch.since, stretch.until)
    return {
        "since": None if since is None else utc_text(since),
        "until": None if until is None else utc_text(until),
        "false_alarms": a_day,
    }


def figures(done: Sequence[Calibrated], settings: Settings) -> list[dict[str, Any]]:
    """The figures of each label, for JSON; all but the first three are null where `lack` says why.

    off_threshold: what `--write` sets beside the threshold; null where the label has none of its
    own. rate, low, high, now: false alarms a day.
    """
    return [_figures(each, settings) for each in done]


def _figures(each: Calibrated, settings: Settings) -> dict[str, Any]:
    found, spread = each.proposal, each.proposal and each.proposal.spread
    own = settings.labels[each.name].off_threshold is not None
    told = dict.fromkeys(_TOLD) if found is None else {key: getattr(found, key) for key in _TOLD}
    return {
        "label": each.name,
        "threshold_now": each.rule.threshold,
        "lack": each.lack,
        **told,
        "off_threshold": found.off_threshold if found is not None and own else None,
        "spread": None if spread is None else asdict(spread),
        "examples": None if each.recall is None else asdict(each.recall),
        "right": each.right,
    }


def notes(done: Sequence[Calibrated], settings: Settings, a_day: float) -> Iterator[str]:
    """Notes on these figures."""
    right = sum(each.right for each in done)
    also = f"; {right} marked right were left out" if right else ""
    yield (
        "every event in this sound counts as a false alarm, unless it was marked right on the "
        f"page{also}"
    )
    yield "in brackets: how sure the rate is; a single day has more or fewer by chance besides"
    if any(each.proposal and each.proposal.extrapolated for each in done):
        yield (
            "figures of what is rarer than the sound is long are from how its highest scores fall "
            "off; more hours make them surer"
        )
    for each in done:
        if each.proposal is not None and not each.proposal.reached:
            yield (
                f"{each.name}: {a_day:g} a day cannot be had at any threshold: it hears itself in "
                "this sound; say what it is not with `not`, or in other prompts"
            )
        if each.recall is not None and not each.recall.found:
            yield f"{each.name}: none of its examples would be found: is the sound in them?"
        times = settings.labels[each.name].schedule
        if any(entry.threshold is not None for entry in times):
            yield f"{each.name}: the thresholds of its schedule stay as they are"


def difference(before: str, after: str, name: str) -> list[str]:
    """The change of the file, as `diff -u` shows it."""
    if before == after:
        return [f"{name} stays as it is"]
    return list(
        difflib.unified_diff(
            before.splitlines(), after.splitlines(), name, f"{name} (calibrated)", lineterm=""
        )
    )


def figure(rate: float) -> str:
    """Two digits: 0.34, 1.0, 12, 340."""
    if rate < 0.05:
        return f"{rate:.2f}" if rate >= 0.005 else "0"
    return f"{rate:.2f}" if rate < 0.95 else f"{rate:.1f}" if rate < 9.95 else f"{rate:.0f}"


def _hours(hours: float) -> str:
    return f"{hours:.1f}" if hours >= 1 else f"{hours:.2g}"


def file_name(label: str) -> str:
    """A label as the stem of a file."""
    return re.sub(r"[^\w.-]+", "_", label)
